"""Batches that are cut on the device: crops, and resumed runs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from launch import metrics

from nvc_jax.errors import ConfigError
from nvc_jax.models.codecs import tiny
from nvc_jax.training import run
from nvc_jax.training.clock import read_clock
from nvc_jax.training.config import Data, Logging, Stage, TrainConfig
from nvc_jax.training.data import ClipSet
from nvc_jax.training.device_data import cut_batch, device_clips
from nvc_jax.training.sources import Clip

STAGE = Stage("a", frames=3, steps=4, batch=16, size=32, train="inter")
WIDTH, HEIGHT, FRAMES = 102, 70, 9


def numbered(name, width=WIDTH, height=HEIGHT, frames=FRAMES):
    """A clip whose y encodes the row, u the column and v the frame of every pixel."""
    rows, columns, numbers = np.arange(height), np.arange(width), np.arange(frames)
    y = np.broadcast_to(2 * rows[:, None], (frames, height, width)).astype(np.uint8)
    small = (frames, -(-height // 2), -(-width // 2))
    u = np.broadcast_to(2 * columns[::2], small).astype(np.uint8)
    v = np.broadcast_to(20 * numbers[:, None, None], small).astype(np.uint8)
    planes = (y, u, v)
    return Clip(
        name, frames, (width, height), False, lambda start, count: tuple(p[start : start + count] for p in planes)
    )


def clip_set(*clips, **settings):
    return ClipSet(clips, Data(source="x", on_device=True, **settings), 0, print)


def cut(clips, stage=STAGE, first=0):
    held = device_clips(clips, stage)
    sample = jnp.arange(first, first + stage.batch, dtype=jnp.uint32)
    program = jax.jit(lambda *x: cut_batch(x[0], stage, x[1], jax.random.key(3)))
    batch = program(held, sample)
    return [np.asarray(plane).astype(int) for plane in batch.planes]


def test_crops_are_windows_of_the_clip():
    y, u, v = cut(clip_set(numbered("one"), numbered("two"), flip=0.5, flip_vertical=0.5, reverse=0.5, skip=2))
    rows, columns, numbers = y[:, :, :, :1] / 2, u[:, :, :1] / 2, v[:, :, 0, 0] / 20
    assert (y == y[:, :1, :, :1]).all()  # the same window in all frames
    assert (u == u[:, :1, :1]).all()
    assert set(np.diff(rows[:, 0, :, 0]).ravel()) == {1, -1}
    assert set(np.diff(columns[:, 0, 0]).ravel()) == {2, -2}
    assert {abs(step) for step in np.diff(numbers).ravel()} == {1, 2}
    assert (np.diff(numbers, n=2) == 0).all()
    assert {np.sign(step) for step in np.diff(numbers).ravel()} == {1, -1}
    tops, lefts = rows.min(axis=(1, 2, 3)), columns.min(axis=(1, 2, 3))
    assert (tops % 2 == 0).all()
    assert tops.max() <= HEIGHT - 32
    assert lefts.max() <= WIDTH - 32
    assert len(set(tops)) > 4
    assert len(set(lefts)) > 4


def test_boxes_are_averages():
    y, u, _ = cut(clip_set(numbered("one"), flip=0.0, scale=(1.0, 2.0)))
    by_row = np.diff(y[:, 0, :, 0])
    assert set(by_row.ravel()) == {2, 4}  # one row, or the mean of two
    boxed = (by_row == 4).all(axis=1)
    assert (y[boxed, 0, 0, 0] % 4 == 1).all()
    assert (y[~boxed, 0, 0, 0] % 4 == 0).all()
    assert (np.diff(u[boxed, 0, 0]) == 8).all()


def test_small_and_short_clips_repeat_their_edges_and_go_back_and_forth():
    y, u, v = cut(clip_set(numbered("one", 20, 26, 2), flip=0.0))
    assert y.max() == 2 * 25
    assert u.max() == 2 * 18
    assert ((y[:, 0, 26:, 0]) == 50).all()
    assert (np.abs(np.diff(v[:, :, 0, 0])) == 20).all()


def test_draws_depend_on_the_number_of_the_clip_alone():
    clips = clip_set(numbered("one"), numbered("two"), skip=2)
    whole = cut(clips)
    for first in (0, 8):
        part = cut(clips, dataclasses.replace(STAGE, batch=8), first)
        assert all((a[first : first + 8] == b).all() for a, b in zip(whole, part, strict=True))


def test_scale_goes_to_a_whole_number():
    with pytest.raises(ConfigError, match="from 1 to a whole number"):
        Data(on_device=True, scale=(1.0, 1.5))


CONFIG = TrainConfig(
    tiny,
    (
        Stage("a", frames=1, steps=5, batch=1, size=16, train="intra", learning_rate=1e-3, decay_from=0.2),
        Stage("b", frames=2, steps=2, batch=2, size=16, train="inter"),
    ),
    Data(source="demo", on_device=True),
    logging=Logging(checkpoint_steps=3, tensorboard=False),
    steps_per_call=3,
)


def test_sets_that_are_too_large_are_refused_before_they_are_decoded():
    large = dataclasses.replace(numbered("large"), frames=2**31 // (WIDTH * HEIGHT), read=None)
    with pytest.raises(ConfigError, match="too large for data"):
        device_clips(clip_set(numbered("small"), large), STAGE)


@pytest.mark.slow
def test_runs_go_on_value_for_value(tmp_path):
    """Metrics do not depend on the steps per call or on where the run was stopped."""
    assert run.train(CONFIG, tmp_path / "whole", None, print).step == 7
    few = dataclasses.replace(CONFIG, steps_per_call=2)
    for stop in (2, 6, 7):
        assert run.train(few, tmp_path / "parts", stop, print).step == stop
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


@pytest.mark.slow
def test_seconds_and_steps_do_not_mix(tmp_path):
    assert run.train(CONFIG, tmp_path, 1, print, seconds=1000).step == 1
    assert read_clock(tmp_path)["1"]["starts"] == [0]  # the second stage has not begun
    with pytest.raises(ConfigError, match="was started with `seconds`"):
        run.train(CONFIG, tmp_path, None, print)
