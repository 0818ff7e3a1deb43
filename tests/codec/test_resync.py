"""Frames whose encoder rounded scales otherwise, as another machine does: decoded to its pictures all the same."""

import dataclasses

import numpy as np
import pytest
import recording
import streams
import synthetic

from nvc_jax.codec import resync
from nvc_jax.codec.decoder import Decoder
from nvc_jax.codec.loop import batched, encode
from nvc_jax.codec.model import Codec
from nvc_jax.codec.pictures import upload
from nvc_jax.codec.reading import decode
from nvc_jax.codec.schedule import Schedule
from nvc_jax.errors import BitstreamError
from nvc_jax.models.state import Pictures
from nvc_jax.spec import NOT_CODED, SCALE_LEVELS

SIZE = 64, 48
QP = 40
DIALECTS = "one_stream", "two_streams", "interleaved"  # the last one with a check of the symbols and indexes


class Coded:
    """A frame, coded: its symbols, indexes and scales, and the decoder of its payload."""

    def __init__(self, codec, name, threshold=0.12, rdoq=0.0):
        before, pictures = (upload([frame]) for frame in synthetic.moving_picture(*SIZE, 2))
        self.codec, self.name = codec, name
        self.state = None if name == "intra" else Pictures(before)
        with recording.recorded_stages() as calls:
            loaded = codec.networks(threshold, rdoq, preset="fast")[name]
            symbols, self.synthesis = encode(loaded, pictures, self.state, batched((QP,)))
        self.side, self.z, planes = symbols.pack().to_host()
        self.planes = [(symbols, indexes.copy()) for symbols, indexes in planes]
        steps = [call.output[1] for call in calls if call.stage in ("prior", "refine")]
        self.scales = [np.asarray(step.scale)[0] for step in steps]

    def across(self, step, number):
        """The edge of the table that is the number-th nearest to a coded scale: (distance, place, other index)."""
        indexes = self.planes[step][1]
        distance = np.where(indexes == NOT_CODED, np.inf, recording.distance_from_edge(self.scales[step], None))
        place = np.unravel_index(distance.ravel().argsort()[number], distance.shape)
        position = recording.table_position(self.scales[step][place])
        edge = np.clip(np.round(position), 1, SCALE_LEVELS - 1)
        return distance[place], place, edge - 1 if position >= edge else edge

    def decode(self, dialect, threshold=0.12, damage=False):
        """(feature, flips, how often the payload was read from its beginning), or the error in place of a feature."""
        coder, openings = self.codec.entropy_coders(dialect)[self.name], []
        payload, check = coder.encode(QP, self.z, self.planes, self.side)
        if damage:
            payload = bytearray(payload)
            payload[len(payload) // 2] ^= 1

        def open_payload():
            openings.append(coder.decoder(payload, check if dialect == "interleaved" else None))
            return openings[-1]

        loaded = self.codec.networks(threshold)[self.name]
        try:
            synthesis, flips = decode(loaded, open_payload, self.state, (QP,), SIZE)
        except BitstreamError as error:
            return error, 0, len(openings)
        return synthesis.feature, flips, len(openings)


def next_scale(codec, name, step):
    """A scale of a coding step, and no threshold between it and one below would change anything else."""
    for threshold in np.linspace(0.2, 1, 50):
        above = [scales[scales > threshold].min() for scales in Coded(codec, name, threshold).scales]
        if np.argmin(above) == step:
            return min(above)
    pytest.fail("no such scale")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("name", "step"), [("intra", 0), ("intra", 3), ("inter", 0), ("inter", 1)])
@pytest.mark.parametrize("skipped_here", [False, True])
def test_a_scale_on_the_skip_threshold(tiny_codec, dialect, name, step, skipped_here):
    """The decoder's threshold is just above the scale and the encoder's just below it, or the other way."""
    scale = next_scale(tiny_codec, name, step)
    below, above = scale * (1 - 1e-6), scale * (1 + 1e-6)
    coded = Coded(tiny_codec, name, below if skipped_here else above)
    feature, flips, openings = coded.decode(dialect, above if skipped_here else below)
    np.testing.assert_array_equal(feature, coded.synthesis.feature)
    assert (flips, openings) == (1, 2)


