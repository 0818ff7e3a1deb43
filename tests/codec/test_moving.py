"""Codecs with motion: the last picture, moved, is what an inter frame is predicted from."""

import integer_codec
import jax.numpy as jnp
import numpy as np
import pytest
import streams
import synthetic
from recording import frames as recorded_frames
from recording import recorded_stages

from nvc_jax.codec import stages
from nvc_jax.codec.loop import batched, encode
from nvc_jax.codec.model import Codec
from nvc_jax.codec.pictures import upload
from nvc_jax.codec.schedule import Schedule
from nvc_jax.codec.store import make_model
from nvc_jax.errors import ConfigError
from nvc_jax.models import motion as motion_network
from nvc_jax.models.params import dtype, flatten, unflatten
from nvc_jax.models.state import Pictures, Synthesis
from nvc_jax.ops import motion
from nvc_jax.ops.arithmetic import to_precision
from nvc_jax.spec import NOT_CODED

SIZE = 40, 33
SCHEDULE = Schedule(30, 36, reset_interval=3)


@pytest.fixture(scope="module", params=["float32", pytest.param("bfloat16", marks=pytest.mark.slow), "int16"])
def codec(request, moving_codec):
    return moving_codec if request.param == "float32" else Codec(moving_codec.stored, request.param)


@pytest.mark.parametrize("dialect", ["one_stream", "two_streams"])
@pytest.mark.parametrize(("rdoq", "skip_blocks"), [(0.0, False), (0.06, True)])
def test_pictures_of_the_decoder_are_those_of_the_encoder(codec, dialect, rdoq, skip_blocks):
    source = synthetic.moving_picture(*SIZE, 4)
    options = {"dialect": dialect, "rdoq": rdoq, "skip_blocks": skip_blocks}
    stream, coded = streams.encode(codec, source, SCHEDULE, **options)
    decoded = streams.decode(codec, stream)
    assert [frame.planes.tobytes() for frame in decoded] == streams.reconstructions(coded)
    again, _ = streams.encode(codec, source, SCHEDULE, reconstruct=False, **options)
    assert again == stream


@pytest.mark.parametrize("precision", ["float32", "int16"])
def test_residual_pictures_of_the_decoder_are_those_of_the_encoder(residual_codec, precision):
    codec = Codec(residual_codec.stored, precision)
    stream, coded = streams.encode(codec, synthetic.moving_picture(*SIZE, 3), SCHEDULE, rdoq=0.06)
    decoded = streams.decode(codec, stream)
    assert [frame.planes.tobytes() for frame in decoded] == streams.reconstructions(coded)


@pytest.fixture(scope="module", params=["float32", "bfloat16", "int16"])
def residual_packet(request, residual_codec):
    """A residual network that gives nothing, a picture and its side information."""
    stored = residual_codec.stored
    params = flatten(stored.params)
    for part in ("kernel", "bias"):
        params[f"inter/recon_out/{part}"] = np.zeros_like(params[f"inter/recon_out/{part}"])
    silent = make_model(stored.config.with_deblocking(0), unflatten(params), "", stored.tables)
    loaded = Codec(silent, request.param).networks(None)["inter"]
    before, picture = (upload([frame]) for frame in synthetic.moving_picture(*SIZE, 2))
    before = to_precision(before, loaded.network.picture_type(dtype(loaded.params)))
    symbols = np.zeros((1, 3, 3, 3), np.int8)
    symbols[..., :2] = 5, -3
    return loaded, picture, loaded.network.apply_side(loaded.network.start(before), symbols)[1]


def test_a_residual_network_that_gives_nothing_shows_the_prediction(residual_packet):
    loaded, _, side = residual_packet
    feature = jnp.ones((1, 6, 6, 16), dtype(loaded.params))
    found = loaded.reconstruct(Synthesis(feature, side), jnp.array([[30.0]]))
    assert found.dtype == side.prediction.dtype
    np.testing.assert_array_equal(found, side.prediction)


