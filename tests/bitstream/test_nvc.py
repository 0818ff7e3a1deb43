"""Our container: every byte is checked, any bytes are frames or our errors, and a damaged file gives what is whole."""

import dataclasses
import io
import random
import time
from fractions import Fraction
from pathlib import Path

import format_reader
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_jax.bitstream import CodedPacket, LostPicture, NvcHeader, NvcReader, NvcWriter, Packet, repair
from nvc_jax.bitstream.cursor import Cursor
from nvc_jax.bitstream.nvc import MAX_LOST
from nvc_jax.bitstream.nvc_syntax import END_MARK, FRACTION, MAGIC, TYPES, check_bytes, varint
from nvc_jax.bitstream.packets import MAX_PICTURES, MAX_QP, MAX_START_QP
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
    """A packet of one picture, or of as many as there are qps."""
    qps = qp if isinstance(qp, tuple) else (qp,)
    return CodedPacket(kind == "I", refresh, qps, "interleaved", payload, check)


def clip(count=12, period=4, pictures=(1,)):
    """Packets of different sizes, a start packet every `period`; pictures: of each, in turn."""
    noise = random.Random(1)
    return [
        frame(
            "P" if t % period else "I",
            tuple(20 + t % 3 + n + (t % 2) / 4 * (len(pictures) > 1) for n in range(pictures[t % len(pictures)])),
            noise.randbytes(noise.randrange(5, 400)),
            t % 5 == 1,
            t * 99991,
        )
        for t in range(count)
    ]


def write(packets, header=HEADER):
    """(file, bytes of each packet)."""
    file = io.BytesIO()
    writer = NvcWriter(file, header.to_bytes())
    sizes = [writer.write(coded) for coded in packets]
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
    """The part of a packet that a writer was given."""
    return CodedPacket(unit.start, unit.refresh, unit.qps, unit.dialect, unit.payload, unit.check)


def flip(data, at, bit=0):
    damaged = bytearray(data)
    damaged[at] ^= 1 << bit
    return bytes(damaged)


class File:
    """A file, and where its parts are.

    Attributes:
        begins: bytes where packets begin, and the trailer.
        firsts: numbers of their first pictures, and how many pictures there are.
    """

    def __init__(self, header, packets):
        self.header, self.packets = header, packets
        self.data, self.sizes = write(packets, header)
        self.begins = [sum(self.sizes[:t]) for t in range(len(packets) + 1)]
        self.firsts = [sum(len(packet.qps) for packet in packets[:t]) for t in range(len(packets) + 1)]

    def resumed(self, number):
        """The number of the next start packet after a packet, that of packets if there is none."""
        starts = (t for t in range(number + 1, len(self.packets)) if self.packets[t].start)
        return next(starts, len(self.packets))

    def whole(self, byte):
        """Number of packets that end before a byte."""
        return sum(begin <= byte for begin in self.begins[1:])


ONE = File(HEADER, clip())
CLIP, DATA, SIZES, BEGINS = ONE.packets, ONE.data, ONE.sizes, ONE.begins
SEVERAL = dataclasses.replace(HEADER, pictures=4)
FILES = {"one picture": ONE, "several pictures": File(SEVERAL, clip(pictures=(4, 4, 2, 1)))}


@pytest.fixture(params=FILES)
def file(request):
    """A file with packets of one picture, and one with packets of up to four."""
    return FILES[request.param]


@pytest.mark.parametrize("source", [io.BytesIO, Pipe])
def test_round_trip(file, source):
    opened = reader(file.data, source=source)
    assert opened.header == file.header
    assert opened.frame_count == (file.firsts[-1] if source is io.BytesIO else None)
    units = list(opened)
    assert [coded(unit) for unit in units] == file.packets
    assert [unit.index for unit in units] == file.firsts[:-1]
    assert [unit.offset for unit in units] == file.begins[:-1]
    assert [unit.size_bytes for unit in units] == file.sizes
    assert {(unit.width, unit.height) for unit in units} == {(130, 98)}
    assert sum(file.sizes) + opened.trailer_bytes == len(file.data)


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


