"""Arrays to streams and back: bytes of the command line, pictures of the decoder, random access."""

import dataclasses
import io
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

import nvc_jax
from nvc_jax.bitstream import NvcReader
from nvc_jax.bitstream.cursor import Cursor
from nvc_jax.errors import (
    BitstreamError,
    ConfigError,
    FrameNumberError,
    ModelError,
    NvcError,
    OutputError,
    TruncatedError,
    VideoError,
)
from nvc_jax.video import RgbFrame, VideoInfo, YuvFrame, create_video, open_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory, yuv):
    """The planes as a file."""
    path = tmp_path_factory.mktemp("clip") / "clip.y4m"
    with create_video(path, VideoInfo(*yuv.y.shape[:0:-1], Fraction(25))) as writer:
        for planes in zip(*yuv, strict=True):
            writer.write(YuvFrame(*planes))
    return path


def test_a_stream_is_the_file_of_the_command_line(codec, yuv, clip, tmp_path):
    options = {"intra_qp": 40, "intra_period": 4, "rdoq": 0.02}
    report = nvc_jax.encode_file(clip, tmp_path / "s.nvc", 30, model=codec, **options)
    stream = codec.encode(tuple(yuv), 30, fps=25, **options)
    assert (tmp_path / "s.nvc").read_bytes() == stream
    assert report["bytes"] == len(stream)
    assert [frame["type"] for frame in report["frames"]] == list("IPPPIP")


def test_decoded_files_and_arrays_are_the_same(codec, yuv, clip, tmp_path):
    nvc_jax.encode_file(clip, tmp_path / "s.nvc", model=codec)
    report = nvc_jax.decode_file(tmp_path / "s.nvc", tmp_path / "d.y4m", model=codec)
    planes = codec.decode(tmp_path / "s.nvc", "planes")
    with open_video(tmp_path / "d.y4m") as reader:
        written = [frame.tobytes() for frame in reader]
    assert written == [b"".join(plane.tobytes() for plane in picture) for picture in zip(*planes, strict=True)]
    assert report["frame_count"] == len(yuv.y)


@pytest.mark.parametrize("kind", ["numpy", "jax", "list", "generator", "frames"])
def test_ways_to_give_a_clip(codec, rgb, stream, kind):
    clip = {
        "numpy": lambda: rgb,
        "jax": lambda: jnp.asarray(rgb),
        "list": lambda: list(rgb),
        "generator": lambda: (picture for picture in rgb),
        "frames": lambda: [RgbFrame(picture) for picture in rgb],
    }[kind]()
    assert codec.encode(clip, 30, intra_period=4) == stream


def test_the_pictures_come_back(rgb):
    codec = nvc_jax.load()
    errors = {}
    for qp in (20, 60):
        decoded = codec.decode(codec.encode(rgb[:2], qp))
        assert (decoded.shape, decoded.dtype) == (rgb[:2].shape, np.uint8)
        errors[qp] = np.square(decoded - rgb[:2].astype(float)).mean()
    assert errors[60] < errors[20] < 30**2


def test_planes_come_back_as_what_is_asked_for(codec, yuv):
    stream = codec.encode(tuple(yuv))
    assert [plane.shape for plane in codec.decode(stream, "planes")] == [plane.shape for plane in yuv]
    assert codec.decode(stream).shape == (*yuv.y.shape, 3)  # converted by the colour description


def test_the_official_container(codec, rgb):
    """In float32, rounded to the nearest, and without a description."""
    stream = codec.encode(rgb, container="dcvc")
    assert stream == codec.encode(rgb, container="dcvc", rdoq=0.0)
    with codec.open(stream) as video:
        assert video.metadata == nvc_jax.Metadata("dcvc", 33, 17, len(rgb))
        np.testing.assert_array_equal(video[:], codec.decode(stream))
        np.testing.assert_array_equal(video[2], video[:][2])


def test_precisions(codec, rgb):
    """A stream decodes in its own; a codec that is held to one refuses the others."""
    held = nvc_jax.Codec(codec.stored, precision="float32")
    stream = held.encode(rgb[:2])
    assert stream != codec.encode(rgb[:2])
    np.testing.assert_array_equal(held.decode(stream), codec.decode(stream))
    with pytest.raises(ConfigError, match="made in int16 and does not decode in float32"):
        held.decode(codec.encode(rgb[:2]))


