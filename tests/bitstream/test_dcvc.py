"""The official container: exact bytes, and refusal of everything else."""

import dataclasses
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_jax.bitstream import CodedPacket, DcvcReader, DcvcWriter, Packet
from nvc_jax.bitstream.cursor import Cursor
from nvc_jax.bitstream.packets import MAX_PIXELS, MAX_QP, MAX_START_QP
from nvc_jax.errors import BitstreamError, ConfigError, TruncatedError

SIZE = 130, 98


def frame(kind, qp, payload, refresh=True, dialect="one_stream"):
    return CodedPacket(kind == "I", refresh, (qp,), dialect, payload, None)


def reader(data):
    return DcvcReader(Cursor(io.BytesIO(data)))


def read(data):
    return list(reader(data))


def write(frames, size=SIZE):
    file = io.BytesIO()
    writer = DcvcWriter(file, *size)
    sizes = [writer.write(coded) for coded in frames]
    return file.getvalue(), sizes


def coded(unit):
    """The part of a unit that a writer was given."""
    return CodedPacket(unit.start, unit.refresh, unit.qps, unit.dialect, unit.payload, unit.check)


def test_official_files_are_rewritten_byte_for_byte(golden):
    paths = sorted(golden.glob("stream_*.bin"))
    assert paths
    for path in paths:
        data = path.read_bytes()
        frames = read(data)
        again, sizes = write(map(coded, frames), (frames[0].width, frames[0].height))
        assert again == data, path.name
        assert sizes == [f.size_bytes for f in frames]
        assert [f.offset for f in frames] == [sum(sizes[:i]) for i in range(len(sizes))]


def test_layout_of_a_small_file():
    # By hand from docs/FORMAT.md.
    sent = [
        frame("I", 21, b"abc"),
        frame("P", 29, b"", refresh=False, dialect="two_streams"),
        frame("P", 71, bytes(200)),
    ]
    data, sizes = write(sent)
    assert data == (
        bytes([0x00, 98, 0x80, 130, 0b001, 0x10, 21, 3])
        + b"abc"
        + bytes([0x01, 98, 0x80, 130, 0b100, 0x21, 29, 0])
        + bytes([0x20, 71, 0x80, 200])
        + bytes(200)
    )
    assert sizes == [11, 8, 204]
    places = [(0, *SIZE, 0, 11), (1, *SIZE, 11, 8), (2, *SIZE, 19, 204)]
    assert read(data) == [Packet(*vars(f).values(), *place) for f, place in zip(sent, places, strict=True)]