def test_layout_of_several_pictures_by_hand():
    """Likewise: records J, Q and S, a fraction in any qp, and the header's last byte."""
    packets = [
        frame("I", (30, 71), b"abc"),
        frame("P", (30, 38, 30.5), b"", refresh=True, check=1),
        frame("P", 29, b"d", check=2),
        frame("P", (1, 2), b"", check=3),
    ]
    data, _ = write(packets, dataclasses.replace(HEADER, pictures=3))
    size = int.from_bytes(data[10:12], "little")
    assert size == len(HEADER.to_bytes()) - 16 + 1
    assert data[8:10] == b"\x01\x01"
    assert data[12 + size - 6 : 12 + size] == b"\x04tiny\x03"
    at = begin = 12 + size + 4
    records = [  # (bytes, number of the first picture)
        (b"J\x02\x1e\x47\x00\x03abc" + bytes([0x56, 0x34, 0x12]), 0),
        (b"s\x03\x1e\x00\x26\x00\x1e\x80\x00" + bytes([1, 0, 0]), 2),
        (b"P\x1d\x01d" + bytes([2, 0, 0]), 5),
        (b"Q\x02\x01\x02\x00" + bytes([3, 0, 0]), 6),
    ]
    for record, number in records:
        assert data[at:].startswith(record + xxh3(record + number.to_bytes(8, "little")))
        at += len(record) + 4
    place = bytes([begin & 0x7F | 0x80, begin >> 7]) if begin > 127 else bytes([begin])
    trailer = bytes([ord("E"), 3 + len(place), 8, 1, 0]) + place
    assert data[at:] == trailer + xxh3(trailer) + (len(trailer) + 4).to_bytes(4, "little") + b"CVN\x8b"


GOLDEN_HEADER = dataclasses.replace(HEADER, model="golden", precision="int16", arithmetic=3)
GOLDEN_FRAMES = [  # (number, frame); frames 3 and 4 are missing
    (0, frame("I", 36, b"intra" * 30, check=0xABCDEF)),
    (1, frame("P", 30.25, b"", check=0)),
    (2, frame("P", 71, b"refresh", refresh=True, check=1)),
    (5, frame("I", 35.5, bytes(range(256)), check=0xFFFFFF)),
    (6, frame("P", 30, b"last", check=0x800000)),
]


def test_golden_file():
    """A file once written stays readable, and is written the same. It holds no payloads of a model."""
    data = (DATA_FOLDER / "golden.nvc").read_bytes()
    opened = reader(data, conceal=True)
    assert opened.header == GOLDEN_HEADER
    assert opened.frame_count == 7
    units = list(opened)
    assert [unit.index for unit in units] == list(range(7))
    assert [unit.index for unit in units if isinstance(unit, LostPicture)] == [3, 4]
    found = [(unit.index, coded(unit)) for unit in units if isinstance(unit, Packet)]
    assert found == GOLDEN_FRAMES
    assert opened.seek(6)
    file = io.BytesIO()
    writer = NvcWriter(file, GOLDEN_HEADER.to_bytes())
    for index, sent in GOLDEN_FRAMES:
        writer.write(sent, index)
    writer.finish()
    assert file.getvalue() == data


