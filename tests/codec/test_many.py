"""Several streams at once give what each gives alone."""

import pytest
import streams
import synthetic

from nvc_jax.codec.decoder import Decoder
from nvc_jax.codec.many import decode_many
from nvc_jax.codec.schedule import Schedule
from nvc_jax.errors import BitstreamError

SIZE = 33, 17
LENGTHS = 5, 1, 3


@pytest.fixture(scope="module")
def coded(tiny_codec):
    """Streams of different pictures, qualities and lengths."""
    return [
        streams.encode(
            tiny_codec,
            synthetic.moving_picture(*SIZE, count, seed),
            Schedule(20 * seed, 10, intra_period=4),
            reconstruct=False,
        )[0]
        for seed, count in enumerate(LENGTHS)
    ]


def decoded(codec, coded):
    """The frames of each stream, decoded together."""
    frames = [[] for _ in coded]
    for number, frame in decode_many([(Decoder(codec, 0.12), streams.reader(stream)) for stream in coded]):
        frames[number].append(frame)
    return frames


def test_each_stream_is_what_it_is_alone(tiny_codec, coded):
    together = decoded(tiny_codec, coded)
    for stream, frames in zip(coded, together, strict=True):
        alone = streams.decode(tiny_codec, stream)
        assert [frame.packet for frame in frames] == [frame.packet for frame in alone]
        assert [frame.planes.tobytes() for frame in frames] == [frame.planes.tobytes() for frame in alone]
    assert tuple(map(len, together)) == LENGTHS


def test_no_streams(tiny_codec):
    assert decoded(tiny_codec, []) == []


def test_a_damaged_stream_is_an_error(tiny_codec, coded):
    with pytest.raises(BitstreamError):
        decoded(tiny_codec, [coded[0], coded[2][:-3]])
