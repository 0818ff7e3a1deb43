"""What a codec runs on a device, as programs that can be compiled from the shapes of their inputs alone."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import jaxpr_as_fun

from nvc_jax.codec import stages
from nvc_jax.codec.frame import FrameCodec
from nvc_jax.codec.model import PRECISIONS, Codec
from nvc_jax.models.config import PATCH
from nvc_jax.models.params import ParamTree
from nvc_jax.models.state import Moved, Reference, Synthesis
from nvc_jax.spec import DEFAULT_SKIP_THRESHOLD, HYPER_STRIDE, PICTURE_STRIDE

STREAMS = 4  # that `decode_4` decodes


@dataclasses.dataclass(frozen=True)
class DeviceProgram:
    """A function, and shapes of what it is called with.

    Attributes:
        function: pure.
        inputs: trees of `jax.ShapeDtypeStruct`.
        donated: numbers of the inputs whose memory the results may take.
        grid: of the chips that it runs on together.
        axis: by which the function knows those chips; empty for one alone.
        split: numbers of the inputs of which every chip has a part, by their first axis; all have the others.
    """

    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    donated: tuple[int, ...] = ()
    grid: tuple[int, int] = (1, 1)
    axis: str = ""
    split: tuple[int, ...] = ()


def coding_programs(codec: Codec, width: int, height: int) -> dict[str, DeviceProgram]:
    """Everything that coding runs, by name.

    `encode`: an inter frame from its picture to packed symbols and the feature, one program; `picture`: from the
    feature to 8-bit planes; `decode`: from symbols to the feature; `decode_4`: a batch of four such; `intra_encode`,
    `intra_decode`, `intra_picture`; and `stage_...`, the programs of an inter frame as they are dispatched.
    """
    inter, intra = _Frame(codec, "P", width, height), _Frame(codec, "I", width, height)
    many = dataclasses.replace(inter, batch=STREAMS)
    programs = {
        "encode": inter.encode(),
        "picture": inter.picture(),
        "decode": inter.decode(),
        f"decode_{STREAMS}": many.decode(),
        "intra_encode": intra.encode(),
        "intra_decode": intra.decode(),
        "intra_picture": intra.picture(),
    }
    return programs | inter.stages()


@dataclasses.dataclass(frozen=True)
class _Frame:
    """Frames of one kind and size."""

    codec: Codec
    kind: str
    width: int
    height: int
    batch: int = 1

    @property
    def _frame_codec(self) -> FrameCodec:
        return self.codec.frame_codecs(DEFAULT_SKIP_THRESHOLD)[self.kind]  # type: ignore[index]

    @property
    def _params(self) -> Any:
        return jax.tree.map(lambda leaf: _shape(leaf.shape, leaf.dtype), self._frame_codec.params)

    def _sides(self, stride: int) -> tuple[int, int]:
        return math.ceil(self.height / stride), math.ceil(self.width / stride)

    @property
    def _latents(self) -> tuple[int, int]:
        return self._sides(PICTURE_STRIDE)

    def _picture(self, dtype: Any = jnp.float32) -> Any:
        rows, columns = (PICTURE_STRIDE * side for side in self._latents)
        return _shape((self.batch, rows, columns, 3), dtype)

    @property
    def _wide(self) -> Any:
        """The type of pictures and latents."""
        return jnp.int16 if self.codec.precision == "int16" else jnp.float32

    @property
    def _feature(self) -> Any:
        rows, columns = (PICTURE_STRIDE // PATCH * side for side in self._latents)
        shape = (self.batch, rows, columns, self._frame_codec.model.config.width)
        return _shape(shape, PRECISIONS[self.codec.precision])

    @property
    def _reference(self) -> Reference | None:
        if self.kind == "I":
            return None
        return Reference(self._picture(self._wide), "picture") if self._motion else Reference(self._feature, "feature")

    @property
    def _motion(self) -> bool:
        return bool(self._frame_codec.motion)

    @property
    def _qps(self) -> Any:
        return _shape((self.batch,), jnp.float32)

    def encode(self) -> DeviceProgram:
        def encode(params: ParamTree, picture: Array, reference: Reference | None, qps: Array) -> Any:
            frame = dataclasses.replace(self._frame_codec, params=params).transform(picture, reference, qps)
            moves = [] if frame.motion is None else [frame.motion]
            return stages.pack([*moves, frame.z, *itertools.chain.from_iterable(frame.planes)]), frame.synthesis

        return DeviceProgram(encode, (self._params, self._picture(), self._reference, self._qps))

    def picture(self) -> DeviceProgram:
        def picture(params: ParamTree, synthesis: Synthesis, qps: Array) -> Any:
            reconstructed = stages.reconstruct(self._frame_codec.model, params, synthesis, qps)
            return stages.planes_from_picture(reconstructed, width=self.width, height=self.height)

        moved = None
        if self._motion:
            moved = Moved(self._picture(self._wide), _shape((self.batch, *self._latents, 3), jnp.int8))
        feature = jax.eval_shape(self.encode().function, *self.encode().inputs)[1].feature
        return DeviceProgram(picture, (self._params, Synthesis(feature, moved), self._qps))

    def decode(self) -> DeviceProgram:
        codec, latents = self._frame_codec, self._latents
        model, threshold = codec.model, codec.skip_threshold
        steps = model.config.steps

        def decode(
            params: ParamTree,
            z: Array,
            planes: list[Array],
            motion: Array | None,
            reference: Reference | None,
            qps: Array,
        ) -> Any:
            moved, temporal, context = None, None, None
            if reference is not None:
                if motion is not None:
                    prediction = stages.compensate(reference.value, motion[..., :2])
                    moved, reference = Moved(prediction, motion), Reference(prediction, "picture")
                features, temporal = stages.temporal(model, params, reference, qps)
                context = stages.context(model, params, features)
            prior, coding = stages.prior(model, params, z, temporal, threshold, latents, motion)
            indexes, y_hat = [coding.indexes], None
            for step in range(1, steps):
                symbols = planes[step - 1]
                y_hat, coding = stages.refine(
                    model, params, step, prior.shared, y_hat, coding, symbols, threshold, motion
                )
                indexes.append(coding.indexes)
            feature = stages.synthesise(model, params, prior.gain_out, y_hat, coding, planes[-1], context, qps)
            return indexes, Synthesis(feature, moved)

        z = _shape((self.batch, model.config.hyper, *self._sides(HYPER_STRIDE)), jnp.int8)
        plane = _shape((self.batch, model.config.latent // steps, *latents), jnp.int8)
        motion = _shape((self.batch, *latents, 3), jnp.int8) if self._motion else None
        return DeviceProgram(decode, (self._params, z, [plane] * steps, motion, self._reference, self._qps))

    def stages(self) -> dict[str, DeviceProgram]:
        """Each compiled function by itself, `stage_NAME`; where one runs several times the later ones are numbered."""
        planes = [_shape((self.batch, self.height, self.width), jnp.uint8)]
        planes += [_shape((self.batch, self.height // 2, self.width // 2), jnp.uint8)] * 2
        encode = self.encode()

        def frame(planes: list[Array], params: ParamTree, reference: Reference | None, qps: Array) -> Any:
            symbols, synthesis = encode.function(params, stages.picture_from_planes(*planes), reference, qps)
            picture = stages.reconstruct(self._frame_codec.model, params, synthesis, qps)
            return symbols, stages.planes_from_picture(picture, width=self.width, height=self.height)

        traced = jax.make_jaxpr(frame)(planes, self._params, self._reference, self._qps)
        programs: dict[str, DeviceProgram] = {}
        for equation in traced.jaxpr.eqns:
            name = str(equation.params.get("name"))
            if "jaxpr" not in equation.params or not hasattr(stages, name):
                continue
            again = sum(other == f"stage_{name}" or other.startswith(f"stage_{name}_") for other in programs)
            inputs = tuple(_shape(aval.shape, aval.dtype) for aval in equation.params["jaxpr"].in_avals)
            function = jaxpr_as_fun(equation.params["jaxpr"])
            programs[f"stage_{name}" + (f"_{again + 1}" if again else "")] = DeviceProgram(function, inputs)
        return programs


def _shape(dimensions: tuple[int, ...], dtype: Any) -> Any:
    return jax.ShapeDtypeStruct(dimensions, dtype)  # type: ignore[no-untyped-call]
