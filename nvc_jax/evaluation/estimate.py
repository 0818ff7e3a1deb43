"""Rates from likelihoods: many frames in one compiled scan, without entropy coder and stream (D2).

The likelihoods are those of the coder's own tables, and what a stream adds to them (headers, the coder's final state)
is added here too, so the rates are those of real streams but for the last bits of the arithmetic.
"""

import dataclasses
import functools
import io
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from nvc_jax.bitstream import CodedFrame
from nvc_jax.codec import stages
from nvc_jax.codec.files import create_writer
from nvc_jax.codec.frame import FrameCodec
from nvc_jax.codec.memory import enough_memory
from nvc_jax.codec.model import PRECISIONS, Codec
from nvc_jax.codec.pictures import download_planes, upload
from nvc_jax.codec.schedule import FramePlan
from nvc_jax.entropy.motion import motion_bits
from nvc_jax.entropy.payload_size import estimate_payload_bytes
from nvc_jax.entropy.tables import gaussian_tables, symbol_bits
from nvc_jax.evaluation.coders import (
    Measured,
    ModelCoder,
    check_count,
    check_finite,
    count_to_last,
    load_codec,
    open_source,
    viewable,
)
from nvc_jax.evaluation.metrics import picture_quality
from nvc_jax.evaluation.results import FrameResult
from nvc_jax.evaluation.sequences import Video
from nvc_jax.models.params import ParamTree
from nvc_jax.models.state import Reference
from nvc_jax.ops.arithmetic import arithmetic
from nvc_jax.spec import KEY_OF_KIND, NOT_CODED, FrameKind
from nvc_jax.video import Frame

CHUNK = 8  # frames of one scan; its pictures are in memory together
_INTRA, _FROM_PICTURE, _FROM_FEATURE = range(3)


@dataclasses.dataclass(frozen=True)
class EstimatingCoder(ModelCoder):
    """A model of this package, by estimated rates."""

    @property
    def suffix(self) -> str:
        """None: there is no stream."""
        return ""

    @property
    def name(self) -> str:
        """That of the model, marked: both may go into one folder."""
        return f"{super().name}_estimated"

    def settings(self, sequence: Video, qp: int) -> dict[str, Any]:
        """Those of the model, marked."""
        return super().settings(sequence, qp) | {"estimated": True}

    def measure(self, sequence: Video, qp: int, stream: Path) -> Measured:
        """See `Coder`; there is no stream."""
        del stream
        codec = load_codec(self.model, self.precision)
        with open_source(sequence) as source, enough_memory(codec, source.info.width, source.info.height, source.name):
            width, height = source.info.width, source.info.height
            schedule, file = self.schedule(sequence, qp), io.BytesIO()
            writer = create_writer(file, self.container, codec, source.info, schedule, self.skip_threshold)
            frames: list[FrameResult] = []
            codecs = codec.frame_codecs(self.skip_threshold, self.rdoq, self.skip_blocks)
            for original, plan, bits, symbols, picture in _estimate(codec, codecs, source, schedule.frame):
                quality = check_finite(picture_quality(picture, original), sequence, plan.index)
                payload = bytes(estimate_payload_bytes(writer.dialect, bits, symbols))
                coded = CodedFrame(plan.kind, plan.qp, plan.refresh, writer.dialect, payload, check=0)
                size_bytes = writer.write_frame(coded)
                frames.append(FrameResult(plan.kind, 8 * size_bytes, 8 * len(payload), quality))
            check_count(sequence, frames)
            count_to_last(frames, 8 * writer.finish())
            pictures = viewable(source, original, download_planes(picture, width, height).wait())
        return Measured(frames, width * height, pictures)


