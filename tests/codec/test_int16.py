"""int16 streams are the same integers however they are computed (docs/INT16.md)."""

import hashlib
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import integer_codec
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import streams
import synthetic
from recording import frames as recorded_frames
from recording import recorded_stages

from nvc_jax.codec import integers, stages
from nvc_jax.codec.files import decode_file, encode_file
from nvc_jax.codec.integers import clamped_parameters, fastest_strategy, integerise, to_integers
from nvc_jax.codec.model import Codec
from nvc_jax.codec.pictures import upload
from nvc_jax.codec.saturation import measure_ranges
from nvc_jax.codec.schedule import Schedule
from nvc_jax.codec.store import load_model, make_model, save_model
from nvc_jax.convert.int16 import Int16Report
from nvc_jax.errors import BitstreamError, ConfigError, ModelError
from nvc_jax.models.codecs import tiny
from nvc_jax.models.params import flatten, unflatten
from nvc_jax.models.state import Pictures, Synthesis
from nvc_jax.ops import fixed, native
from nvc_jax.ops.arithmetic import to_precision
from nvc_jax.ops.exact import STRATEGIES, WEIGHT_MAX
from nvc_jax.video import Colour, VideoInfo, create_video

SIZE = 17, 33
THRESHOLD = 0.12
SCHEDULE = Schedule(qp=40, intra_qp=30, reset_interval=3)  # frame 4 is a refresh
COUNT = 5
# Hashes of the stream and of what it decodes to: the same with JAX 0.10.2 (Python 3.11) and 0.12.0 (3.13).
PINNED = "44a976e36a4d6ce7f08362df97a5e4dd336e05c27597708751d955910b35baf2"


def encode(codec, rdoq=0.0):
    source = synthetic.moving_picture(*SIZE, COUNT)
    return streams.encode(codec, source, SCHEDULE, THRESHOLD, reconstruct=False, rdoq=rdoq)[0]


def decode(codec, stream):
    return [frame.planes for frame in streams.decode(codec, stream, THRESHOLD)]


def digest(stream, planes):
    """Hash a stream and all it decodes to."""
    parts = [stream, *(np.ascontiguousarray(p) for frame in planes for p in (frame.y, frame.u, frame.v))]
    return hashlib.sha256(b"".join(map(bytes, parts))).hexdigest()


@pytest.fixture(scope="module")
def codec():
    return Codec(synthetic.tiny_model(), "int16")


@pytest.fixture(scope="module")
def stream(codec):
    return encode(codec)


@pytest.fixture(scope="module")
def expected(codec, stream):
    return digest(stream, decode(codec, stream))


def test_every_release_makes_the_same_stream(expected):
    assert expected == PINNED


def test_equals_the_reference_written_from_the_document(codec):
    plans = [SCHEDULE.packet(t, 1) for t in range(COUNT)]
    assert [plan.refresh for plan in plans] == [False, True, False, False, True]
    assert all(abs(first).max() > 1 for first in first_symbols_like_the_reference(codec, plans))


def test_large_numbers_equal_the_reference():
    """Latents beyond 64, and what an intra codec makes of them."""
    params = flatten(synthetic.tiny_model().params)
    for layer, factor in {
        "encoder_down/kernel": 50,
        "decoder_blocks_0/ffn/kernel_out": 8,
        "decoder_up/up/kernel": 4,
    }.items():
        params[f"intra/{layer}"] = params[f"intra/{layer}"] * np.float32(factor)
    codec = Codec(make_model(tiny, unflatten(params), ""), "int16")
    (symbols,) = first_symbols_like_the_reference(codec, [SCHEDULE.packet(0, 1)])
    assert abs(symbols).max() > 80


def first_symbols_like_the_reference(codec, plans):
    """Compare everything that a codec decodes to; yields the symbols of the first step of y, frame by frame."""
    source = synthetic.moving_picture(*SIZE, len(plans))
    with recorded_stages() as calls:
        stream = streams.encode(codec, source, SCHEDULE, THRESHOLD, reconstruct=False)[0]
        planes = decode(codec, stream)
    coded = recorded_frames([call for call in calls if call.stage != "reconstruct"])[: len(plans)]
    parameters = flatten(codec.stored.params)
    for frame, ours, (theirs, pictures) in zip(
        coded, planes, integer_codec.code_sequence(parameters, source, plans, THRESHOLD), strict=True
    ):
        np.testing.assert_array_equal(frame.of("prior")[0].inputs["z"][0], theirs.z)
        for symbols, indexes, (q, rows) in zip(frame.symbols(), frame.indexes(), theirs.planes, strict=True):
            np.testing.assert_array_equal(symbols[0], q)
            np.testing.assert_array_equal(indexes[0], rows)
        np.testing.assert_array_equal(frame.of("synthesise")[0].output, theirs.feature)
        for a, b in zip((ours.y, ours.u, ours.v), pictures, strict=True):
            np.testing.assert_array_equal(a, b)
        yield theirs.planes[0][0]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [*STRATEGIES, *native.available("int16")])
