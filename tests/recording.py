"""Sees what the stages of a frame compute while the real encoder or decoder runs."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.codec import stages
from nvc_jax.ops.latents import fold, from_coder_order, table_indexes, to_coder_order, unfold
from nvc_jax.video import YuvFrame

STAGES = ("temporal", "context", "analyse", "prior", "quantise", "refine", "synthesise", "reconstruct")


@dataclass(frozen=True)
class Call:
    stage: str
    inputs: dict[str, Any]
    output: Any


@contextmanager
def recorded_stages() -> Iterator[list[Call]]:
    """Every call of a stage inside the block, in order."""
    calls: list[Call] = []

    def recorder(stage, function):
        def call(*args, **kwargs):
            output = function(*args, **kwargs)
            inputs = inspect.signature(function).bind(*args, **kwargs).arguments
            calls.append(Call(stage, inputs, output))
            return output

        return call

    with pytest.MonkeyPatch.context() as patch:
        for stage in STAGES:
            patch.setattr(stages, stage, recorder(stage, getattr(stages, stage)))
        yield calls


class FrameRecord:
    """The calls of one frame, from its first stage to `synthesise`. Arrays are as in the golden files (NCHW)."""

    def __init__(self, calls: list[Call]) -> None:
        self._calls = calls

    def of(self, stage: str) -> list[Call]:
        return [call for call in self._calls if call.stage == stage]

    def latents(self) -> tuple[np.ndarray, np.ndarray]:
        """y and z before rounding (encoder only)."""
        (analyse,) = self.of("analyse")
        y, _ = analyse.output
        z = _apply(analyse, lambda model, y: model.hyper_encoder(y), y)
        return nchw(y), nchw(z)

    def z_hat(self) -> np.ndarray:
        (prior,) = self.of("prior")
        return np.asarray(prior.inputs["z"], np.float32)

    def symbols(self) -> list[np.ndarray]:
        """Of each coding step, [1, C/steps, h, w] int8."""
        return [np.asarray(c.inputs["symbols"]) for c in self.of("refine") + self.of("synthesise")]

    def indexes(self) -> list[np.ndarray]:
        """Rows of the Gaussian table, of each coding step."""
        return [np.asarray(c.inputs["coding"].indexes) for c in self.of("refine") + self.of("synthesise")]

    def scales(self) -> list[np.ndarray]:
        """Of each coding step, folded, before the clamp."""
        (prior,) = self.of("prior")
        scales = [prior.output[0].scale]
        for call in self.of("refine"):
            y_hat, _ = call.output
            step, shared = call.inputs["step"], call.inputs["shared"]
            scales.append(_apply(call, lambda model, y, step, shared: model.refine(step, shared, y), y_hat, step, shared)[0])
        return [np.asarray(to_coder_order(fold(s, len(scales), step))) for step, s in enumerate(scales)]

    def residuals(self) -> list[np.ndarray]:
        """Of each coding step, folded: what is rounded to symbols (encoder only)."""
        return [
            np.asarray(to_coder_order(fold(c.inputs["y"] * c.inputs["gain"], c.inputs["steps"], c.inputs["step"]) - c.inputs["coding"].mean))
            for c in self.of("quantise")
        ]

    def y_hat(self) -> np.ndarray:
        """The decoded latent."""
        (call,) = self.of("synthesise")
        steps = call.inputs["model"].config.steps
        last = unfold(from_coder_order(call.inputs["symbols"]) + call.inputs["coding"].mean, steps, steps - 1)
        return nchw((call.inputs["y_hat"] + last) * call.inputs["gain"])

    def feature(self) -> np.ndarray:
        (call,) = self.of("synthesise")
        return nchw(call.output)


def frames(calls: list[Call]) -> list[FrameRecord]:
    """The calls of each frame."""
    result, current = [], []
    for call in calls:
        current.append(call)
        if call.stage == "synthesise":
            result.append(FrameRecord(current))
            current = []
    return result


def pictures(calls: list[Call]) -> list[np.ndarray]:
    """The reconstruction of each frame whose picture was made, by `reconstruct` right after it."""
    return [nchw(b.output) for a, b in zip(calls, calls[1:], strict=False) if a.stage == "synthesise" and b.stage == "reconstruct"]


def nchw(x: Any) -> np.ndarray:
    return np.asarray(jnp.transpose(x, (0, 3, 1, 2)))


def _apply(call: Call, method: Any, *inputs: Any) -> Any:
    return call.inputs["model"].apply({"params": call.inputs["params"]}, *inputs, method=method)


def assert_latents(frame: FrameRecord, expected: dict[str, np.ndarray], threshold: float | None) -> None:
    """Compare with a frame of the golden files, whose README gives the tolerances."""
    steps = [int(name.removeprefix("s_w_")) for name in expected if name.startswith("s_w_")]
    scales, indexes, symbols = frame.scales(), frame.indexes(), frame.symbols()
    assert len(scales) == len(symbols) == len(steps)
    for step in steps:
        np.testing.assert_array_equal(symbols[step], expected[f"y_q_w_{step}"])
        np.testing.assert_allclose(scales[step], expected[f"s_w_{step}"], rtol=1e-4, atol=1e-5)
        official = table_indexes(jnp.asarray(expected[f"s_w_{step}"]), -1.0 if threshold is None else threshold)
        np.testing.assert_array_equal(indexes[step], official)
    if "z_hat" in expected:
        np.testing.assert_array_equal(frame.z_hat(), expected["z_hat"])
    if "y" in expected and frame.of("analyse"):
        for ours, name in zip(frame.latents(), "yz", strict=True):
            np.testing.assert_allclose(ours, expected[name], rtol=0, atol=1e-4)
    if "y_hat" in expected:
        np.testing.assert_allclose(frame.y_hat(), expected["y_hat"], rtol=0, atol=1e-4)


def assert_planes(planes: YuvFrame, y: np.ndarray, uv: np.ndarray) -> None:
    """Within one step of the official pictures: the official writer truncates chroma, ours rounds; few luma ties."""
    for ours, official in zip((planes.y, planes.u, planes.v), (y, *uv), strict=True):
        assert np.abs(ours.astype(int) - official).max() <= 1
    assert np.mean(planes.y != y) < 0.01
