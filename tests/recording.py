"""Sees what the stages of a frame compute while the real encoder or decoder runs."""

import functools
import inspect
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from native_coder import deblocking_functions, motion_functions  # noqa: TID251
from nvc_jax.codec import stages
from nvc_jax.models import motion
from nvc_jax.ops import native
from nvc_jax.ops.latents import fold, from_coder_order, table_indexes, to_coder_order, unfold
from nvc_jax.spec import LOG_SCALE_MIN, LOG_SCALE_STEP_RECIPROCAL, SCALE_LEVELS
from nvc_jax.video import YuvFrame

MOTION_STAGES = ("estimate", "compensate", "skip", "skip_more")  # in models/motion.py
SECOND_LOOK_STAGES = ("bits_of_positions", "leave_out")  # of the preset medium, with `skip_more`
STAGES = ("features", "context", "analyse", "prior", "quantise", "refine", "synthesise", "reconstruct")


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
        for stage in MOTION_STAGES + SECOND_LOOK_STAGES + STAGES:
            module, name = _place(stage)
            patch.setattr(module, name, recorder(stage, getattr(module, name)))
        yield calls


def compiled(stage: str) -> Any:
    """The compiled function of a stage."""
    function = getattr(*_place(stage))
    return getattr(function, "compiled", function)


def _place(stage: str) -> tuple[Any, str]:
    return (motion, f"_{stage}") if stage in MOTION_STAGES else (stages, stage)


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
        z = _apply(analyse, _hyper_encoder, y)
        return nchw(y), nchw(z)

    def z_hat(self) -> np.ndarray:
        (prior,) = self.of("prior")
        return np.asarray(prior.inputs["z"], np.float32)

    def symbols(self) -> list[np.ndarray]:
        """Symbols of each coding step, [1, C/steps, h, w] int8."""
        return [np.asarray(c.inputs["symbols"]) for c in self.of("refine") + self.of("synthesise")]

    def indexes(self) -> list[np.ndarray]:
        """Rows of the Gaussian table, of each coding step."""
        return [np.asarray(c.inputs["coding"].indexes) for c in self.of("refine") + self.of("synthesise")]

    def scales(self) -> list[np.ndarray]:
        """Scales of each coding step, folded, before the clamp."""
        (prior,) = self.of("prior")
        scales = [prior.output[0].scale]
        for call in self.of("refine"):
            y_hat, _ = call.output
            scales.append(_apply(call, _refined_scale, call.inputs["shared"], y_hat, step=call.inputs["step"]))
        return [np.asarray(to_coder_order(fold(s, len(scales), step))) for step, s in enumerate(scales)]

    def residuals(self) -> list[np.ndarray]:
        """Residuals of each coding step, folded, before they are rounded to symbols (encoder only)."""
        inputs = [call.inputs for call in self.of("quantise")]
        folded = (fold(i["y"] * i["gain"], i["steps"], i["step"]) - i["coding"].mean for i in inputs)
        return [np.asarray(to_coder_order(x)) for x in folded]

    def y_hat(self) -> np.ndarray:
        """The decoded latent."""
        (call,) = self.of("synthesise")
        steps = call.inputs["network"].config.steps
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
    pairs = itertools.pairwise(calls)
    return [nchw(b.output[:, 0]) for a, b in pairs if (a.stage, b.stage) == ("synthesise", "reconstruct")]


def nchw(x: Any) -> np.ndarray:
    return np.asarray(jnp.transpose(x, (0, 3, 1, 2)))


def _apply(call: Call, method: Any, *inputs: Any, **static: int) -> Any:
    """A part of the network of a call, which gives the values that its stage keeps to itself."""
    return _jitted(call.inputs["network"], method, call.inputs["params"], inputs, **static)


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames="step")
def _jitted(network: Any, method: Any, params: Any, inputs: tuple[Any, ...], **static: int) -> Any:
    with jax.default_matmul_precision("highest"):
        return network.apply({"params": params}, *inputs, **static, method=method)


