"""Pictures and packets as they come."""

import numpy as np
import pytest

import nvc_jax
from nvc_jax.codec.encoder import Encoder
from nvc_jax.codec.schedule import Schedule
from nvc_jax.errors import BitstreamError, ConfigError, ModelError, OutputError, VideoError

SIZE = 33, 17


def code(encoder, pictures):
    return [packet for picture in pictures for packet in encoder.encode(picture)] + encoder.flush()


def decode(codec, encoder, packets, **options):
    decoder = codec.decoder(encoder.header, **options)
    return [picture for packet in packets for picture in decoder.decode(packet)] + decoder.flush()


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("name", ["codec", pytest.param("moving", marks=pytest.mark.slow), "pair"])
def test_packets_are_those_of_the_stream(request, rgb, name, delay):
    codec = request.getfixturevalue(name)
    several = codec.config.pictures
    encoder = codec.encoder(*SIZE, 30, delay=delay, intra_period=4)
    decoder = codec.decoder(encoder.header, delay=delay)
    packets, pictures = [], []
    for number, picture in enumerate(rgb, start=1):
        arrived = encoder.encode(picture)
        packets += arrived
        pictures += [decoded for packet in arrived for decoded in decoder.decode(packet)]
        assert len(packets) == max(0, number // several - delay)
        assert len(pictures) == several * max(0, number // several - 2 * delay)
    packets += encoder.flush()
    stream = encoder.header + b"".join(packet.data for packet in packets) + encoder.finish()
    assert stream == codec.encode(rgb, 30, intra_period=4)
    assert [packet.index for packet in packets] == list(range(0, len(rgb), several))
    np.testing.assert_array_equal(decode(codec, encoder, packets, delay=delay), codec.decode(stream))


def test_the_rest_of_a_stream(codec, rgb, stream):
    """`finish` gives what is pending; `packets` takes a clip."""
    encoder = codec.encoder(*SIZE, 30, delay=1, intra_period=4)
    packets = [packet for picture in rgb for packet in encoder.encode(picture)]
    assert encoder.header + b"".join(map(bytes, packets)) + encoder.finish() == stream
    encoder = codec.encoder(*SIZE, 30, intra_period=4)
    assert b"".join([encoder.header, *map(bytes, encoder.packets(rgb)), encoder.finish()]) == stream


def test_quality_changes_with_the_next_packet(codec, rgb):
    encoder = codec.encoder(*SIZE, 20)
    packets = encoder.encode(rgb[0]) + encoder.encode(rgb[1])
    encoder.qp = 50.25
    packets += encoder.encode(rgb[2]) + encoder.encode(rgb[3])
    assert [packet.qps for packet in packets] == [(20,), (28,), (50.25,), (54.25,)]
    assert encoder.qp == 50.25
    pictures = decode(codec, encoder, packets)
    assert len(pictures) == 4
    with pytest.raises(ConfigError, match="qp is 64; it must be from 0 to 63"):
        encoder.qp = 64
    official = codec.encoder(*SIZE, 20, container="dcvc")
    with pytest.raises(ConfigError, match=r"qp 20\.5 is not a whole number"):
        official.qp = 20.5


def test_packets_that_are_not_full_have_the_new_quality(pair, rgb):
    encoder = pair.encoder(*SIZE, 20)
    assert encoder.encode(rgb[0]) == []
    encoder.qp = 30
    (packet,) = encoder.encode(rgb[1])
    assert packet.qps == (30, 38)


def out_of_memory(*args):
    raise MemoryError


@pytest.mark.parametrize("failing", [0, 2])
def test_a_picture_that_fails_is_coded_again_as_an_intra_frame(monkeypatch, codec, rgb, failing):
    encoder, packets = codec.encoder(*SIZE, 30, delay=1), []
    for number, picture in enumerate(rgb[:4]):
        if number == failing:
            with monkeypatch.context() as context:
                context.setattr("nvc_jax.codec.encoder.encode", out_of_memory)
                with pytest.raises(ConfigError, match="not enough memory"):
                    encoder.encode(picture)
        packets += encoder.encode(picture)
    packets += encoder.flush()
    assert [packet.index for packet in packets] == [0, 1, 2, 3]
    assert [packet.intra for packet in packets] == [index in (0, failing) for index in range(4)]
    assert len(decode(codec, encoder, packets)) == 4


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("failing", ["codec.loop.PackedSymbols.to_host", "entropy.coder.EntropyCoder.encode"])
def test_a_packet_that_cannot_be_finished_is_lost_with_the_one_after_it(monkeypatch, codec, rgb, failing, delay):
    """The device fails, as the wait for its symbols says, or their coding."""
    encoder = codec.encoder(*SIZE, 30, delay=delay)
    packets = [packet for picture in rgb[:2] for packet in encoder.encode(picture)]
    with monkeypatch.context() as context:
        context.setattr(f"nvc_jax.{failing}", out_of_memory)
        with pytest.raises(ConfigError, match="not enough memory"):
            encoder.encode(rgb[2])
    packets += code(encoder, rgb[2:5])
    lost = 2 - delay  # its number is taken by the next picture
    assert [packet.index for packet in packets] == list(range(lost + 3))
    assert [packet.intra for packet in packets] == [index in (0, lost) for index in range(lost + 3)]
    assert len(decode(codec, encoder, packets)) == lost + 3


def test_a_packet_that_cannot_be_written_ends_the_stream(monkeypatch, codec, rgb):
    encoder = codec.encoder(*SIZE, 30)
    packets = encoder.encode(rgb[0])
    with monkeypatch.context() as context:
        context.setattr("nvc_jax.bitstream.NvcWriter._write", out_of_memory)
        with pytest.raises(ConfigError, match="not enough memory"):
            encoder.encode(rgb[1])
    for go_on in (lambda: encoder.encode(rgb[2]), encoder.flush, lambda: list(encoder.packets(rgb)), encoder.finish):
        with pytest.raises(OutputError, match="a packet could not be written, so the stream cannot go on"):
            go_on()
    assert len(decode(codec, encoder, packets)) == 1


@pytest.mark.parametrize("delay", [0, 1])
def test_a_forced_intra_frame(codec, rgb, delay):
    encoder = codec.encoder(*SIZE, 30, delay=delay)
    packets = [packet for picture in rgb[:3] for packet in encoder.encode(picture)]
    encoder.force_intra()
    packets += code(encoder, rgb[3:])
    assert [packet.intra for packet in packets] == [True, False, False, True, False, False]
    pictures = decode(codec, encoder, packets)
    later = decode(codec, encoder, packets[3:], conceal=True)  # joins late: what is missing is grey
    np.testing.assert_array_equal(later[3:], pictures[3:])
    assert len(later) == 6
    with codec.open(encoder.header + b"".join(map(bytes, packets)) + encoder.finish()) as video:
        np.testing.assert_array_equal(video[4], pictures[4])


def test_a_forced_intra_frame_ends_the_packet_before_it(pair, rgb):
    encoder = pair.encoder(*SIZE, 30)
    assert encoder.encode(rgb[0]) == []
    encoder.force_intra()
    assert [(packet.index, len(packet.qps)) for packet in encoder.encode(rgb[1])] == [(0, 1)]
    assert [(packet.index, packet.intra) for packet in encoder.encode(rgb[2])] == [(1, True)]


def test_flushing_is_no_end(pair, rgb):
    encoder = pair.encoder(*SIZE, 30)
    packets = code(encoder, rgb[:3]) + code(encoder, rgb[3:])
    assert [len(packet.qps) for packet in packets] == [2, 1, 2, 1]
    assert len(decode(pair, encoder, packets)) == 6


def test_planes_and_the_official_container(codec, yuv):
    encoder = codec.encoder(*SIZE, container="dcvc", planes=True)
    assert encoder.header == b""
    packets = code(encoder, zip(*yuv, strict=True))
    pictures = decode(codec, encoder, packets, output="planes")
    expected = codec.decode(codec.encode(tuple(yuv), container="dcvc"), "planes")
    np.testing.assert_array_equal(np.stack([picture.y for picture in pictures]), expected.y)
    assert sum(packet.bits for packet in packets) == 8 * len(codec.encode(tuple(yuv), container="dcvc"))


def test_the_caller_may_reuse_its_picture(pair, rgb):
    buffer = np.empty_like(rgb[0])
    encoder, packets = pair.encoder(*SIZE, 30), []
    for picture in rgb:
        buffer[:] = picture
        packets += encoder.encode(buffer)
    buffer[:] = 0
    assert encoder.header + b"".join(map(bytes, packets)) + encoder.finish() == pair.encode(rgb, 30)


def test_lost_and_damaged_packets(codec, rgb):
    encoder = codec.encoder(*SIZE, 30, intra_period=4)
    packets = code(encoder, rgb)
    whole = decode(codec, encoder, packets)
    strict = codec.decoder(encoder.header)
    strict.decode(packets[0])
    with pytest.raises(BitstreamError, match="frame 1: "):
        strict.decode(packets[2])
    with pytest.raises(BitstreamError, match=r"frame 1: .* are left"):
        strict.decode(packets[1].data[:-9])
    np.testing.assert_array_equal(strict.decode(packets[1]), whole[1:2])
    lenient = codec.decoder(encoder.header, conceal=True)
    counts = [len(lenient.decode(packet)) for packet in (packets[0], packets[2], b"garbage", packets[4], packets[5])]
    assert counts == [1, 0, 0, 4, 1]


def test_misuse(codec, moving, rgb, yuv):
    encoder = codec.encoder(*SIZE)
    with pytest.raises(ConfigError, match="picture 0 is planes, the encoder takes RGB; make it with planes=True"):
        encoder.encode(tuple(plane[0] for plane in yuv))
    with pytest.raises(VideoError, match=r"frame 0 is float64\[17, 33, 3\]"):
        encoder.encode(rgb[0] / 255)
    with pytest.raises(VideoError, match=r"frame 0: plane rgb is uint8\[16, 33, 3\], expected uint8\[17, 33, 3\]"):
        encoder.encode(rgb[0, :16])
    encoder.finish()
    for call in (encoder.flush, encoder.finish, lambda: encoder.encode(rgb[0]), lambda: next(encoder.packets(rgb))):
        with pytest.raises(ConfigError, match="the encoder is closed; make another one"):
            call()
    with pytest.raises(ConfigError, match="delay is 2; it must be from 0 to 1"):
        codec.encoder(*SIZE, delay=2)
    with pytest.raises(ModelError, match="was made with the model tiny"):
        moving.decoder(encoder.header)
    with pytest.raises(BitstreamError, match=r"not an \.nvc file"):
        codec.decoder(b"0123456789abcdef")
    with pytest.raises(BitstreamError, match="not an nvc or dcvc stream"):
        codec.decoder().decode(b"\xff\xff")


def test_misuse_of_the_inner_encoder(codec, rgb):
    """Frames, not arrays; and a dialect that there is."""
    inner = codec.in_precision("int16")
    with pytest.raises(VideoError, match=r"frame 0 is of type ndarray, not YuvFrame or RgbFrame; nvc_jax\.load"):
        next(Encoder(inner, *SIZE, Schedule(), 0.12, "interleaved").packets(rgb))
    with pytest.raises(ConfigError, match="unknown dialect 'huffman'; available: one_stream, two_streams, interleaved"):
        Encoder(inner, *SIZE, Schedule(), 0.12, "huffman")


def test_kinds_of_pictures_do_not_mix(codec, rgb, yuv):
    frames = [rgb[0], nvc_jax.Planes(*(plane[0] for plane in yuv))]
    with pytest.raises(ConfigError, match="picture 1 is planes, the encoder takes RGB"):
        codec.encode(frames)