@pytest.mark.parametrize("payload", [0, 1, 300, 20_000, 2_000_000])
def test_overhead_of_a_packet(payload):
    """At most 14 bytes, all checks included."""
    writer = NvcWriter(io.BytesIO(), HEADER.to_bytes())
    writer.write(frame("I"))
    for coded_frame, index in (
        (frame("P", payload=bytes(payload)), None),
        (frame("I", payload=bytes(payload)), 16_383),
    ):
        assert writer.write(coded_frame, index) - payload <= 14
    assert writer.write(frame("P", (30.5, 38.5), bytes(payload))) - payload <= 18


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
        {"pictures": 2},
        {"pictures": 8, "model": ""},
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
        {"pictures": 256},
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
        frame("I", (63.5, 20)),
        frame("I", (20, 72)),
        frame("P", ()),
        frame("P", (20,) * (MAX_PICTURES + 1)),
        frame("P", (20, 0.1)),
    ):
        with pytest.raises(ConfigError):
            writer.write(unfit)
    with pytest.raises(ConfigError, match="frame 3 cannot follow frame -1"):
        writer.write(frame("P"), index=3)


def test_versions():
    with pytest.raises(BitstreamError, match="version 2, this program reads version 1; update nvc-jax"):
        read(DATA[:8] + b"\x02" + DATA[9:])
    # A later minor version may append fields to the header and have records with the highest bit set.
    for file in FILES.values():
        data = file.data
        size = int.from_bytes(data[10:12], "little")
        fields = data[12 : 12 + size] + (b"\x01" if file is ONE else b"") + b"new"
        header = data[:9] + b"\x07" + len(fields).to_bytes(2, "little") + fields
        extra = b"\x90" + varint(5) + b"hello"
        body = header + check_bytes(header) + extra + check_bytes(extra) + data[16 + size : file.begins[-1]]
        found, error = read_until_error(body)
        assert [coded(unit) for unit in found] == file.packets
        assert isinstance(error, TruncatedError)


def test_files_of_one_picture_a_packet_are_those_of_minor_version_0():
    """Whatever the model can do: with a header that says more, records of one picture stay what they are."""
    assert DATA[9] == 0
    data, sizes = write(CLIP, SEVERAL)
    assert data[9] == 1
    assert len(SEVERAL.to_bytes()) == len(HEADER.to_bytes()) + 1
    assert data[len(SEVERAL.to_bytes()) : sum(sizes)] == DATA[len(HEADER.to_bytes()) : BEGINS[-1]]


def test_readers_of_minor_version_0(monkeypatch):
    """They know three types of packets, and refuse the others by one sentence."""
    one, several = FILES.values()
    for type_ in map(ord, "JQS"):
        monkeypatch.delitem(TYPES, type_)
    assert [coded(unit) for unit in read(one.data)] == one.packets
    found, error = read_until_error(several.data)
    assert found == []
    assert str(error) == f"frame 0: unknown record type 74 (byte {len(several.header.to_bytes())})"
    mixed = File(SEVERAL, [frame("I"), frame("P"), frame("P", (30, 30), refresh=True)])
    found, error = read_until_error(mixed.data)
    assert [coded(unit) for unit in found] == mixed.packets[:2]
    assert str(error) == f"frame 2: unknown record type 83 (byte {mixed.begins[2]})"


@pytest.mark.parametrize(
    ("pictures", "record"),
    [(1, b"J\x02\x1e\x1e"), (4, b"J\x05\x1e\x1e\x1e\x1e\x1e"), (4, b"J\x01\x1e"), (4, b"J\x00"), (8, b"J\xff")],
)
def test_counts_out_of_range_are_refused(pictures, record):
    header = dataclasses.replace(HEADER, pictures=pictures).to_bytes()
    record += bytes(5)
    with pytest.raises(
        BitstreamError, match=rf"^frame 0: {record[1]} pictures in a packet, the header says {pictures}"
    ):
        read(header + record + check_bytes(record, bytes(8)))


@pytest.mark.parametrize("pictures", [0, 9, 255])
def test_headers_with_impossible_packets(pictures):
    size = len(SEVERAL.to_bytes()) - 5
    header = SEVERAL.to_bytes()[:size] + bytes([pictures])
    with pytest.raises(BitstreamError, match=f"the header is wrong: its packets have {pictures} pictures"):
        read(header + check_bytes(header))


