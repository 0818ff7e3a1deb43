"""Our container: every byte is checked, any bytes are frames or our errors, and a damaged file gives what is whole."""

import dataclasses
import io
import random
import time
from fractions import Fraction
from pathlib import Path

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_jax.bitstream import CodedFrame, FrameUnit, LostFrame, NvcHeader, NvcReader, NvcWriter, repair
from nvc_jax.bitstream.cursor import Cursor
from nvc_jax.bitstream.frames import MAX_QP
from nvc_jax.bitstream.nvc import MAX_LOST
from nvc_jax.bitstream.nvc_syntax import END_MARK, MAGIC, check_bytes, varint
from nvc_jax.errors import BitstreamError, ConfigError, NvcError, TruncatedError

HEADER = NvcHeader(
    identity="0123456789abcdef" * 4,
    model="tiny",
    precision="float32",
    arithmetic=0,
    width=130,
    height=98,
    fps=Fraction(30000, 1001),
    colour=(1, 13, 1, True, "center"),
    skip_threshold=0.12,
    qp=30.25,
    intra_qp=36,
    intra_period=4,
    reset_interval=64,
    qp_offsets=(0, 8, 0, 4, 0, 4, 0, 4),
)


DATA_FOLDER = Path(__file__).parents[1] / "data"


class Pipe(io.BytesIO):
    """Not seekable."""

    def seekable(self):
        return False


def frame(kind="P", qp=30, payload=b"payload", refresh=False, check=0x123456):
    return CodedFrame(kind, qp, refresh, "interleaved", payload, check)


def clip(count=12, period=4):
    """Frames of different sizes, an intra frame every `period`."""
    noise = random.Random(1)
    return [
        frame("P" if t % period else "I", 20 + t % 3, noise.randbytes(noise.randrange(5, 400)), t % 5 == 1, t * 99991)
        for t in range(count)
    ]


def write(frames, header=HEADER):
    """(file, bytes of each frame)."""
    file = io.BytesIO()
    writer = NvcWriter(file, header.to_bytes())
    sizes = [writer.write_frame(coded) for coded in frames]
    writer.finish()
    return file.getvalue(), sizes


def reader(data, conceal=False, source=io.BytesIO):
    return NvcReader(Cursor(source(data)), conceal)


def read(data, conceal=False, source=io.BytesIO):
    return list(reader(data, conceal, source))


def read_until_error(data, conceal=False):
    """The frames before the error, and the error."""
    found = []
    try:
        for unit in reader(data, conceal):
            found.append(unit)
    except NvcError as error:
        return found, error
    return found, None


def coded(unit):
    """The part of a unit that a writer was given."""
    return CodedFrame(unit.kind, unit.qp, unit.refresh, unit.dialect, unit.payload, unit.check)


def flip(data, at, bit=0):
    damaged = bytearray(data)
    damaged[at] ^= 1 << bit
    return bytes(damaged)


CLIP = clip()
DATA, SIZES = write(CLIP)
BEGINS = [sum(SIZES[:t]) for t in range(len(SIZES) + 1)]  # of each frame, and of the trailer


@pytest.mark.parametrize("source", [io.BytesIO, Pipe])
def test_round_trip(source):
    opened = reader(DATA, source=source)
    assert opened.header == HEADER
    assert opened.frame_count == (12 if source is io.BytesIO else None)
    units = list(opened)
    assert [coded(unit) for unit in units] == CLIP
    assert [unit.index for unit in units] == list(range(12))
    assert [unit.offset for unit in units] == BEGINS[:-1]
    assert [unit.size_bytes for unit in units] == SIZES
    assert {(unit.width, unit.height) for unit in units} == {(130, 98)}
    assert sum(SIZES) + opened.trailer_bytes == len(DATA)


def xxh3(data):
    """The check of bytes."""
    return xxhash.xxh3_64_digest(data, 0)[:-5:-1]


