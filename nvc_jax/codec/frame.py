"""One frame, both ways: the coding loop (DESIGN, "A frame's way").

Encoder and decoder run the same stages in the same order; where the encoder quantises, the decoder reads.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array
from jax.typing import ArrayLike

from nvc_jax.codec import stages
from nvc_jax.codec.resync import Reading, resync
from nvc_jax.codec.transfer import to_host
from nvc_jax.entropy.coder import FrameDecoder
from nvc_jax.errors import BitstreamError
from nvc_jax.models.params import ParamTree
from nvc_jax.models.state import Moved, Reference, Synthesis
from nvc_jax.spec import HYPER_STRIDE, PICTURE_STRIDE

Symbols = npt.NDArray[np.int8]
Indexes = npt.NDArray[np.uint8]


class TransformedFrame(NamedTuple):
    """What the device makes of a frame.

    Attributes:
        z: [B, C, h, w] int8 symbols.
        planes: (symbols, table indexes) of each coding step of y, [B, C/steps, h, w].
        synthesis: what the picture is made of.
    """

    z: Array
    planes: list[tuple[Array, Array]]
    synthesis: Synthesis

    @property
    def motion(self) -> Array | None:
        """[B, h, w, 3] int8 of every block (dy, dx, skipped), None without motion."""
        return None if self.synthesis.moved is None else self.synthesis.moved.motion


@dataclasses.dataclass(frozen=True)
class FrameSymbols:
    """All that the entropy coder needs of one frame, still on the device.

    Attributes:
        packed: [1, bytes] uint8, the parts one after the other.
        z_shape: [C, h, w] of z.
        y_shape: [C/steps, h, w] of a coding step.
        steps: number of coding steps.
        motion_shape: [h, w, 3]; None without motion.
    """

    packed: Array
    z_shape: tuple[int, ...]
    y_shape: tuple[int, ...]
    steps: int
    motion_shape: tuple[int, ...] | None

    def to_host(self) -> tuple[Symbols, list[tuple[Symbols, Indexes]], Symbols | None]:
        """Symbols of z, (symbols, indexes) of each coding step, and motion: what `EntropyCoder.encode` takes.

        Waits for the device; the one copy of a frame.
        """
        moves = [] if self.motion_shape is None else [self.motion_shape]
        shapes = [*moves, self.z_shape, *[self.y_shape] * (2 * self.steps)]
        flat = np.split(to_host(self.packed)[0], np.cumsum([math.prod(shape) for shape in shapes])[:-1])
        parts = [part.reshape(shape) for part, shape in zip(flat, shapes, strict=True)]
        motion = parts.pop(0).view(np.int8) if moves else None
        z, *planes = parts
        pairs = zip(planes[0::2], planes[1::2], strict=True)
        return z.view(np.int8), [(s.view(np.int8), i) for s, i in pairs], motion


@dataclasses.dataclass(frozen=True)
class FrameCodec:
    """Codes frames of one kind, intra or inter.

    Attributes:
        model: the network.
        params: its parameters, on the device.
        skip_threshold: scalar float32, or int32 in 1/512 for int16; symbols with a scale not above it are not coded
            (-1: code all).
        zero_below: [256] float32, or int32 in 1/256: for each table index, residuals of smaller magnitude are coded as
            zero (entropy/rdoq.py). None rounds to the nearest.
        skip_blocks: with motion, the encoder may skip blocks whose prediction is good enough.
    """

    model: stages.Model
    params: ParamTree
    skip_threshold: Array
    zero_below: Array | None = None
    skip_blocks: bool = True

    @property
    def motion(self) -> bool:
        """Whether the reference is a picture whose blocks are moved, and skipped where that is good enough."""
        return self.model.config.motion

    def encode(self, picture: Array, reference: Reference | None, qp: float) -> tuple[FrameSymbols, Synthesis]:
        """Code a picture [1, H', W', 3]; reference is None for intra frames. Nothing waits for the device.

        Returns:
            The symbols, and what the picture is made of.
        """
        frame = self.transform(picture, reference, batched(qp))
        z, planes, motion = frame.z, frame.planes, frame.motion
        moves = [] if motion is None else [motion]
        packed = stages.pack([*moves, z, *itertools.chain.from_iterable(planes)])
        packed.copy_to_host_async()
        motion_shape = None if motion is None else motion.shape[1:]
        return FrameSymbols(packed, z.shape[1:], planes[0][0].shape[1:], len(planes), motion_shape), frame.synthesis

    def transform(self, picture: Array, reference: Reference | None, qps: ArrayLike) -> TransformedFrame:
        """What `encode` does on the device: pure, so that larger programs may hold it.

        Args:
            picture: [B, H', W', 3].
            reference: None for intra frames.
            qps: [B] float32.
        """
        model, params, steps = self.model, self.params, self.model.config.steps
        moved, motion, temporal, context = None, None, None, None
        if reference is not None:
            if self.motion:
                vectors = stages.estimate(picture, reference.value, qps)
                prediction = stages.compensate(reference.value, vectors)
                motion = stages.skip(picture, prediction, vectors, qps, allowed=self.skip_blocks)
                moved, reference = Moved(prediction, motion), Reference(prediction, "picture")
            features, temporal = stages.temporal(model, params, reference, qps)
            context = stages.context(model, params, features)
        y, z = stages.analyse(model, params, picture, context, qps)
        prior, coding = stages.prior(model, params, z, temporal, self.skip_threshold, y.shape[1:3], motion)
        planes, y_hat, symbols = [], None, z
        for step in range(steps):
            if step > 0:
                y_hat, coding = stages.refine(
                    model, params, step, prior.shared, y_hat, coding, symbols, self.skip_threshold, motion
                )
            symbols = stages.quantise(y, prior.gain_in, coding, steps, step, self.zero_below)
            planes.append((symbols, coding.indexes))
        feature = stages.synthesise(model, params, prior.gain_out, y_hat, coding, symbols, context, qps)
        return TransformedFrame(z, planes, Synthesis(feature, moved))

    def decode(
        self,
        open_payload: Callable[[], FrameDecoder],
        reference: Reference | None,
        qp: float,
        width: int,
        height: int,
    ) -> tuple[Synthesis, int]:
        """The inverse: a payload to what the picture is made of.

        Args:
            open_payload: starts on the payload, from its beginning at every call.
            reference: None for intra frames.
            qp: of the frame.
            width: of the picture in pixels.
            height: likewise.

        Returns:
            What the picture is made of, and how many table indexes had to be taken otherwise than computed (`resync`).

        Raises:
            BitstreamError: the payload is damaged or cut.
        """
        model, params, steps = self.model, self.params, self.model.config.steps
        latent_size = (math.ceil(height / PICTURE_STRIDE), math.ceil(width / PICTURE_STRIDE))
        hyper_size = (math.ceil(height / HYPER_STRIDE), math.ceil(width / HYPER_STRIDE))
        has_motion = reference is not None and self.motion

        def start() -> tuple[FrameDecoder, Symbols | None, Symbols]:
            payload = open_payload()
            blocks = payload.motion(*latent_size)[None] if has_motion else None
            return payload, blocks, payload.z(round(qp), (model.config.hyper, *hyper_size))[None]

        # Motion and z first: a payload too short for its picture size is refused before device memory is taken.
        payload, blocks, symbols = start()
        z = jnp.asarray(symbols)
        moved, motion, temporal, context, qps = None, None, None, None, batched(qp)
        if reference is not None:
            if blocks is not None:
                motion = jnp.asarray(blocks)
                prediction = stages.compensate(reference.value, jnp.asarray(blocks[..., :2]))
                moved, reference = Moved(prediction, motion), Reference(prediction, "picture")
            features, temporal = stages.temporal(model, params, reference, qps)
        prior, coding = stages.prior(model, params, z, temporal, self.skip_threshold, latent_size, motion)
        if reference is not None:
            context = stages.context(model, params, features)  # on the device while the host decodes symbols

        def read(payload: FrameDecoder, reading: Reading) -> None:
            for step in range(steps):
                if step == len(reading.steps):
                    y_hat, coding = reading.steps[-1]
                    known = stages.refine(
                        model, params, step, prior.shared, y_hat, coding, reading.symbols, self.skip_threshold, motion
                    )
                    reading.steps.append(known)
                reading.symbols = jnp.asarray(payload.plane(reading.indexes(step))[None])
            payload.finish()

        reading = Reading([(None, coding)], z)
        try:
            read(payload, reading)
        except BitstreamError:
            if stages.precision(params) != jnp.float32:  # int16 is exact; in bfloat16, hundreds of indexes may differ
                raise
            found = resync(reading, lambda again: read(start()[0], again), float(self.skip_threshold))
            if found is None:
                raise
            reading = found
        y_hat, coding = reading.steps[-1]
        feature = stages.synthesise(model, params, prior.gain_out, y_hat, coding, reading.symbols, context, qps)
        return Synthesis(feature, moved), len(reading.flips)

    def reconstruct(self, synthesis: Synthesis, qp: float) -> Array:
        """The picture [1, H', W', 3]."""
        return stages.reconstruct(self.model, self.params, synthesis, batched(qp))


@functools.lru_cache(maxsize=1024)
def batched(qp: float) -> Array:
    """A qp as the stages take it, [1] float32: traced, so that another quality never compiles anew.

    Kept on the device, where every stage of a frame would have it copied otherwise.
    """
    with jax.ensure_compile_time_eval():  # a tracer must not be kept
        return jax.device_put(np.full((1,), qp, np.float32))