def test_a_residual_network_is_given_the_difference_of_whole_pictures(residual_packet, monkeypatch):
    """Rounded to bfloat16 as a difference, not as two pictures."""
    loaded, picture, side = residual_packet
    given, nothing = [], jnp.zeros((1, 3, 3, 16), dtype(loaded.params))
    monkeypatch.setattr(stages, "run", lambda *inputs: given.append(inputs[3]) or (nothing, nothing))
    stages.latents.traced(loaded.network, loaded.params, picture, None, jnp.array([[30.0]]), side)
    prediction = np.asarray(side.prediction, np.float32)
    if side.prediction.dtype == jnp.uint16:
        picture = np.round(4096 * picture)
    np.testing.assert_array_equal(given[0], (picture - prediction).astype(dtype(loaded.params)))
    assert given[0].dtype == dtype(loaded.params)


def test_fine_pictures_are_those_of_real_numbers(residual_codec):
    """In and out of both networks, to rounding: a wrong unit would be another factor."""
    fine = np.round(4096 * synthetic.uniform("fine", (1, 1, 48, 48, 3), 0, 1))
    given = np.round(512 * synthetic.uniform("feature", (1, 6, 6, 16), -1, 1)) / 512
    qps, symbols = jnp.array([[30.0]]), np.zeros((1, 3, 3, 3), np.int8)
    picture = synthetic.moving_picture(*SIZE, 1)

    def results(precision):
        codec = Codec(residual_codec.stored, precision)
        number = {"float32": 1, "int16": 512}[precision]
        feature = jnp.asarray(number * given, dtype(codec.networks(None)["inter"].params))
        reference = to_precision(jnp.asarray(fine / 4096, jnp.float32), jnp.uint16 if number == 512 else jnp.float32)
        for name, loaded in codec.networks(None).items():
            side, context = None, None
            if name == "inter":
                state, side = loaded.network.apply_side(loaded.network.start(reference), symbols)
                features, _ = loaded.run(stages.features, state, qps)
                context = loaded.run(stages.context, features)
                yield np.asarray(context, np.float64) / number, 0.02
            y, _ = loaded.run(stages.latents, upload(picture), context, qps, side)
            yield np.asarray(y, np.float64) / (number // 2 or 1), 0.1
            pictures = loaded.reconstruct(Synthesis(feature, side), qps)
            yield np.asarray(to_precision(pictures, jnp.float32)), 0.005

    for (real, tolerance), (integers, _) in zip(results("float32"), results("int16"), strict=True):
        assert np.std(real) > 5 * tolerance
        np.testing.assert_allclose(integers, real, atol=tolerance)


def test_the_reference_is_the_last_picture_moved(moving_codec):
    with recorded_stages() as calls:
        streams.encode(moving_codec, synthetic.moving_picture(*SIZE, 4), SCHEDULE, reconstruct=False)
    pictures = [call.output for call in calls if call.stage == "reconstruct"]
    moves = [call for call in calls if call.stage == "compensate"]
    states = [call.inputs["state"] for call in calls if call.stage == "features"]
    assert len(pictures) == 4
    assert len(moves) == len(states) == 3
    for picture, move, state in zip(pictures, moves, states, strict=False):
        assert move.inputs["reference"] is picture
        assert isinstance(state, Pictures)
        assert state.value is move.output
        assert np.asarray(move.inputs["vectors"]).any()


def test_a_refresh_changes_nothing(moving_codec):
    """There is no memory but the picture; only the flag in the stream differs."""
    source = synthetic.moving_picture(*SIZE, 4)
    _, often = streams.encode(moving_codec, source, Schedule(30, 36, reset_interval=1))
    _, never = streams.encode(moving_codec, source, Schedule(30, 36, reset_interval=0))
    assert [frame.coded.payload for frame in often] == [frame.coded.payload for frame in never]


@pytest.fixture
def checkerboard(monkeypatch):
    """Every other block is skipped, whatever its error."""
    forget = motion_network._skip.clear_cache
    blocks = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
    monkeypatch.setattr(motion, "skippable", lambda *_: jnp.asarray(blocks)[None])
    forget()
    yield
    forget()


@pytest.mark.usefixtures("checkerboard")
@pytest.mark.parametrize("name", ["moving_codec", "residual_codec"])
def test_int16_equals_the_reference_written_from_the_document(request, name):
    codec = Codec(request.getfixturevalue(name).stored, "int16")
    source = synthetic.moving_picture(*SIZE, 3)
    plans = [SCHEDULE.packet(t, 1) for t in range(3)]
    with recorded_stages() as calls:
        stream, _ = streams.encode(codec, source, SCHEDULE, reconstruct=False)
    moves = [None, *(np.asarray(call.output)[0] for call in calls if call.stage == "skip")]
    assert 0 < moves[1][..., 2].mean() < 1
    form = {"residual": True, "fine": True} if name == "residual_codec" else {}
    theirs = integer_codec.code_sequence(flatten(codec.stored.params), source, plans, 0.12, moves, 38, **form)
    for frame, ours, (coded, pictures) in zip(
        recorded_frames(calls), streams.decode(codec, stream), theirs, strict=False
    ):
        for symbols, (expected, _) in zip(frame.symbols(), coded.planes, strict=True):
            np.testing.assert_array_equal(symbols[0], expected)
        for a, b in zip((ours.planes.y, ours.planes.u, ours.planes.v), pictures, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.fixture
def unfiltered(monkeypatch):
    """No deblocking, whatever the configuration says."""
    forget = stages.reconstruct.compiled.clear_cache
    monkeypatch.setattr(motion_network, "deblock", lambda picture, *_: picture)
    forget()
    yield
    forget()


@pytest.mark.usefixtures("checkerboard", "unfiltered")
def test_skipped_blocks_are_the_prediction(codec):
    """And nothing of y is coded in them; the decoder knows from the stream."""
    source = synthetic.moving_picture(*SIZE, 2)
    with recorded_stages() as calls:
        stream, coded = streams.encode(codec, source, SCHEDULE, rdoq=0.06)
    (made,) = (call for call in calls if call.stage == "reconstruct" and call.inputs["synthesis"].side is not None)
    side = made.inputs["synthesis"].side
    skipped = np.asarray(side.symbols[0, ..., 2]) != 0
    same = (np.asarray(made.output) == np.asarray(side.prediction)).reshape(3, 16, 3, 16, 3).all(axis=(1, 3, 4))
    np.testing.assert_array_equal(same, skipped)
    for indexes in recorded_frames([call for call in calls if call.stage != "reconstruct"])[1].indexes():
        assert (indexes[0][:, skipped] == NOT_CODED).all()
        assert (indexes[0][:, ~skipped] != NOT_CODED).any()
    decoded = streams.decode(codec, stream)
    assert [frame.planes.tobytes() for frame in decoded] == streams.reconstructions(coded)


@pytest.mark.usefixtures("checkerboard")
@pytest.mark.parametrize("flag", [2, -7, -128])
def test_any_third_byte_but_0_skips(codec, monkeypatch, flag):
    source = synthetic.moving_picture(*SIZE, 3)
    _, expected = streams.encode(codec, source, SCHEDULE, rdoq=0.06)
    skip = motion_network._skip
    unusual = jnp.array([1, 1, flag], jnp.int8)
    monkeypatch.setattr(motion_network, "_skip", lambda *inputs, **options: skip(*inputs, **options) * unusual)
    stream, _ = streams.encode(codec, source, SCHEDULE, rdoq=0.06)
    decoded = streams.decode(codec, stream)
    assert [frame.planes.tobytes() for frame in decoded] == streams.reconstructions(expected)


@pytest.mark.parametrize("rdoq", [0.0, 0.06])
def test_blocks_are_skipped_unless_told_otherwise(moving_codec, rdoq):
    """A picture that does not change; RDOQ has no say in it."""
    source = synthetic.moving_picture(*SIZE, 1) * 3
    sizes = {}
    for skip_blocks in (False, True):
        with recorded_stages() as calls:
            stream, coded = streams.encode(moving_codec, source, Schedule(0, 63), rdoq=rdoq, skip_blocks=skip_blocks)
        sizes[skip_blocks] = len(stream)
        flags = [np.asarray(call.output)[..., 2] for call in calls if call.stage == "skip"]
        assert any(of_frame.all() for of_frame in flags) == any(of_frame.any() for of_frame in flags) == skip_blocks
        decoded = streams.decode(moving_codec, stream)
        assert [frame.planes.tobytes() for frame in decoded] == streams.reconstructions(coded)
    assert sizes[True] < sizes[False]


def test_rdoq_takes_fewer_bits(moving_codec):
    source = synthetic.moving_picture(*SIZE, 4)
    sizes = [len(streams.encode(moving_codec, source, SCHEDULE, rdoq=rdoq)[0]) for rdoq in (0.0, 0.03, 0.116)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


@pytest.fixture(scope="module", params=[pytest.param("float32", marks=pytest.mark.slow), "int16"])
def looked_twice(request):
    """The packaged model, its stages, the pictures that the encoder has, and the stream.

    Noise moves on the left, for which coding does not pay; on the right a smooth picture gets another brightness.
    """
    codec = Codec.load("embedded", request.param)
    source = synthetic.moving_picture(96, 64, 3)
    for number, frame in enumerate(source):
        frame.y[:, 48:] = 60 + 50 * number
    with recorded_stages() as calls:
        stream, coded = streams.encode(codec, source, Schedule(40), preset="medium")
    return codec, calls, streams.reconstructions(coded), stream


def test_pictures_after_a_second_look_are_those_of_the_encoder(looked_twice):
    codec, calls, expected, stream = looked_twice
    assert [sum(call.stage == name for call in calls) for name in ("skip_more", "leave_out", "analyse")] == [2, 2, 3]
    assert [frame.planes.tobytes() for frame in streams.decode(codec, stream)] == expected


def test_the_second_look_leaves_out_blocks_that_cost_more_than_they_gain(looked_twice):
    """By its definition, from the stages of the first look."""
    first, second = ([call for call in looked_twice[1] if call.stage == name] for name in ("skip", "skip_more"))
    kinds = set()
    for before, after in zip(first, second, strict=True):
        pictures, prediction, decoded = (
            np.floor(512.0 * np.asarray(x, np.float64) / (4096 if x.dtype == np.uint16 else 1) + 0.5)
            for x in (after.inputs["pictures"], after.inputs["side"].prediction, after.inputs["decoded"])
        )
        height, width = pictures.shape[2:4]

        def errors(other, pictures=pictures, height=height, width=width):
            weighted = (np.square(pictures - other)[0, 0] * (6, 1, 1)).sum(axis=-1)
            return weighted.reshape(height // 16, 16, width // 16, 16).sum(axis=(1, 3))

        qp = round(float(after.inputs["qps"][0, 0]))
        worth = motion.ERROR_BITS[qp] * 1.5 * (errors(prediction) - errors(decoded))
        bits = np.asarray(after.inputs["bits"])[0] / 256
        skipped = np.asarray(before.output)[0, ..., 2] != 0
        kinds |= set(zip(skipped.ravel().tolist(), (worth <= bits).ravel().tolist(), strict=True))
        np.testing.assert_array_equal(np.asarray(after.output)[0, ..., 2] != 0, skipped | (worth <= bits))
        np.testing.assert_array_equal(after.output[..., :2], before.output[..., :2])
    assert {(False, False), (False, True)} <= kinds  # coded at first: worth it, and not


def test_bits_of_positions_are_those_of_the_coder(moving_codec):
    """The payload of a P frame without skipped blocks, but for z and vectors."""
    coder = moving_codec.entropy_coders("one_stream")["inter"]
    loaded = moving_codec.networks(None, skip_blocks=False)["inter"]
    before, picture = (upload([frame]) for frame in synthetic.moving_picture(160, 128, 2))
    symbols, _ = encode(loaded, picture, loaded.network.start(before), batched((63.0,)))
    bits = float(stages.bits_of_positions(symbols.y).sum()) / 256
    one = symbols.pack().to_host()
    silent = [(np.zeros_like(values), np.full_like(rows, NOT_CODED)) for values, rows in one.y]
    sizes = [8 * len(coder.encode(63, one.z, y, one.side)[0]) for y in (one.y, silent)]
    assert bits == pytest.approx(sizes[0] - sizes[1], rel=0.01, abs=32)


def test_an_unknown_preset(moving_codec):
    with pytest.raises(ConfigError, match="unknown preset 'slow'; available: fast, medium"):
        moving_codec.networks(None, preset="slow")