def test_layout_by_hand():
    """From docs/FORMAT.md, section 4, not from the code."""
    data, _ = write([frame("I", 30, b"abc"), frame("P", 30.5, bytes(200), refresh=True, check=1)])
    size = int.from_bytes(data[10:12], "little")
    assert data[:10] == b"\x8bNVC\r\n\x1a\n\x01\x00"
    assert data[12:44] == bytes.fromhex(HEADER.identity)
    assert data[44:46] == bytes([0, 0])
    assert data[46:50] == bytes([130, 0, 98, 0])
    assert data[12 + size - 5 : 12 + size] == b"\x04tiny"
    assert data[12 + size : 16 + size] == xxh3(data[: 12 + size])
    at = 12 + size + 4
    first = b"I\x1e\x00\x03abc" + bytes([0x56, 0x34, 0x12])
    assert data[at:].startswith(first + xxh3(first + bytes(8)))
    second = b"r\x1e\x80\xc8\x01" + bytes(200) + bytes([1, 0, 0])
    end = at + len(first) + 4 + len(second) + 4
    assert data[at + len(first) + 4 : end] == second + xxh3(second + b"\1" + bytes(7))
    trailer = (
        b"E\x05\x02\x01\x00" + bytes([at & 0x7F | 0x80, at >> 7]) if at > 127 else b"E\x04\x02\x01\x00" + bytes([at])
    )
    assert data[end:] == trailer + xxh3(trailer) + (len(trailer) + 4).to_bytes(4, "little") + b"CVN\x8b"


GOLDEN_HEADER = dataclasses.replace(HEADER, model="golden", precision="int16", arithmetic=3)
GOLDEN_FRAMES = [  # (number, frame); frames 3 and 4 are missing
    (0, frame("I", 36, b"intra" * 30, check=0xABCDEF)),
    (1, frame("P", 30.25, b"", check=0)),
    (2, frame("P", 71, b"refresh", refresh=True, check=1)),
    (5, frame("I", 35.5, bytes(range(256)), check=0xFFFFFF)),
    (6, frame("P", 30, b"last", check=0x800000)),
]


def test_golden_file():
    """A file once written stays readable, and is written alike. It holds no payloads of a model."""
    data = (DATA_FOLDER / "golden.nvc").read_bytes()
    opened = reader(data, conceal=True)
    assert opened.header == GOLDEN_HEADER
    assert opened.frame_count == 7
    units = list(opened)
    assert [unit.index for unit in units] == list(range(7))
    assert [unit.index for unit in units if isinstance(unit, LostFrame)] == [3, 4]
    found = [(unit.index, coded(unit)) for unit in units if isinstance(unit, FrameUnit)]
    assert found == GOLDEN_FRAMES
    assert opened.seek(6)
    file = io.BytesIO()
    writer = NvcWriter(file, GOLDEN_HEADER.to_bytes())
    for index, sent in GOLDEN_FRAMES:
        writer.write_frame(sent, index)
    writer.finish()
    assert file.getvalue() == data


@pytest.mark.parametrize("payload", [0, 1, 300, 20_000, 2_000_000])
def test_overhead_of_a_frame(payload):
    """At most 14 bytes, all checks included."""
    writer = NvcWriter(io.BytesIO(), HEADER.to_bytes())
    writer.write_frame(frame("I"))
    for coded_frame, index in (
        (frame("P", payload=bytes(payload)), None),
        (frame("I", payload=bytes(payload)), 16_383),
    ):
        assert writer.write_frame(coded_frame, index) - payload <= 14


@pytest.mark.parametrize(
    "value",
    [
        {"skip_threshold": None},
        {"colour": (None,) * 5},
        {"colour": (9, 16, 9, False, "left")},
        {"intra_period": -1},
        {"fps": Fraction(25)},
        {"precision": "int16", "arithmetic": 3},
        {"model": "ä" * 60},
        {"qp": 63.99609375},
    ],
)
def test_header_values(value):
    header = dataclasses.replace(HEADER, **value)
    assert reader(write([frame("I")], header)[0]).header == header