def test_models(codec, rgb, stream):
    assert nvc_jax.list_models()["embedded"]["identity"] == nvc_jax.load().identity
    with pytest.raises(ModelError, match=r"made with the model tiny .* which is not packaged"):
        nvc_jax.decode(stream)
    other = nvc_jax.Codec(dataclasses.replace(codec.stored, config=codec.config))
    np.testing.assert_array_equal(nvc_jax.decode(stream, other), codec.decode(stream))
    with pytest.raises(ModelError, match="made with the model tiny"):
        nvc_jax.decode(stream, "embedded")
    # As a release made it whose model was trained otherwise.
    header = NvcReader(Cursor(io.BytesIO(stream))).header
    before = dataclasses.replace(header, model="embedded", identity="0" * 64).to_bytes()
    sentence = (
        r"the model embedded \(identity 0{12}\), and embedded has identity \w{12}; give the right one as `model`, or "
    )
    with pytest.raises(ModelError, match=sentence + "install the nvc-jax release that packaged it"):
        nvc_jax.decode(before + stream[len(header.to_bytes()) :])


def test_metadata(codec, stream):
    with codec.open(stream) as video:
        assert (len(video), repr(video)) == (6, "<nvc_jax.Video stream, 6 frames of 33x17>")
        found = video.metadata
        assert (found.container, found.width, found.height, found.fps, found.duration) == ("nvc", 33, 17, 30, 0.2)
        assert (found.model, found.precision, found.qp, found.intra_period) == ("tiny", "int16", 30, 4)
        assert found.colour.full_range


def test_random_access(codec, stream):
    pictures = codec.decode(stream)
    with codec.open(stream) as video:
        for number in (3, 4, 0, 5, 5, -1, -6, np.int64(2)):
            np.testing.assert_array_equal(video[number], pictures[number])
        for part in (
            slice(None),
            slice(1, 5),
            slice(4, 2, -1),
            slice(None, None, -2),
            slice(1, 99, 3),
            slice(-2, None),
        ):
            np.testing.assert_array_equal(video[part], pictures[part])
        np.testing.assert_array_equal(np.stack(list(video)), pictures)
        for a, b in zip(video, video, strict=True):  # two iterators
            np.testing.assert_array_equal(a, b)
    with codec.open(stream, "planes") as video:
        np.testing.assert_array_equal(video[2].y, codec.decode(stream, "planes").y[2])
        np.testing.assert_array_equal(video[2:4].u, codec.decode(stream, "planes").u[2:4])


def test_a_picture_decodes_from_its_intra_frame(codec, stream, monkeypatch):
    decoded = []
    submit = nvc_jax.codec.decoder.Decoder._decode_packet
    monkeypatch.setattr(
        nvc_jax.codec.decoder.Decoder,
        "_decode_packet",
        lambda self, packet: (decoded.append(packet.index), submit(self, packet))[1],
    )
    with codec.open(stream) as video:
        assert (video[5] is not None, decoded) == (True, [4, 5])
        assert (video[1] is not None, decoded[2:]) == (True, [0, 1, 2])  # one ahead
        assert (video[2] is not None, decoded[5:]) == (True, [3])


def test_packets_of_several_pictures(pair, rgb):
    """The last one is short."""
    stream = pair.encode(rgb[:5], 30, intra_period=4)
    pictures = pair.decode(stream)
    assert len(pictures) == 5
    with pair.open(stream) as video:
        np.testing.assert_array_equal(video[::-1], pictures[::-1])


def test_a_cut_stream(codec, stream, tmp_path):
    (tmp_path / "cut.nvc").write_bytes(stream[:-20])
    with pytest.raises(TruncatedError, match=r"cut\.nvc: frame 6: the file ends before it|cut\.nvc: .* are left"):
        codec.decode(tmp_path / "cut.nvc")