def test_strategies_agree(strategy, expected):
    other = Codec(synthetic.tiny_model(), "int16", strategy)
    stream = encode(other)
    assert digest(stream, decode(other, stream)) == expected


@pytest.mark.slow
def test_operation_by_operation_agrees(codec, expected):
    with jax.disable_jit():
        stream = encode(codec)
        assert digest(stream, decode(codec, stream)) == expected


def inter_frame(loaded, pictures, state, qps):
    """All stages of an inter frame; pictures and qps in batches."""
    run, threshold = loaded.run, loaded.skip_threshold
    features, temporal = run(stages.features, state, qps)
    context = run(stages.context, features)
    y, z = run(stages.analyse, pictures, context, qps)
    prior, coding = run(stages.prior, z, temporal, threshold, y.shape[1:3])
    first = stages.quantise(y, prior.gain_in, coding, 2, 0)
    y_hat, second_coding = run(stages.refine, 1, prior.shared, None, coding, first, threshold)
    second = stages.quantise(y, prior.gain_in, second_coding, 2, 1)
    feature = run(stages.synthesise, prior.gain_out, y_hat, second_coding, second, context, qps)
    return z, coding, first, second_coding, second, feature, loaded.reconstruct(Synthesis(feature), qps)


def test_fused_and_batched_frames_agree(codec):
    """One program for the whole frame, and four frames at once, give what stages give one by one."""
    loaded = codec.networks(THRESHOLD)["inter"]
    pictures = jnp.concatenate([upload([frame]) for frame in synthetic.moving_picture(32, 32, 5)])
    before = to_precision(pictures[:4], jnp.int16)
    qps = jnp.array([0.0, 20.0, 45.0, 71.0])[:, None]
    fused = jax.jit(lambda *inputs: inter_frame(loaded, *inputs))
    batch = fused(pictures[1:], Pictures(before), qps)
    for i in range(4):
        one = slice(i, i + 1)
        single = inter_frame(loaded, pictures[1:][one], Pictures(before[one]), qps[one])
        for a, b in zip(jax.tree.leaves(batch), jax.tree.leaves(single), strict=True):
            np.testing.assert_array_equal(a[one], b)