@pytest.mark.parametrize(
    "value",
    [
        {"identity": "zz"},
        {"width": 0},
        {"precision": "float8"},
        {"qp": 1 / 3},
        {"model": "x" * 256},
        {"qp_offsets": (0,)},
        {"reset_interval": -1},
        {"fps": Fraction(1, 10**9)},
    ],
)
def test_header_values_that_do_not_fit(value):
    with pytest.raises(ConfigError):
        dataclasses.replace(HEADER, **value).to_bytes()


def test_frames_that_do_not_fit():
    writer = NvcWriter(io.BytesIO(), HEADER.to_bytes())
    for unfit in (
        frame("I", 64),
        frame("P", 72),
        frame(qp=0.1),
        frame(check=None),
        dataclasses.replace(frame("I"), dialect="one_stream"),
    ):
        with pytest.raises(ConfigError):
            writer.write_frame(unfit)
    with pytest.raises(ConfigError, match="frame 3 cannot follow frame -1"):
        writer.write_frame(frame("P"), index=3)


def test_versions():
    with pytest.raises(BitstreamError, match="version 2, this program reads version 1; update nvc-jax"):
        read(DATA[:8] + b"\x02" + DATA[9:])
    # A later minor version may append fields to the header and have records with the highest bit set.
    size = int.from_bytes(DATA[10:12], "little")
    header = DATA[:9] + b"\x07" + (size + 3).to_bytes(2, "little") + DATA[12 : 12 + size] + b"new"
    extra = b"\x90" + varint(5) + b"hello"
    body = header + check_bytes(header) + extra + check_bytes(extra) + DATA[16 + size : BEGINS[-1]]
    found, error = read_until_error(body)
    assert [coded(unit) for unit in found] == CLIP
    assert isinstance(error, TruncatedError)


@pytest.mark.parametrize("index", range(13))
def test_seek(index):
    opened = reader(DATA)
    assert opened.seek(index)
    units = list(opened)
    assert units[0].index == min(index, 11) // 4 * 4
    assert [coded(unit) for unit in units] == CLIP[units[0].index :]
    assert units[0].offset == (BEGINS[units[0].index] if units[0].index else len(HEADER.to_bytes()))


def test_seek_needs_an_index():
    assert not reader(DATA[:-1]).seek(5)
    assert not reader(DATA, source=Pipe).seek(5)


@pytest.mark.parametrize("source", [io.BytesIO, Pipe])
def test_every_cut_gives_the_whole_frames_then_the_error(source):
    for cut in range(len(DATA)):
        found, error = [], None
        try:
            for unit in reader(DATA[:cut], source=source):
                found.append(coded(unit))
        except BitstreamError as caught:
            error = caught
        whole = sum(begin <= cut for begin in BEGINS[1:])
        assert found == CLIP[:whole]
        assert isinstance(error, TruncatedError), cut
        if whole == 12:
            assert str(error).startswith(("frame 12", "index", "end"))


def test_every_flipped_byte_is_found():
    for at in range(len(DATA)):
        found, error = read_until_error(flip(DATA, at, at % 8))
        whole = sum(begin <= at for begin in BEGINS[1:])
        assert [coded(unit) for unit in found] == CLIP[: len(found)]
        assert len(found) == whole
        assert isinstance(error, BitstreamError), at


