"""Encoder and decoder over sequences: what the decoder gives is what the encoder said it would."""

import dataclasses

import numpy as np
import pytest
import recording
import streams
import synthetic

from nvc_jax.codec.decoder import Decoder
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import QpOffsets, Schedule
from nvc_jax.errors import BitstreamError, ConfigError, TruncatedError
from nvc_jax.models.state import Feature, Pictures
from nvc_jax.video import RgbFrame

SIZE = 17, 33  # odd, and smaller than one position of z
SCHEDULE = Schedule(30, 36, reset_interval=3)


def encode(codec, source, schedule=SCHEDULE, *arguments, **options):
    return streams.encode(codec, source, schedule, *arguments, **options)


def same_pictures(coded, decoded):
    expected = streams.reconstructions(coded)
    assert len(expected) == len(decoded)
    return expected == [frame.planes.tobytes() for frame in decoded]


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (64, 48), (130, 98)], ids=lambda size: "{}x{}".format(*size))
def test_pictures_of_the_decoder_are_those_of_the_encoder(tiny_codec, size):
    source = synthetic.moving_picture(*size, 5)
    stream, coded = encode(tiny_codec, source)
    decoded = streams.decode(tiny_codec, stream)
    assert same_pictures(coded, decoded)
    assert {frame.planes.size for frame in decoded} == {size}
    assert len({frame.planes.tobytes() for frame in decoded}) == len(source)
    assert [frame.packet.index for frame in decoded] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("schedule", "kinds", "refreshed"),
    [
        (Schedule(30, 36, -1, 3), "IPPPPPP", [1, 4]),
        (Schedule(63, 0, 3, 0), "IPPIPPI", []),
        (Schedule(0, 63, 4, 1), "IPPPIPP", [1, 2, 3, 5, 6]),
        (Schedule(8, 8, 1, 64), "IIIIIII", []),
    ],
)
@pytest.mark.parametrize("threshold", [None, 0.12, 1.0])
def test_schedules(tiny_codec, schedule, kinds, refreshed, threshold):
    stream, coded = encode(tiny_codec, synthetic.moving_picture(*SIZE, 7), schedule, threshold)
    decoded = streams.decode(tiny_codec, stream, threshold)
    assert same_pictures(coded, decoded)
    assert "".join(frame.type for frame in decoded) == kinds
    assert [frame.packet.index for frame in decoded if frame.packet.refresh] == refreshed
    offsets = (0, 8, 0, 4, 0, 4, 0)  # by frame number, spec 9
    expected = [schedule.intra_qp if k == "I" else schedule.qp + o for k, o in zip(kinds, offsets, strict=True)]
    assert [frame.qp for frame in decoded] == expected


def test_qp_offsets_are_those_of_the_model_unless_the_schedule_has_its_own():
    codec = Codec(dataclasses.replace(synthetic.tiny_model(), offsets=QpOffsets((0,) * 8)), "float32")
    own = dataclasses.replace(SCHEDULE, qp_offsets=(0, 2) * 4)
    for schedule, expected in ((SCHEDULE, [36, 30, 30]), (own, [36, 32, 30])):
        _, coded = encode(codec, synthetic.moving_picture(*SIZE, 3), schedule)
        assert [qp for packet in coded for qp in packet.coded.qps] == expected


def test_one_frame(tiny_codec):
    stream, coded = encode(tiny_codec, synthetic.moving_picture(*SIZE, 1))
    assert same_pictures(coded, streams.decode(tiny_codec, stream))


def test_a_refresh_starts_from_the_last_picture(tiny_codec):
    """The state after a refresh is the last frame's picture at the last frame's qp (spec 9)."""
    with recording.recorded_stages() as calls:
        encode(tiny_codec, synthetic.moving_picture(*SIZE, 5), reconstruct=False)
    states = [type(call.inputs["state"]) for call in calls if call.stage == "features"]
    assert states == [Pictures, Feature, Feature, Pictures]  # frames 1 to 4; 1 and 4 are refreshed
    intra, refresh = (call for call in calls if call.stage == "reconstruct")
    features = [call.output for call in calls if call.stage == "synthesise"]
    assert intra.inputs["synthesis"].feature is features[0]
    assert refresh.inputs["synthesis"].feature is features[3]
    assert refresh.inputs["qps"].tolist() == [[30 + 4]]  # of frame 3


def test_two_streams(tiny_codec):
    source = synthetic.moving_picture(*SIZE, 3)
    one, coded = encode(tiny_codec, source)
    two, _ = encode(tiny_codec, source, dialect="two_streams")
    assert one != two
    decoded = streams.decode(tiny_codec, two)
    assert {frame.packet.dialect for frame in decoded} == {"two_streams"}
    assert same_pictures(coded, decoded)