PROGRAM = """
import sys
sys.path[:0] = sys.argv[2:]
import synthetic
from test_int16 import Codec, decode, digest, encode
for motion, rdoq in ((False, 0.0), (True, 0.06)):
    codec = Codec(synthetic.tiny_model(motion), "int16", sys.argv[1] or None)
    stream = encode(codec, rdoq)
    print(digest(stream, decode(codec, stream)))
"""
ONE_THREAD = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "NPROC": "1", "OMP_NUM_THREADS": "1"}
MACHINES = {  # environment and strategy
    "AVX2": ({"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}, "float32"),
    "one thread": (ONE_THREAD, "float32"),
    "one thread, fastest strategy": (ONE_THREAD, ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_machines_agree(machine, expected):
    """The stream of a codec without motion, and of one that searches vectors and skips blocks."""
    moving = Codec(synthetic.tiny_model(motion=True), "int16")
    stream = encode(moving, 0.06)
    here = Path(__file__).parent
    environment, strategy = MACHINES[machine]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, strategy, here.parent, here],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == [expected, digest(stream, decode(moving, stream))]


@pytest.mark.slow
def test_float_streams_break_where_int16_streams_do_not(codec, tmp_path):
    """Files read by another grouping of the same operations, as another machine would: the purpose of the mode."""
    clip = tmp_path / "clip.y4m"
    with create_video(clip, VideoInfo(*SIZE, Fraction(25), Colour(), 1)) as writer:
        for frame in synthetic.moving_picture(*SIZE, 1):
            writer.write(frame)
    floating = Codec(synthetic.tiny_model(), "bfloat16", "xla")  # kernels in C++ group sums the same way without jit
    for name, one in (("float", floating), ("int16", codec)):
        encode_file(one, clip, tmp_path / f"{name}.nvc", SCHEDULE)
        decode_file(one, tmp_path / f"{name}.nvc", tmp_path / f"{name}.y4m")
    with jax.disable_jit():
        with pytest.raises(BitstreamError, match=r"frame \d: .* another kind of machine"):
            decode_file(floating, tmp_path / "float.nvc", tmp_path / "broken.y4m")
        decode_file(codec, tmp_path / "int16.nvc", tmp_path / "same.y4m")
    assert (tmp_path / "same.y4m").read_bytes() == (tmp_path / "int16.y4m").read_bytes()


def test_integers_are_made_once_and_kept(codec):
    """An int16 model is a fixed point; its tables are those of the trained model."""
    stored = synthetic.tiny_model()
    again = integerise(codec.stored)
    assert again is codec.stored
    assert again.precision == "int16"
    assert again.identity == stored.identity
    assert again.contents != stored.contents == stored.identity
    for key, table in stored.tables.items():
        np.testing.assert_array_equal(again.tables[key].cdf, table.cdf)
    kinds = {name.rsplit("/", 1)[1].split("_")[0]: leaf.dtype for name, leaf in flatten(again.params).items()}
    assert kinds == {"kernel": np.int16, "bits": np.uint8, "bias": np.int32, "unit": np.uint8, "vectors": np.int16}


def test_an_int16_model_comes_back(codec, tmp_path):
    save_model(tmp_path / "model", codec.stored)
    loaded = load_model(tmp_path / "model")
    assert (loaded.precision, loaded.identity) == ("int16", codec.stored.identity)
    assert (loaded.contents, loaded.stream_identity) == (codec.stored.contents, loaded.identity)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, dict(codec.stored.params))
    assert Codec.load(tmp_path / "model").precision == "int16"
    with pytest.raises(ConfigError, match="use precision int16, not float32"):
        Codec.load(tmp_path / "model", "float32")


def test_large_weights_take_fewer_bits():
    """Per output channel, 9 to 20 bits; what does not fit even then is clamped and told."""
    model = synthetic.tiny_model()
    kernel = np.full((32, 4), 0.5, np.float32)
    kernel[3] = [1.0, 4.0, 60.0, 100.0]
    bias = np.array([0.5, -1.0, 100.0, 1.0], np.float32)
    layer = to_integers({"layer": {"kernel": kernel, "bias": bias}})["layer"]
    np.testing.assert_array_equal(layer["bits"], [13, 12, 9, 9])
    small = to_integers({"layer": {"kernel": kernel / 2**12, "bias": bias / 2**12}})["layer"]
    np.testing.assert_array_equal(small["bits"], [20, 20, 20, 20])
    np.testing.assert_array_equal(layer["kernel"][3], [8192, 16384, 30720, WEIGHT_MAX])
    np.testing.assert_array_equal(layer["bias"], [1 << 21, -(1 << 21), 100 << 18, 1 << 18])
    inter = {
        **model.params["inter"],
        "encoder_in": {"kernel": 100 * np.ones((192, 16), np.float32), "bias": np.zeros(16)},
    }
    large = integerise(make_model(model.config, {**model.params, "inter": inter}, ""))
    assert clamped_parameters(large) == {"inter/encoder_in/kernel": 192 * 16}
    with pytest.raises(ModelError, match=r"inter/encoder_in/kernel: .* channel 0 have magnitudes that sum to"):
        Codec(large, "int16")


@pytest.mark.slow  # operation by operation
def test_layers_that_saturate_are_named():
    params = flatten(synthetic.tiny_model().params)
    params["inter/encoder_in/bias"] = params["inter/encoder_in/bias"] + np.float32(70)
    params["inter/spatial_out/bias"] = params["inter/spatial_out/bias"] + np.repeat(np.float32([70, 0]), 16)  # scales
    model = make_model(synthetic.tiny_model().config, unflatten(params), "")
    found = measure_ranges(model, synthetic.moving_picture(*SIZE, 2), *SIZE, SCHEDULE)
    assert {"inter/encoder_in", "intra/decoder_blocks_0/depthwise", "inter/analyse"} <= set(found)
    assert not any(layer.saturated for name, layer in found.items() if name.startswith("intra/"))
    assert found["inter/encoder_in"].saturated > 0
    assert found["inter/encoder_in"].peak > 1
    assert not found["inter/spatial_out"].saturated
    report = Int16Report({}, found).sentences()
    assert any(line.startswith("inter/encoder_in: ") and "activations saturate" in line for line in report)


@pytest.fixture
def forget():
    """The fastest backend is looked for anew, before and after."""
    fastest_strategy.cache_clear()
    yield
    fastest_strategy.cache_clear()


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize("wrong", range(5))
def test_a_strategy_that_is_wrong_here_is_not_taken(wrong, monkeypatch):
    order = "avx512", "avx2", "float32", "bfloat16", "int32"

    def trial(strategy):
        return (
            np.inf if strategy in order[:wrong] else {"avx512": 4.0, "float32": 1.0, "bfloat16": 2.0}.get(strategy, 3.0)
        )

    monkeypatch.setattr(native, "available", lambda precision: order[:2])
    monkeypatch.setattr(integers, "_trial", trial)
    assert fastest_strategy() == order[wrong]


def test_a_strategy_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="unknown kernel backend 'abacus'; available: "):
        Codec(synthetic.tiny_model(), "int16", "abacus")


def test_a_trial_finds_wrong_sums(monkeypatch):
    assert 0 < integers._trial("float32") < np.inf
    monkeypatch.setattr(integers, "_affine", lambda *inputs: fixed.affine(*inputs) + jnp.int16(1))
    assert integers._trial("float32") == np.inf
