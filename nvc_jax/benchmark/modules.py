"""Each part of the network by itself: the modules of the paper's Table 5, and the stages that the codec compiles."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend import core
from jax.extend.core import jaxpr_as_fun

from nvc_jax.benchmark.programs import Cost, cost_of
from nvc_jax.benchmark.subject import Subject, qps
from nvc_jax.codec import stages
from nvc_jax.codec.frame import FrameCodec
from nvc_jax.models.layers import chain
from nvc_jax.models.params import ParamTree
from nvc_jax.models.state import Reference
from nvc_jax.ops.arithmetic import to_precision


@dataclasses.dataclass(frozen=True)
class Call:
    """A compiled function and what it is called with."""

    function: Any
    inputs: tuple[Any, ...]

    def __call__(self) -> Any:
        """Call it."""
        return self.function(*self.inputs)

    def cost(self) -> Cost:
        """Of what was compiled."""
        return cost_of(self.function.lower(*self.inputs).compile())


# The rows of the table: parts of the network as `evaluation.complexity` names them.
PARTS = {
    "extractor": ("adaptor_picture", "adaptor_feature", "extractor_prior", "extractor_context"),
    "encoder": ("encoder_in", "encoder_blocks", "encoder_down"),
    "hyper": ("hyper_encoder", "hyper_decoder"),
    "prior fusion": ("temporal_prior", "fusion_blocks", "fusion_out"),
    "spatial prior": ("spatial_blocks", "spatial_out"),
    "decoder": ("decoder_up", "decoder_blocks", "decoder_out"),
    "reconstruction": ("recon_blocks", "recon_out"),
}


def _extractor(model: Any, reference: Reference, qp: Array) -> tuple[Array, Array]:
    feature, temporal = model.temporal(reference, qp)
    return model.context(feature), temporal


def _encoder(model: Any, picture: Array, context: Array, qp: Array) -> Array:
    return model.analyse(picture, context, qp)[0]  # XLA leaves the hyper encoder out


def _hyper(model: Any, y: Array, z: Array) -> tuple[Array, Array]:
    return model.hyper_encoder(y), model.hyper_decoder(z)


def _prior_fusion(model: Any, hyper: Array, temporal: Array) -> Array:
    x = jnp.concatenate([hyper, model.temporal_prior(temporal)], axis=-1)
    return model.fusion_out(chain(model.fusion_blocks, x))


def _second_step(model: Any, shared: Array, y_hat: Array) -> tuple[Array, Array]:
    return model.refine(1, shared, y_hat)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _run(model: stages.Model, params: ParamTree, method: str | Callable[..., Any], *inputs: Any) -> Any:
    return stages.run(model, params, method, *inputs)


def module_calls(subject: Subject) -> dict[str, Call]:
    """The rows of the table, each with inputs of the right shapes."""
    model, params = subject.codec.model, subject.codec.params
    qp = qps()
    dtype = params["q_encoder"]["vectors"].dtype
    picture = to_precision(subject.picture, dtype)
    reference = Reference(to_precision(subject.reference.value, dtype), subject.reference.kind)
    context, temporal = _run(model, params, _extractor, reference, qp)
    y = _run(model, params, _encoder, picture, context, qp)
    z, _ = _run(model, params, lambda m, y: (m.hyper_encoder(y), None), y)
    _, hyper = _run(model, params, _hyper, y, z)
    hyper = hyper[:, : y.shape[1], : y.shape[2]]
    shared = _run(model, params, _prior_fusion, hyper, temporal)
    feature = _run(model, params, "synthesise", y, context, qp)
    inputs: Mapping[str, tuple[Any, ...]] = {
        "extractor": (_extractor, reference, qp),
        "encoder": (_encoder, picture, context, qp),
        "hyper": (_hyper, y, z),
        "prior fusion": (_prior_fusion, hyper, temporal),
        "spatial prior": (_second_step, shared, y),
        "decoder": ("synthesise", y, context, qp),
        "reconstruction": ("reconstruct", feature, qp),
    }
    return {name: Call(_run, (model, params, *rest)) for name, rest in inputs.items()}


def code_frame(codec: FrameCodec, params: ParamTree, picture: Array, reference: Reference, qp: Array) -> Any:
    """All of a frame on the device: symbols, the next reference, and the picture."""
    codec = dataclasses.replace(codec, params=params)
    frame = codec.transform(picture, reference, qp)
    picture = stages.reconstruct(codec.model, params, frame.synthesis, qp)
    return (frame.z, frame.planes, frame.motion), frame.synthesis.feature, picture


def frame_inputs(subject: Subject) -> tuple[Any, ...]:
    """The inputs of `code_frame` after the codec."""
    return subject.codec.params, subject.picture, subject.reference, qps()


def stage_calls(subject: Subject) -> dict[str, Call]:
    """The programs that the codec runs for a frame, one after the other, each with its real inputs."""
    inputs = frame_inputs(subject)
    traced = jax.make_jaxpr(functools.partial(code_frame, subject.codec))(*inputs)
    values = dict(zip(traced.jaxpr.constvars, traced.consts, strict=True))
    values |= dict(zip(traced.jaxpr.invars, jax.tree.leaves(inputs), strict=True))
    calls: dict[str, Call] = {}
    for equation in traced.jaxpr.eqns:
        read = tuple(v.val if isinstance(v, core.Literal) else values[v] for v in equation.invars)
        program = equation.params.get("jaxpr")
        if program is None:
            results = equation.primitive.bind(*read, **equation.params)
        else:
            name = str(equation.params["name"])
            name += "" if name not in calls else f" {sum(other.startswith(name) for other in calls) + 1}"
            calls[name] = Call(jax.jit(jaxpr_as_fun(program)), read)
            results = calls[name]()
        results = results if isinstance(results, list | tuple) else [results]
        values |= dict(zip(equation.outvars, results, strict=True))
    return calls