def _estimate(
    codec: Codec, codecs: Mapping[FrameKind, FrameCodec], source: Iterator[Frame], schedule: Any
) -> Iterator[tuple[Frame, FramePlan, float, int, Array]]:
    """(source, plan, bits of the symbols, coded symbols, decoded picture [1, H', W', 3]) of every frame."""
    models = tuple(codecs[kind].model for kind in KEY_OF_KIND)
    params = tuple(codecs[kind].params for kind in KEY_OF_KIND)
    y_bits = np.zeros((NOT_CODED + 1, 256), np.float32)
    y_bits[: gaussian_tables().rows] = symbol_bits(gaussian_tables())
    z_bits = tuple(
        symbol_bits(codec.stored.tables[key]).reshape(model.config.qp_rows, model.config.hyper, 256)
        for key, model in zip(KEY_OF_KIND.values(), models, strict=True)
    )
    tables = jax.device_put((y_bits, z_bits))
    quantisation = codecs["P"].skip_threshold, codecs["P"].zero_below
    carry, after_intra, count = None, False, 0
    while chunk := list(itertools.islice(source, CHUNK)):
        plans = [schedule(count + number) for number in range(len(chunk))]
        count += len(chunk)
        ways = []
        for plan in plans:
            from_picture = plan.refresh or after_intra or codecs["P"].motion
            ways.append(_INTRA if plan.kind == "I" else _FROM_PICTURE if from_picture else _FROM_FEATURE)
            after_intra = plan.kind == "I"
        pictures = jnp.stack([upload(frame) for frame in chunk])
        missing = CHUNK - len(chunk)  # at the end; one program serves all chunks
        pictures = jnp.pad(pictures, ((0, missing), *[(0, 0)] * 4), mode="edge")
        inputs = (
            pictures,
            np.array(ways + ways[-1:] * missing, np.int32),
            np.array([plan.qp for plan in plans] + [plans[-1].qp] * missing, np.float32)[:, None],
        )
        if carry is None:
            carry = _empty_reference(codecs["P"], PRECISIONS[codec.precision], pictures[0])
        carry, (bits, symbols, decoded) = _scan(
            models, params, tables, quantisation, carry, inputs, codecs["P"].skip_blocks
        )
        yield from zip(chunk, plans, np.asarray(bits).tolist(), np.asarray(symbols).tolist(), decoded, strict=False)


def _empty_reference(inter: FrameCodec, precision: DTypeLike, picture: Array) -> tuple[Array, Array]:
    """The carry before the first frame: feature and picture, both of which the last frame left behind."""
    _, height, width, _ = picture.shape
    feature = jnp.zeros((1, height // 8, width // 8, inter.model.config.width), precision)
    return feature, arithmetic(feature).widen(jnp.zeros_like(picture, precision))


@functools.partial(jax.jit, static_argnames=("models", "skip_blocks"))
def _scan(
    models: tuple[stages.Model, stages.Model],
    params: tuple[ParamTree, ParamTree],
    tables: tuple[Array, tuple[Array, Array]],
    quantisation: tuple[Array, Array | None],
    carry: tuple[Array, Array],
    inputs: tuple[Array, Array, Array],
    skip_blocks: bool,
) -> tuple[tuple[Array, Array], tuple[Array, Array, Array]]:
    """Code frames one after the other; all arguments in the order intra, inter.

    Args:
        models: networks.
        params: parameters.
        tables: bits of every symbol of y [256, 256] and of z [qps, C, 256].
        quantisation: skip_threshold and zero_below, see `FrameCodec`.
        carry: feature and picture of the frame before.
        inputs: of T frames, pictures [T, 1, H', W', 3], what they are predicted from [T], and qps [T, 1].
        skip_blocks: see `Encoder`.

    Returns:
        The carry after them; bits [T], coded symbols [T] and decoded pictures [T, 1, H', W', 3].
    """
    intra, inter = (FrameCodec(m, p, *quantisation, skip_blocks) for m, p in zip(models, params, strict=True))
    y_bits, (intra_z_bits, inter_z_bits) = tables

    def code(codec: FrameCodec, z_bits: Array, picture: Array, reference: Reference | None, qp: Array) -> Any:
        frame = codec.transform(picture, reference, qp)
        z, synthesis = frame.z, frame.synthesis
        of_channels = z_bits[jnp.round(qp[0]).astype(jnp.int32)]
        channel = jnp.arange(z.shape[1])[:, None, None]
        bits = of_channels[channel, z[0].astype(jnp.int32) + 128].sum()
        count = jnp.int32(z.size)
        for symbols, indexes in frame.planes:
            count += (indexes != NOT_CODED).sum()
            bits += y_bits[indexes.astype(jnp.int32), symbols.astype(jnp.int32) + 128].sum()
        if frame.motion is not None:
            count += frame.motion.size
            bits += motion_bits(frame.motion, jnp)[0]
        return (bits, count), synthesis.feature, stages.reconstruct(codec.model, codec.params, synthesis, qp)

    def step(carry: tuple[Array, Array], frame: tuple[Array, Array, Array]) -> Any:
        picture, way, qp = frame

        def intra_frame(feature: Array, _: Array) -> Any:
            rate, _, decoded = code(intra, intra_z_bits, picture, None, qp)
            return rate, feature, decoded  # the next frame does not look at the feature

        def from_picture(_: Array, decoded: Array) -> Any:
            return code(inter, inter_z_bits, picture, Reference(decoded, "picture"), qp)

        def from_feature(feature: Array, _: Array) -> Any:
            return code(inter, inter_z_bits, picture, Reference(feature, "feature"), qp)

        # With motion no frame takes the last way, and the network does not have it.
        branches = (intra_frame, from_picture) if inter.motion else (intra_frame, from_picture, from_feature)
        rate, feature, decoded = lax.switch(way, branches, *carry)
        return (feature, decoded), (*rate, decoded)

    return lax.scan(step, carry, inputs)