@pytest.mark.parametrize(
    ("size", "coded"),
    [(127, "7f"), (128, "8080"), (16383, "bfff"), (16384, "c0004000"), (70000, "c0011170")],
)
def test_lengths_take_one_two_or_four_bytes(size, coded):
    data, _ = write([frame("I", 0, bytes(size))])
    assert data[7 : 7 + len(coded) // 2].hex() == coded
    assert len(read(data)[0].payload) == size


def test_a_sequence_header_may_be_sent_again():
    first, _ = write([frame("I", 5, b"x")])
    second, _ = write([frame("I", 6, b"y", refresh=False)], (64, 32))
    units = read(first + second)
    assert [(f.width, f.height, f.refresh) for f in units] == [(*SIZE, True), (64, 32, False)]
    assert [f.index for f in units] == [0, 1]


@pytest.mark.parametrize(
    ("height", "width"), [(0, 64), (64, 0), (16385, 1), (1, 16385), (16384, 16384), (MAX_PIXELS, 1)]
)
def test_sizes_beyond_the_limits(height, width):
    with pytest.raises(ConfigError, match=f"picture size {width}x{height} is out of range"):
        DcvcWriter(io.BytesIO(), width, height)


def test_large_pictures_have_two_streams():
    assert DcvcWriter(io.BytesIO(), 1280, 720).dialect == "one_stream"
    assert DcvcWriter(io.BytesIO(), 1281, 720).dialect == "two_streams"


def test_what_the_container_cannot_hold():
    for unfit, words in (
        (frame("P", 30.5, b""), "qp 30.5 is not a whole number"),
        (frame("P", 30, b"", dialect="interleaved"), "cannot hold interleaved payloads"),
        (dataclasses.replace(frame("I", 30, b""), qps=(30, 38)), "holds packets of one picture; write an .nvc file"),
        (dataclasses.replace(frame("I", 30, b""), qps=()), "a packet of 0 pictures"),
    ):
        with pytest.raises(ConfigError, match=words):
            write([unfit])


@pytest.mark.parametrize(("kind", "qp"), [("I", 64), ("I", -1), ("P", 72)])
def test_writing_a_qp_out_of_range(kind, qp):
    with pytest.raises(ConfigError, match=f"qp {qp} of {kind} frame out of range"):
        write([frame(kind, qp, b"")])


def test_a_refused_frame_leaves_the_writer_usable():
    file = io.BytesIO()
    writer = DcvcWriter(file, *SIZE)
    with pytest.raises(ConfigError):
        writer.write(frame("I", 64, b""))
    writer.write(frame("I", 63, b""))
    assert [f.qps for f in read(file.getvalue())] == [(63,)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "the file is empty"),
        ("30", r"^not an nvc or dcvc stream \(unknown unit type 3, byte 0\)$"),
        ("89504e47", "unknown unit type 8"),
        ("1500", r"^not an nvc or dcvc stream \(sequence header 5 was not sent before, byte 0\)$"),
        ("0040400011c0", r"^not an nvc or dcvc stream \(sequence header 1 was not sent before, byte 4\)$"),
        ("0040400010400000", r"^frame 0: qp 64 of I frame out of range 0\.\.63 \(byte 5\)$"),
        ("00404000204800", r"^frame 0: qp 72 of P frame out of range 0\.\.71 \(byte 5\)$"),
        ("00404002", r"^not an nvc or dcvc stream \(unknown sequence flags 0x02, byte 3\)$"),
        ("00004000", r"^not an nvc or dcvc stream \(picture size 64x0 is out of range: .*, byte 1\)$"),
        ("00c0ffffffc0ffffff00", "out of range"),
    ],
)
def test_damaged_files(data, message):
    with pytest.raises(BitstreamError, match=message) as caught:
        read(bytes.fromhex(data))
    assert not isinstance(caught.value, TruncatedError)


def test_every_cut_gives_the_whole_frames_then_the_error():
    data, sizes = write([frame("I", 21, b"abc"), frame("P", 29, bytes(130)), frame("P", 25, b"z")])
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    for cut in range(1, len(data)):
        units = iter(reader(data[:cut]))
        whole = sum(end <= cut for end in ends)
        assert [next(units).qps for _ in range(whole)] == [(21,), (29,), (25,)][:whole]
        if cut in ends:
            assert next(units, None) is None
        else:
            with pytest.raises(TruncatedError, match=rf"^frame {whole}: .* \(byte \d+\)$"):
                next(units)


def test_a_pipe_is_read_frame_by_frame():
    data, sizes = write([frame("I", 21, b"abc"), frame("P", 29, b"de")])

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    pipe = Pipe(data)
    units = iter(DcvcReader(Cursor(pipe)))
    assert next(units).payload == b"abc"
    assert pipe.tell() == sizes[0]
    assert [f.payload for f in units] == [b"de"]


frames = st.one_of(
    st.builds(
        frame,
        st.just(kind),
        st.integers(0, largest),
        st.binary(max_size=300),
        st.booleans(),
        st.sampled_from(["one_stream", "two_streams"]),
    )
    for kind, largest in (("I", MAX_START_QP), ("P", MAX_QP))
)
picture_sizes = st.tuples(st.integers(1, 16384), st.integers(1, 4096))


@settings(deadline=None)
@given(st.lists(frames, min_size=1, max_size=16), picture_sizes)
def test_round_trip(sent, size):
    data, sizes = write(sent, size)
    got = read(data)
    assert [coded(f) for f in got] == sent
    assert {(f.width, f.height) for f in got} == {size}
    assert [f.size_bytes for f in got] == sizes
    assert sum(sizes) == len(data)


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(frames, max_size=2), st.data())
def test_any_bytes_are_frames_or_a_bitstream_error(noise, sent, data):
    stream = bytearray(write(sent)[0] + noise)
    if stream:
        stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(0, 255))
    try:
        got = read(bytes(stream))
    except BitstreamError:
        return
    assert sum(f.size_bytes for f in got) == len(stream)