def _hyper_encoder(network: Any, y: Any) -> Any:
    return network.hyper_encoder(y)


def _refined_scale(network: Any, shared: Any, y_hat: Any, step: int) -> Any:
    return network.refine(step, shared, y_hat)[0]


def assert_latents(frame: FrameRecord, expected: dict[str, np.ndarray], threshold: float | None) -> bool:
    """Compare with a frame of the golden files, whose README gives the tolerances.

    Returns:
        True where all table indexes are the official ones. Others are accepted only where the official scale lies on
        the edge between two indexes, within the float32 noise of 4e-4 that the README allows.
    """
    count = sum(name.startswith("s_w_") for name in expected)
    scales, indexes, symbols = frame.scales(), frame.indexes(), frame.symbols()
    assert len(scales) == len(symbols) == count
    same = []
    for step in range(count):
        official = expected[f"s_w_{step}"]
        np.testing.assert_array_equal(symbols[step], expected[f"y_q_w_{step}"])
        np.testing.assert_allclose(scales[step], official, rtol=1e-4, atol=1e-5)
        same.append(indexes[step] == table_indexes(jnp.asarray(official), -1.0 if threshold is None else threshold))
        assert (distance_from_edge(official, threshold)[~same[-1]] < 4e-4).all()
    if "z_hat" in expected:
        np.testing.assert_array_equal(frame.z_hat(), expected["z_hat"])
    if "y" in expected and frame.of("analyse"):
        for ours, name in zip(frame.latents(), "yz", strict=True):
            np.testing.assert_allclose(ours, expected[name], rtol=0, atol=1e-4)
    if "y_hat" in expected:
        np.testing.assert_allclose(frame.y_hat(), expected["y_hat"], rtol=0, atol=1e-4)
    if "feature" in expected:
        np.testing.assert_allclose(frame.feature(), expected["feature"], rtol=0, atol=1e-4)
    return all(map(np.all, same))


def distance_from_edge(scale: np.ndarray, threshold: float | None) -> np.ndarray:
    """Distance of scales from another table index or from being skipped, in steps of the table."""

    positions = table_position(scale)
    distance = np.abs(positions - np.clip(np.round(positions), 1, SCALE_LEVELS - 1))
    return distance if threshold is None else np.minimum(distance, np.abs(positions - table_position(threshold)))


def table_position(scale: np.ndarray | float) -> np.ndarray:
    """Where scales lie in the Gaussian table: those of row n from n to n + 1."""
    return (np.log(np.maximum(scale, 1e-9, dtype=np.float64)) - LOG_SCALE_MIN) * LOG_SCALE_STEP_RECIPROCAL


def assert_planes(planes: YuvFrame, y: np.ndarray, uv: np.ndarray) -> None:
    """Within one step of the official pictures: the official writer truncates chroma, ours rounds; few luma ties."""
    for ours, official in zip((planes.y, planes.u, planes.v), (y, *uv), strict=True):
        assert np.abs(ours.astype(int) - official).max() <= 1
    assert np.mean(planes.y != y) < 0.01


PLATFORMS = ("cpu", "cuda", "tpu")


def lowered(function, *inputs, **options) -> jax.export.Exported:
    """A compiled function for all platforms; its branch for CPUs may call our handlers of motion and deblocking."""
    handlers = {"motion": motion_functions(), "deblocking": deblocking_functions()}
    names = [
        f"nvc_{kind}_{name}_{isa}"
        for kind, isas in handlers.items()
        if native.available(kind)
        for isa, functions in isas.items()
        for name in functions
    ]
    checks = [jax.export.DisabledSafetyCheck.custom_call(name) for name in names]
    exported = jax.export.export(function, platforms=PLATFORMS, disabled_checks=checks)(*inputs, **options)
    assert exported.platforms == PLATFORMS
    return exported
