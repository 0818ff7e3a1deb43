"""Numbers of compilations, copies and waits (D1, D2, D7)."""

import contextlib
import dataclasses

import jax
import numpy as np
import pytest
import streams
import synthetic
from recording import compiled, recorded_stages

from nvc_jax.codec import encoder, loop
from nvc_jax.codec.encoder import Encoder
from nvc_jax.codec.integers import fastest_strategy
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.codec.transfer import DECODER_ROUND_TRIPS, ENCODER_COPIES
from nvc_jax.models.codecs import tiny

SIZE = 17, 33
SHARED = ("features", "context", "prior", "refine", "synthesise", "reconstruct")


def encode(codec, schedule=None, count=4, size=SIZE, threshold=0.12, reconstruct=False):
    schedule = schedule or Schedule(20, 20, reset_interval=2)
    return streams.encode(codec, synthetic.moving_picture(*size, count), schedule, threshold, reconstruct)[0]


@contextlib.contextmanager
def compilations():
    """Counts the programs that XLA is given inside the block."""
    programs = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            programs.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield programs
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_only_a_new_size_compiles(tiny_codec):
    streams.decode(tiny_codec, encode(tiny_codec, reconstruct=True))
    with compilations() as programs:
        for qp in (0, 1, 33, 63):
            stream = encode(tiny_codec, Schedule(qp, 63 - qp, 3, 2), 6, reconstruct=True)
            streams.decode(tiny_codec, stream)
        streams.decode(tiny_codec, encode(tiny_codec, threshold=None), threshold=None)
        again = Codec(tiny_codec.stored)
        streams.decode(again, encode(again))
    assert not programs


@pytest.mark.parametrize("precision", ["int16", "float32", "bfloat16"])
def test_parameters_reach_the_device_without_a_program(precision):
    """A program for each shape would take longer than all else at the start of a process."""
    fastest_strategy()  # its trial compiles
    wider = tiny.replace("inter", dataclasses.replace(tiny["inter"], latent=24))  # shapes that no other test has
    model = synthetic.model_of(wider)
    with compilations() as programs:
        Codec(model, precision)
    assert not programs


@pytest.mark.parametrize("motion", [pytest.param(False, marks=pytest.mark.slow), True])
def test_encoder_and_decoder_run_the_same_programs(tiny_codec, moving_codec, motion):
    """Nothing that feeds the coder or the reference is compiled for the decoder alone."""
    codec, names = (moving_codec, (*SHARED, "compensate")) if motion else (tiny_codec, SHARED)
    shared = [compiled(name) for name in names]
    with compilations() as programs:
        stream = encode(codec, size=(48, 16), reconstruct=True)
    assert programs  # the size is new
    before = [stage._cache_size() for stage in shared]
    with recorded_stages() as calls:
        streams.decode(codec, stream)
    assert [stage._cache_size() for stage in shared] == before
    assert {call.stage for call in calls} == set(names)  # the decoder's only stages


@pytest.fixture
def copies(monkeypatch):
    """Arrays copied from the device, in order."""
    copied, asarray = [], np.asarray

    def counting(array, *args, **kwargs):
        if isinstance(array, jax.Array):
            copied.append(array)
        return asarray(array, *args, **kwargs)

    monkeypatch.setattr(np, "asarray", counting)
    monkeypatch.setattr(jax, "device_get", None)
    return copied


@pytest.mark.parametrize("motion", [False, True])
def test_copies_of_the_encoder(tiny_codec, moving_codec, copies, motion):
    encode(moving_codec if motion else tiny_codec, count=5)
    assert len(copies) == 5 * ENCODER_COPIES  # PackedSymbols.to_host, once a packet
    assert {array.dtype for array in copies} == {np.dtype(np.uint8)}


@pytest.mark.parametrize("motion", [False, True])
def test_copies_of_the_decoder(tiny_codec, moving_codec, copies, motion):
    codec = moving_codec if motion else tiny_codec
    stream = encode(codec, count=3)
    copies.clear()
    streams.decode(codec, stream)
    steps, planes = {"intra": 4, "inter": 2}, 3
    assert {name: network.steps for name, network in codec.stored.config.networks} == steps
    order = ("intra", "inter", "inter")
    assert len(copies) == sum(DECODER_ROUND_TRIPS * steps[name] + planes for name in order)


def test_the_device_is_one_frame_ahead(tiny_codec, monkeypatch):
    events = []
    submit, to_host = encoder.encode, loop.PackedSymbols.to_host
    monkeypatch.setattr(encoder, "encode", lambda *inputs: (events.append("device"), submit(*inputs))[1])
    monkeypatch.setattr(loop.PackedSymbols, "to_host", lambda self: (events.append("host"), to_host(self))[1])
    encode(tiny_codec, count=4)
    assert events == ["device", "device", "host", "device", "host", "device", "host", "host"]


def test_two_frames_are_held_at_most(tiny_codec):
    taken = []
    source = (taken.append(t) or frame for t, frame in enumerate(synthetic.moving_picture(*SIZE, 6)))
    coded = Encoder(tiny_codec, *SIZE, Schedule(), 0.12, "one_stream").packets(source)
    assert not taken
    for t, _ in enumerate(coded):
        assert len(taken) == min(t + 2, 6)