def test_damage_is_found_where_it_is_and_reading_goes_on(codec, stream):
    damaged = bytearray(stream)
    damaged[len(stream) // 4] ^= 1
    pictures = codec.decode(stream)
    with codec.open(bytes(damaged)) as video:
        with pytest.raises(BitstreamError, match=r"stream: frame [0-3]: "):
            video[3]
        np.testing.assert_array_equal(video[4], pictures[4])
        with pytest.raises(BitstreamError, match=r"stream: frame [0-3]: "):
            video[3]


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.zeros((2, 17, 33, 3), np.float32), r"frames are float32\[2, 17, 33, 3\]; .* \(from 0\.\.1: "),
        (np.zeros((17, 33, 3), np.uint8), r"frames are uint8\[17, 33, 3\]; give uint8 RGB \[T, H, W, 3\]"),
        (np.zeros((2, 3, 17, 33), np.uint8), r"frames are uint8\[2, 3, 17, 33\]; give"),
        ([np.zeros((17, 33), np.uint8)], r"frame 0 is uint8\[17, 33\]; give uint8 RGB \[H, W, 3\] or a tuple"),
        ((np.zeros((2, 17, 33), np.uint8),) * 2, r"a tuple stands for planes \(y, u, v\), and this one has"),
        ((np.zeros((2, 17, 33), np.uint16),) * 3, r"the planes are uint16\[2, 17, 33\], "),
        ((np.zeros((2, 17, 33), np.uint8),) * 3, r"frame 0: plane u is uint8\[17, 33\], expected uint8\[9, 17\]"),
        ([np.zeros((17, 33, 3), np.uint8), np.zeros((17, 34, 3), np.uint8)], "frame 1: plane rgb is uint8"),
        ([1, 2], "frame 0 is of type int; give uint8 RGB"),
        ("clip.mp4", "the frames are of type str; give"),
        (5, "the frames are of type int; give"),
        ([], "the clip has no frames"),
        (np.zeros((0, 17, 33, 3), np.uint8), "the clip has no frames"),
    ],
)
def test_other_clips_are_refused(codec, clip, message):
    with pytest.raises(VideoError, match=message):
        codec.encode(clip)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"qp": 64}, "qp is 64; it must be from 0 to 63"),
        ({"qp": -1}, "qp is -1; it must be"),
        ({"intra_qp": 99}, "intra qp is 99"),
        ({"rdoq": 2}, "`rdoq` is 2; it must be from 0 to 1"),
        ({"preset": "slow"}, "unknown preset 'slow'; available: fast, medium"),
        ({"fps": 0}, "fps is 0; it must be positive"),
        ({"fps": float("nan")}, "fps is nan; it must be positive"),
        ({"container": "mp4"}, "unknown container 'mp4'; available: auto, nvc, dcvc"),
        ({"container": "auto"}, "'auto' goes by the name of a file"),
        ({"container": "dcvc", "qp": 30.5}, "qp 30.5 is not a whole number"),
        ({"colour": nvc_jax.Colour()}, "a colour description is for planes"),
        ({"qp": "32"}, "qp is '32'; it must be a number"),
        ({"bitrate": "100k"}, "bitrate is '100k'; it must be a number"),
        ({"intra_period": "x"}, "intra_period is 'x'; it must be a number"),
        ({"fps": "abc"}, "fps is 'abc'; it must be a number"),
        ({"quality": 3}, "unknown option 'quality'; available: qp, intra_qp"),
    ],
)
def test_options_out_of_range(codec, rgb, options, message):
    with pytest.raises(ConfigError, match=message):
        codec.encode(rgb, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "float8"}, "precision 'float8' is not known"),
        ({"kernels": "mmx"}, "unknown kernel backend 'mmx'; available: "),
        ({"device": "abacus"}, "no device 'abacus' here; available: cpu"),
    ],
)
def test_bad_codecs(codec, options, message):
    with pytest.raises(ConfigError, match=message):
        nvc_jax.Codec(codec.stored, **options)


def test_pictures_are_no_stream(rgb):
    with pytest.raises(ConfigError, match="a stream is a path or bytes, not ndarray"):
        nvc_jax.decode(rgb)


def test_what_is_not_there(codec, stream, tmp_path):
    with codec.open(stream) as video:
        for number in (6, -7):
            with pytest.raises(FrameNumberError, match=f"there is no frame {number}, there are 6"):
                video[number]
        with pytest.raises(FrameNumberError, match=r"no frame in 6:, there are 6"):
            video[6:]
        with pytest.raises(IndexError, match=r"frames have whole numbers, not 1\.5"):
            video[1.5]
    with pytest.raises(ConfigError, match="the video is closed"):
        video[0]
    for source, message in (
        (tmp_path / "no.nvc", "cannot read"),
        (b"", "stream: .*empty"),
        (b"text", "not an nvc or dcvc"),
    ):
        with pytest.raises(BitstreamError, match=message):
            codec.open(source)
    with pytest.raises(ConfigError, match="unknown output 'bgr'; available: rgb, planes"):
        codec.decode(stream, "bgr")
    with pytest.raises(NvcError):
        nvc_jax.load("no such model")
    with pytest.raises(OutputError, match="is the input itself"):
        nvc_jax.encode_file(tmp_path / "a", tmp_path / "a", model=codec)


def test_a_device_by_name(codec, rgb, stream):
    assert nvc_jax.Codec(codec.stored, device="cpu").encode(rgb, 30, intra_period=4) == stream