@pytest.mark.parametrize("trailer", [True, False])
def test_concealment_goes_on_at_the_next_intra_frame(trailer):
    data = DATA if trailer else DATA[: BEGINS[-1]]
    for t in range(12):
        for at in range(max(BEGINS[t], len(HEADER.to_bytes())), BEGINS[t + 1]):
            found, error = read_until_error(flip(data, at, at % 8), conceal=True)
            resumed = (t // 4 + 1) * 4
            if resumed < 12:
                assert [unit.index for unit in found] == list(range(12))
            whole = [coded(unit) for unit in found if isinstance(unit, FrameUnit)]
            assert whole == CLIP[:t] + CLIP[resumed:]
            lost = [unit for unit in found if isinstance(unit, LostFrame)]
            assert [unit.index for unit in lost] == (list(range(t, resumed)) if trailer or resumed < 12 else [])
            assert error is None


def test_concealment_in_a_pipe():
    """Frames that were left out by a repair are; damage is not, for it takes a search."""
    units = read(HOLES, conceal=True, source=Pipe)
    assert [unit.index for unit in units if isinstance(unit, LostFrame)] == [5, 6, 7]
    with pytest.raises(BitstreamError, match="frame 5: its bytes do not fit"):
        read(flip(DATA, BEGINS[6] - 9), source=Pipe)
    assert len(read(flip(DATA, BEGINS[6] - 9), conceal=True, source=Pipe)) == 5


def test_what_concealment_passes_over_is_told():
    """A cut ends the frames, and a damaged index or tail costs none."""
    for data, count in ((DATA[: BEGINS[6] + 5], 6), (flip(DATA, BEGINS[-1] + 1), 12), (flip(DATA, len(DATA) - 1), 12)):
        opened = reader(data, conceal=True)
        assert [coded(unit) for unit in opened] == CLIP[:count]
        assert opened.damage.startswith(("frame 6: payload needs", "index: ", "end: the tail is damaged"))
    whole = reader(DATA, conceal=True)
    assert len(list(whole)) == 12
    assert whole.damage is None


def test_places_after_concealed_damage():
    """A frame begins where its record begins; what was damaged belongs to none."""
    for data in (flip(DATA, BEGINS[6] - 9), HOLES):
        found = {unit.index: unit for unit in read(data, conceal=True) if isinstance(unit, FrameUnit)}
        assert found[8].size_bytes == SIZES[8]
        assert data[found[8].offset : found[8].offset + 2] == bytes([ord("I"), 22])


def holes():
    file = io.BytesIO()
    writer = NvcWriter(file, HEADER.to_bytes())
    for t, coded_frame in enumerate(CLIP):
        if t not in (5, 6, 7):
            writer.write_frame(coded_frame, t)
    writer.finish()
    return file.getvalue()


HOLES = holes()  # as a repair of damage in frame 5 leaves it


def repaired(data, tmp_path):
    (tmp_path / "damaged.nvc").write_bytes(data)
    file = io.BytesIO()
    return repair(tmp_path / "damaged.nvc", file), file.getvalue()


def test_repair(tmp_path):
    for cut in (BEGINS[-1], BEGINS[-1] + 3, len(DATA) - 1):  # a lost or damaged trailer
        result, data = repaired(DATA[:cut], tmp_path)
        assert (result.frames, result.lost) == (12, 0)
        assert result.damage is not None
        assert data == DATA
    result, data = repaired(DATA[: BEGINS[7] + 1], tmp_path)
    assert result.frames == 7
    assert data == write(CLIP[:7])[0]
    result, data = repaired(flip(DATA, BEGINS[6] - 9), tmp_path)
    assert (result.frames, result.lost) == (9, 3)
    assert "frame 5: its bytes do not fit their check" in result.damage
    assert data == HOLES
    with pytest.raises(BitstreamError, match=r"frame 5: frames 5 to 7 are missing"):
        read(data)
    assert [unit.index for unit in read(data, conceal=True)] == list(range(12))
    assert reader(data).seek(9)


def test_what_cannot_be_repaired(tmp_path):
    for data, error in (
        (DATA[:60], TruncatedError),
        (flip(DATA, 20), BitstreamError),
        (b"\x00abc", ConfigError),
        (DATA[: BEGINS[1] - 1], BitstreamError),
    ):
        with pytest.raises(error):
            repaired(data, tmp_path)


def test_more_after_the_end():
    with pytest.raises(BitstreamError, match="something follows the end"):
        read(DATA + b"x")


def test_a_growing_file(tmp_path):
    """What is there can be read while the rest is being written."""
    path = tmp_path / "growing.nvc"
    with path.open("wb") as out, path.open("rb") as source:
        writer = NvcWriter(out, HEADER.to_bytes())
        writer.write_frame(CLIP[0])
        units = iter(NvcReader(Cursor(source)))
        for t in range(5):
            assert coded(next(units)) == CLIP[t]
            writer.write_frame(CLIP[t + 1])
        assert coded(next(units)) == CLIP[5]
        with pytest.raises(TruncatedError, match="still being written"):
            next(units)


@pytest.mark.parametrize("length", [1 << 17, 1 << 30, (1 << 62) + 5])
def test_huge_lengths_are_refused_unread(length):
    begin = len(HEADER.to_bytes())
    record = b"I\x1e\x00" + varint(length)
    with pytest.raises(BitstreamError, match=r"payload needs|impossible here|too long"):
        read(DATA[:begin] + record + DATA[begin:])


def test_huge_gaps_are_refused():
    """A few bytes must not make a decoder repeat a picture for years."""
    for index in (MAX_LOST + 2, 1 << 40):
        record = b"I\x1e" + varint(index) + b"\x00\x00\x00\x00"
        data = DATA[: len(HEADER.to_bytes())] + record + check_bytes(record, index.to_bytes(8, "little"))
        opened = reader(data, conceal=True)
        assert not list(opened)
        assert "cannot come next" in opened.damage
        trailer = b"E" + varint(len(varint(index)) + 1) + varint(index) + b"\x00"
        end = trailer + check_bytes(trailer)
        data = DATA[: BEGINS[1]] + end + len(end).to_bytes(4, "little") + END_MARK
        found, error = read_until_error(data, conceal=True)
        assert len(found) == 1
        assert "cannot come next" in str(error)


def test_gaps_are_limited_in_sum():
    record = b"".join(intra_record(number * MAX_LOST // 4) for number in range(12))
    opened = reader(HEADER.to_bytes() + record, conceal=True)
    assert len(list(opened)) <= MAX_LOST + 12
    assert "cannot come next" in opened.damage


def intra_record(index):
    record = b"I\x1e" + varint(index) + bytes(4)
    return record + check_bytes(record, index.to_bytes(8, "little"))


@pytest.mark.parametrize("entries", [b"", b"\x01\x0b" * 400_000])
def test_a_trailer_is_believed_as_far_as_the_file_has_room(entries):
    body = varint(1 << 20) + varint(400_000) + entries
    trailer = b"E" + varint(len(body)) + body
    trailer += check_bytes(trailer)
    data = DATA[: BEGINS[-1]] + trailer + len(trailer).to_bytes(4, "little") + END_MARK
    assert reader(data).frame_count is None
    with pytest.raises(BitstreamError, match="no room for so many intra frames"):
        read(data)


def test_searches_are_limited_in_sum():
    """Many places of damage, each followed by headers that claim much of the file."""
    header = dataclasses.replace(HEADER, width=4096, height=4096).to_bytes()
    bait = b"".join(b"I\x1e" + varint(1) + varint(900_000) for _ in range(100))
    data = header + b"".join(intra_record(t) + bait for t in range(2000)) + bytes(1_000_000)
    start = time.monotonic()
    read_until_error(data, conceal=True)
    assert time.monotonic() - start < 20


def test_a_name_cannot_drive_a_terminal():
    header = dataclasses.replace(HEADER, model="\x1b[31mred")
    assert reader(write([frame("I")], header)[0]).header.model == "\ufffd[31mred"


frames = st.one_of(
    st.builds(frame, st.just(kind), st.integers(0, MAX_QP[kind] * 256).map(lambda n: n / 256), st.binary(max_size=300),
              st.booleans() if kind == "P" else st.just(False), st.integers(0, (1 << 24) - 1))
    for kind in MAX_QP
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(frames, max_size=12))
def test_any_frames_come_back(sent):
    data, sizes = write(sent)
    got = read(data)
    assert [coded(unit) for unit in got] == sent
    assert [unit.size_bytes for unit in got] == sizes


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, len(DATA)), st.integers(0, len(DATA)), st.booleans(), st.booleans())
def test_any_bytes_are_frames_or_our_error(noise, cut, resume, conceal, header):
    data = DATA[:cut] + noise + DATA[resume:] if header else MAGIC + noise
    found, error = read_until_error(data, conceal)
    assert len(found) <= 12
    assert all(coded(unit) == CLIP[unit.index] for unit in found if isinstance(unit, FrameUnit))
    assert error is not None or conceal or data == DATA