def test_seek(file):
    for index in range(file.firsts[-1] + 1):
        opened = reader(file.data)
        assert opened.seek(index)
        units = list(opened)
        number = max(t for t, packet in enumerate(file.packets) if packet.start and file.firsts[t] <= index)
        assert units[0].index == file.firsts[number]
        assert [coded(unit) for unit in units] == file.packets[number:]
        assert units[0].offset == (file.begins[number] or len(file.header.to_bytes()))


def test_seek_needs_an_index():
    assert not reader(DATA[:-1]).seek(5)
    assert not reader(DATA, source=Pipe).seek(5)


@pytest.mark.parametrize("source", [io.BytesIO, Pipe])
def test_every_cut_gives_the_whole_packets_then_the_error(file, source):
    for cut in range(len(file.data)):
        found, error = [], None
        try:
            for unit in reader(file.data[:cut], source=source):
                found.append(coded(unit))
        except BitstreamError as caught:
            error = caught
        whole = file.whole(cut)
        assert found == file.packets[:whole]
        assert isinstance(error, TruncatedError), cut
        if whole == len(file.packets):
            assert str(error).startswith((f"frame {file.firsts[-1]}", "index", "end"))


def test_every_flipped_byte_is_found(file):
    for at in range(len(file.data)):
        found, error = read_until_error(flip(file.data, at, at % 8))
        assert [coded(unit) for unit in found] == file.packets[: file.whole(at)]
        assert isinstance(error, BitstreamError), at


@pytest.mark.parametrize("trailer", [True, False])
def test_concealment_goes_on_at_the_next_start_packet(file, trailer):
    data = file.data if trailer else file.data[: file.begins[-1]]
    for t, packet in enumerate(file.packets):
        resumed = file.resumed(t)
        expected = list(range(file.firsts[t], file.firsts[resumed]))
        for at in range(max(file.begins[t], len(file.header.to_bytes())), file.begins[t + 1]):
            found, error = read_until_error(flip(data, at, at % 8), conceal=True)
            whole = [unit for unit in found if isinstance(unit, Packet)]
            assert [coded(unit) for unit in whole] == file.packets[:t] + file.packets[resumed:]
            assert [unit.index for unit in whole] == file.firsts[:t] + file.firsts[resumed:-1]
            lost = [unit.index for unit in found if isinstance(unit, LostPicture)]
            assert lost == (expected if trailer or resumed < len(file.packets) else [])
            assert error is None
        assert len(expected) >= len(packet.qps)


def test_concealment_in_a_pipe():
    """Frames that were left out by a repair are; damage is not, for it takes a search."""
    units = read(HOLES, conceal=True, source=Pipe)
    assert [unit.index for unit in units if isinstance(unit, LostPicture)] == [5, 6, 7]
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
        found = {unit.index: unit for unit in read(data, conceal=True) if isinstance(unit, Packet)}
        assert found[8].size_bytes == SIZES[8]
        assert data[found[8].offset : found[8].offset + 2] == bytes([ord("I"), 22])


def holes():
    file = io.BytesIO()
    writer = NvcWriter(file, HEADER.to_bytes())
    for t, coded_frame in enumerate(CLIP):
        if t not in (5, 6, 7):
            writer.write(coded_frame, t)
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
    """The beginning can be read while the rest is being written."""
    path = tmp_path / "growing.nvc"
    with path.open("wb") as out, path.open("rb") as source:
        writer = NvcWriter(out, HEADER.to_bytes())
        writer.write(CLIP[0])
        units = iter(NvcReader(Cursor(source)))
        for t in range(5):
            assert coded(next(units)) == CLIP[t]
            writer.write(CLIP[t + 1])
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


def qps(largest):
    return st.integers(0, largest * 256).map(lambda n: n / 256)