@pytest.fixture
def tolerance(monkeypatch):
    """Let scales of small pictures count as near enough: tolerance(steps)."""
    return lambda steps: monkeypatch.setattr(resync, "TOLERANCE", steps)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("wrong", [[(0, 0)], [(1, 0)], [(0, 1)], [(0, 0), (1, 0)], [(0, 0), (0, 1)]], ids=str)
def test_scales_on_edges_of_the_table(tiny_codec, dialect, wrong, tolerance):
    """The encoder has other rows for some of the scales that are nearest to an edge, in one or two steps."""
    coded = Coded(tiny_codec, "inter", threshold=0.2)  # rows below are much the same
    flips = [(step, *coded.across(step, number)) for step, number in wrong]
    for step, _, place, index in flips:
        coded.planes[step][1][place] = index
    distance = sum(distance for _, distance, _, _ in flips)
    tolerance(1.001 * distance)
    feature, found, openings = coded.decode(dialect, 0.2)
    np.testing.assert_array_equal(feature, coded.synthesis.feature)
    assert found == len(wrong)
    assert openings <= 1 + resync.MAX_TRIALS
    tolerance(0.999 * distance)
    assert isinstance(coded.decode(dialect, 0.2)[0], BitstreamError)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_motion(moving_codec, dialect, tolerance):
    """Blocks that are skipped have no scales, and so none on an edge."""
    coded = Coded(moving_codec, "inter", 0.2, rdoq=1.0)
    skipped = coded.side[..., 2] != 0
    assert 0 < skipped.mean() < 1
    for (_, indexes), scales in zip(coded.planes, coded.scales, strict=True):
        assert (indexes[:, skipped] == NOT_CODED).all()
        assert (scales[:, skipped] == 0).all()
    distance, place, index = coded.across(0, 0)
    coded.planes[0][1][place] = index
    tolerance(1.001 * distance)
    feature, flips, _ = coded.decode(dialect, 0.2)
    np.testing.assert_array_equal(feature, coded.synthesis.feature)
    assert flips == 1


def test_damage_is_still_an_error_after_some_trials(tiny_codec, tolerance):
    coded = Coded(tiny_codec, "inter")
    tolerance(0.0)
    expected, _, openings = coded.decode("one_stream", damage=True)
    assert isinstance(expected, BitstreamError)
    assert openings == 1
    tolerance(0.5)  # everything is near an edge
    error, _, openings = coded.decode("one_stream", damage=True)
    assert (type(error), str(error)) == (type(expected), str(expected))
    assert openings == 1 + resync.MAX_TRIALS


@pytest.mark.parametrize("precision", ["int16", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_other_precisions_do_not_try(tiny_codec, precision, tolerance):
    tolerance(0.5)
    error, _, openings = Coded(Codec(tiny_codec.stored, precision), "inter").decode("one_stream", damage=True)
    assert isinstance(error, BitstreamError)
    assert openings == 1


def test_a_sequence_goes_on(tiny_codec):
    first, second = synthetic.moving_picture(*SIZE, 2)
    source = [second, first, second]
    scale = next_scale(tiny_codec, "intra", 2)
    stream, coded = streams.encode(tiny_codec, source, Schedule(QP, QP), scale * (1 - 1e-6))
    units = list(streams.reader(stream))
    decoded = list(Decoder(tiny_codec, scale * (1 + 1e-6)).frames(units))
    assert [frame.resynced for frame in decoded] == [1, 0, 0]
    assert [frame.planes.tobytes() for frame in decoded] == streams.reconstructions(coded)
    damaged = dataclasses.replace(units[1], payload=units[2].payload)
    with pytest.raises(BitstreamError, match="frame 1: "):
        list(Decoder(tiny_codec, scale * (1 + 1e-6)).frames([units[0], damaged]))