def test_rgb(tiny_codec):
    source = [RgbFrame(synthetic.uniform(f"rgb {t}", (33, 17, 3), 0, 256).astype(np.uint8)) for t in range(3)]
    stream, coded = encode(tiny_codec, source)
    decoded = streams.decode(tiny_codec, stream, rgb=True)
    assert same_pictures(coded, decoded)
    assert {frame.rgb.rgb.shape for frame in decoded} == {(33, 17, 3)}
    assert streams.decode(tiny_codec, stream)[0].rgb is None


def test_coding_again_gives_the_same_bytes(tiny_codec):
    source = synthetic.moving_picture(*SIZE, 4)
    stream, _ = encode(tiny_codec, source)
    assert encode(tiny_codec, source, reconstruct=False)[0] == stream
    assert encode(Codec(tiny_codec.stored), source)[0] == stream


def test_larger_qps_take_more_bits(tiny_codec):
    source = synthetic.moving_picture(*SIZE, 3)
    sizes = [len(encode(tiny_codec, source, Schedule(qp, qp))[0]) for qp in (0, 21, 42, 63)]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 1.3 * sizes[0]


@pytest.mark.slow
def test_bfloat16(tiny_codec):
    codec = Codec(tiny_codec.stored, "bfloat16")
    source = synthetic.moving_picture(*SIZE, 4)
    stream, coded = encode(codec, source)
    assert same_pictures(coded, streams.decode(codec, stream))
    assert stream != encode(tiny_codec, source)[0]


def test_unknown_precision(tiny_codec):
    with pytest.raises(ConfigError, match="'float8' is not known; choose from float32, bfloat16"):
        Codec(tiny_codec.stored, "float8")


@pytest.fixture(scope="module")
def stream(tiny_codec):
    """Five frames: (bytes, coded frames, where each frame begins and the end)."""
    data, coded = encode(tiny_codec, synthetic.moving_picture(*SIZE, 5))
    units = list(streams.reader(data))
    return data, coded, [unit.offset for unit in units] + [len(data)]


def decode_until_error(codec, data):
    """The frames before the error, and the error."""
    frames = []
    try:
        for frame in Decoder(codec, 0.12).frames(streams.reader(data)):
            frames.append(frame)
    except BitstreamError as error:
        return frames, error
    return frames, None


def test_a_cut_stream_gives_its_whole_frames(tiny_codec, stream):
    data, coded, begins = stream
    for cut in sorted({*range(1, len(data), 23), *(b + d for b in begins[1:] for d in (-1, 0, 1))}):
        whole = sum(begin <= cut for begin in begins[1:])
        frames, error = decode_until_error(tiny_codec, data[:cut])
        assert same_pictures(coded[:whole], frames)
        if cut in begins or cut > len(data):
            assert error is None
        else:
            assert isinstance(error, TruncatedError)
            assert f"frame {whole}: " in str(error)


def test_a_damaged_stream_gives_an_error_or_pictures(tiny_codec, stream):
    data, coded, begins = stream
    for number in range(40):
        at = int(synthetic.uniform(f"damage {number}", (1,), 0, len(data))[0])
        damaged = bytearray(data)
        damaged[at] ^= 1 << number % 8
        frames, error = decode_until_error(tiny_codec, bytes(damaged))
        untouched = sum(begin <= at for begin in begins[1:])  # frames that end before the damage
        assert same_pictures(coded[:untouched], frames[:untouched])
        assert error is None or str(error).startswith(("frame ", "not an nvc or dcvc stream"))


def test_a_stream_may_not_begin_with_an_inter_frame(tiny_codec, stream):
    units = list(streams.reader(stream[0]))
    with pytest.raises(BitstreamError, match=r"frame 1: inter, without an intra frame before it \(byte \d+\)"):
        list(Decoder(tiny_codec, 0.12).frames(units[1:]))


def test_the_size_changes_only_at_intra_frames(tiny_codec, stream):
    other, coded = encode(tiny_codec, synthetic.moving_picture(16, 16, 3))
    first, second = (list(streams.reader(data)) for data in (stream[0], other))
    assert same_pictures(stream[1] + coded, list(Decoder(tiny_codec, 0.12).frames(first + second)))
    with pytest.raises(BitstreamError, match=r"frame 1: the picture size changes at an inter frame \(byte"):
        list(Decoder(tiny_codec, 0.12).frames(first + second[1:]))


def test_another_threshold_is_an_error_or_another_picture(tiny_codec, stream):
    """The container does not carry the threshold; a wrong one must not crash."""
    frames, error = decode_until_error(tiny_codec, stream[0])
    assert error is None
    assert same_pictures(stream[1], frames)
    with pytest.raises(BitstreamError, match="frame 0"):
        streams.decode(tiny_codec, stream[0], threshold=None)