def packets(pictures):
    """Packets of up to so many pictures."""
    return st.one_of(
        st.builds(
            lambda kind, first, rest, *others: frame(kind, (first, *rest), *others),
            st.just(kind),
            qps(largest),
            st.lists(qps(MAX_QP) | st.integers(0, MAX_QP), max_size=pictures - 1),
            st.binary(max_size=300),
            st.booleans() if kind == "P" else st.just(False),
            st.integers(0, (1 << 24) - 1),
        )
        for kind, largest in (("I", MAX_START_QP), ("P", MAX_QP))
    )


headers = st.sampled_from([dataclasses.replace(HEADER, pictures=pictures) for pictures in (1, 2, MAX_PICTURES)])
files = headers.flatmap(lambda header: st.tuples(st.just(header), st.lists(packets(header.pictures), max_size=12)))


@settings(deadline=None)
@given(files)
def test_any_packets_come_back(file):
    header, sent = file
    data, sizes = write(sent, header)
    got = read(data)
    assert [coded(unit) for unit in got] == sent
    assert [unit.size_bytes for unit in got] == sizes
    assert_the_second_reader_agrees(data)


def assert_the_second_reader_agrees(data):
    """The readers give the same packets, and both or none of them an error."""
    second, (found, error) = format_reader.read(data), read_until_error(data)
    letters = {(start, refresh, several): chr(type_) for type_, (start, refresh, several) in TYPES.items()}
    ours = [
        (unit.index, letters[unit.start, unit.refresh, len(unit.qps) > 1], unit.qps, unit.payload, unit.check)
        for unit in found
    ]
    assert ours == second.packets
    assert (error is None) == second.whole


def test_the_second_reader_agrees_on_the_header():
    header = dataclasses.replace(SEVERAL, skip_threshold=None, intra_period=-1, colour=(9, 16, 9, False, "left"))
    for sent in (HEADER, SEVERAL, header):
        found = format_reader.read(write([frame("I")], sent)[0])
        assert found.whole
        expected = {
            "identity": sent.identity, "model": "tiny", "precision": 0, "arithmetic": 0, "width": 130, "height": 98,
            "numerator": 30000, "denominator": 1001, "skip_threshold": -1 if sent is header else 0.12, "qp": 30.25,
            "intra_qp": 36, "intra_period": 0 if sent is header else 4, "reset_interval": 64,
            "qp_offsets": HEADER.qp_offsets, "pictures": sent.pictures,
        }  # fmt: skip
        colour = ("primaries", "transfer", "matrix", "range", "location")
        expected |= dict(zip(colour, (9, 16, 9, 1, 1) if sent is header else (1, 13, 1, 2, 2), strict=True))
        assert found.header == expected


def test_the_second_reader_agrees_on_cuts_and_flips(file):
    for at in range(0, len(file.data), 3):
        assert_the_second_reader_agrees(file.data[:at])
        assert_the_second_reader_agrees(flip(file.data, at, at % 8))


def record(type_, count, qp, number, payload=b"x", following=1):
    """A record of any field values with good checks; qp is that of the first and of the last picture."""
    several, width = type_ & ~FRACTION in b"JQS", 2 if type_ & FRACTION else 1
    qps = [qp if n in (0, count - 1) else 256 * 5 for n in range(count if several else 1)]
    data = bytes([type_, count] if several else [type_])
    data += b"".join(bytes([qp // 256, qp % 256][:width]) for qp in qps)
    starts = type_ & ~FRACTION in b"IJ"
    data += (varint(number) if starts else b"") + varint(len(payload)) + payload + bytes(3)
    return data + check_bytes(data, (number if starts else following).to_bytes(8, "little"))


@pytest.mark.parametrize("pictures", [1, 2, MAX_PICTURES])
def test_the_second_reader_agrees_on_every_limit(pictures):
    """Types, counts, qps and numbers around what is allowed: of both kinds, some are packets and some are not."""
    header = dataclasses.replace(HEADER, pictures=pictures).to_bytes()
    first = record(ord("I"), 1, 63 * 256, 0)
    for type_ in (letter | flag for letter in b"IJPQRSABTZ" for flag in (0, FRACTION)):
        for count in (0, 1, 2, 3, pictures, pictures + 1, 255):
            for qp in (0, 63 * 256, 63 * 256 + 1, 64 * 256, 71 * 256, 71 * 256 + 1, 72 * 256, 255 * 256):
                assert_the_second_reader_agrees(header + first + record(type_, count, qp, 1))
        for number in (0, 1, 2, 1 << 40):
            data = header + first + record(type_, min(2, pictures), 20 * 256, number)
            assert_the_second_reader_agrees(data + record(ord("P"), 1, 0, 0, following=1 + min(2, pictures)))
            assert_the_second_reader_agrees(data + record(ord("P"), 1, 0, 0, following=2))


def test_the_second_reader_agrees_on_records_of_later_versions():
    header, first = HEADER.to_bytes(), record(ord("I"), 1, 0, 0)
    for type_ in (0x7F, 0x80, 0x90, 0xFF):
        later = bytes([type_]) + varint(3) + b"abc"
        data = header + first + later + check_bytes(later) + record(ord("P"), 1, 0, 0)
        assert_the_second_reader_agrees(data)
        assert len(format_reader.read(data).packets) == (1 if type_ == 0x7F else 2)


def test_the_second_reader_agrees_on_lengths():
    for pictures in (1, 3):
        header = dataclasses.replace(HEADER, width=1, height=1, pictures=pictures).to_bytes()
        limit = (1 << 16) + 16 * pictures
        for length in (limit, limit + 1):
            data = header + record(ord("I"), 1, 0, 0, bytes(length))
            assert_the_second_reader_agrees(data)
            assert len(format_reader.read(data).packets) == (length == limit)


def test_the_second_reader_agrees_on_trailers(file):
    """A number of pictures or of start packets that is not that of the file, and what may follow or be left out."""
    data, body = file.data[: file.begins[-1]], file.data[file.begins[-1] : -12]
    total, rest = file.firsts[-1], body[3:]
    assert body[:1] == b"E"
    for count in (total - 1, total, total + 1):
        trailer = b"E" + varint(1 + len(rest)) + varint(count) + rest
        trailer += check_bytes(trailer)
        for tail in (len(trailer).to_bytes(4, "little"), bytes(4)):
            for end in (END_MARK, b"", b"CVN\x8c", END_MARK + b"x"):
                assert_the_second_reader_agrees(data + trailer + tail + end)
                good = (count, tail, end) == (total, len(trailer).to_bytes(4, "little"), END_MARK)
                assert format_reader.read(data + trailer + tail + end).whole == good


@settings(deadline=None)
@given(files, st.data())
def test_the_second_reader_agrees_on_changed_fields(file, data):
    """A file with some of its bytes changed and its checks made good."""
    header, sent = file
    whole, sizes = write(sent, header)
    begins = [len(header.to_bytes()), *(sum(sizes[:t]) for t in range(1, len(sizes) + 1))]
    changed, number = whole[: begins[0]], 0
    for packet, begin, end in zip(sent, begins, begins[1:], strict=False):
        record = bytearray(whole[begin : end - 4])
        if data.draw(st.booleans()):
            record[data.draw(st.integers(0, min(6, len(record) - 1)))] = data.draw(st.integers(0, 255))
        changed += bytes(record) + check_bytes(bytes(record), number.to_bytes(8, "little"))
        number += len(packet.qps)
    assert_the_second_reader_agrees(changed + whole[begins[-1] if sent else begins[0] :])


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, len(DATA)), st.integers(0, len(DATA)), st.booleans(), st.booleans())
def test_any_bytes_are_packets_or_our_error(noise, cut, resume, conceal, header):
    data = DATA[:cut] + noise + DATA[resume:] if header else MAGIC + noise
    found, error = read_until_error(data, conceal)
    assert len(found) <= 12
    assert all(coded(unit) == CLIP[unit.index] for unit in found if isinstance(unit, Packet))
    assert error is not None or conceal or data == DATA
