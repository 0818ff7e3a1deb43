"""Measure each part of a network by itself: the modules of the paper's Table 5, and the compiled stages."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend import core
from jax.extend.core import jaxpr_as_fun

from nvc_jax.benchmark.programs import Cost, cost_of, program_name
from nvc_jax.benchmark.subject import Subject, code_packet
from nvc_jax.codec import stages
from nvc_jax.models.layers import chain
from nvc_jax.models.network import State
from nvc_jax.models.params import ParamTree, dtype
from nvc_jax.ops.arithmetic import as_read, to_precision


@dataclasses.dataclass(frozen=True)
class Call:
    """A compiled function and its arguments."""

    function: Any
    inputs: tuple[Any, ...]

    def __call__(self) -> Any:
        """Call it."""
        return self.function(*self.inputs)

    def cost(self) -> Cost:
        """Compute the cost of the compiled program."""
        return cost_of(self.function.lower(*self.inputs).compile())


# The rows of the table: modules of inter networks as `evaluation.complexity` names them.
PARTS = {
    "extractor": ("adaptor_picture", "adaptor_feature", "extractor_prior", "extractor_context"),
    "encoder": ("encoder_in", "encoder_blocks", "encoder_down"),
    "hyper": ("hyper_encoder", "hyper_decoder"),
    "prior fusion": ("temporal_prior", "fusion_blocks", "fusion_out"),
    "spatial prior": ("spatial_blocks", "spatial_out"),
    "decoder": ("decoder_up", "decoder_blocks", "decoder_out"),
    "reconstruction": ("recon_blocks", "recon_out"),
}


def _extractor(network: Any, state: State, qps: Array) -> tuple[Array, Array]:
    features, temporal = network.features(state, qps)
    return network.context(features), temporal


def _encoder(network: Any, source: Array, context: Array, qps: Array) -> Array:
    return network.analyse(source, context, qps)[0]  # XLA leaves the hyper encoder out


def _hyper(network: Any, y: Array, z: Array) -> tuple[Array, Array]:
    return network.hyper_encoder(y), network.hyper_decoder(z)


def _prior_fusion(network: Any, hyper: Array, temporal: Array) -> Array:
    x = jnp.concatenate([hyper, network.temporal_prior(temporal)], axis=-1)
    return network.fusion_out(chain(network.fusion_blocks, x))


def _second_step(network: Any, shared: Array, y_hat: Array) -> tuple[Array, Array]:
    return network.refine(1, shared, y_hat)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _run(network: Any, params: ParamTree, method: str | Callable[..., Any], *inputs: Any) -> Any:
    return stages.run(network, params, method, *inputs)


def module_calls(subject: Subject) -> dict[str, Call]:
    """Make the rows of the table, each with inputs of the right shapes."""
    params, pictures, state, qps = subject.inputs
    network = subject.loaded.network
    run = functools.partial(_run, network, params)
    state, side = network.search(pictures, state, qps, subject.loaded.skip_bits)
    source = network.source(to_precision(pictures, network.picture_type(dtype(params))), side)
    source, state = jax.tree.map(lambda x: as_read(x, dtype(params)), (source, state))
    context, temporal = run(_extractor, state, qps)
    y = run(_encoder, source, context, qps)
    z = run(lambda network, y: network.hyper_encoder(y), y)
    hyper = run(_hyper, y, z)[1][:, : y.shape[1], : y.shape[2]]
    shared = run(_prior_fusion, hyper, temporal)
    feature = run("synthesise", y, context, qps)
    inputs: dict[str, tuple[Any, ...]] = {
        "extractor": (_extractor, state, qps),
        "encoder": (_encoder, source, context, qps),
        "hyper": (_hyper, y, z),
        "prior fusion": (_prior_fusion, hyper, temporal),
        "spatial prior": (_second_step, shared, y),
        "decoder": ("synthesise", y, context, qps),
        "reconstruction": ("reconstruct", feature, side, qps),
    }
    return {name: Call(_run, (network, params, *rest)) for name, rest in inputs.items()}


def stage_calls(subject: Subject) -> dict[str, Call]:
    """Collect the programs that code a packet, in their order, each with its real inputs."""
    traced = jax.make_jaxpr(functools.partial(code_packet, subject.loaded))(*subject.inputs)
    values = dict(zip(traced.jaxpr.constvars, traced.consts, strict=True))
    values |= dict(zip(traced.jaxpr.invars, jax.tree.leaves(subject.inputs), strict=True))
    calls: dict[str, Call] = {}
    for equation in traced.jaxpr.eqns:
        read = tuple(v.val if isinstance(v, core.Literal) else values[v] for v in equation.invars)
        name = program_name(equation)
        if name is None:
            results = equation.primitive.bind(*read, **equation.params)
        else:
            name += "" if name not in calls else f" {sum(other.startswith(name) for other in calls) + 1}"
            calls[name] = Call(jax.jit(jaxpr_as_fun(equation.params["jaxpr"])), read)
            results = calls[name]()
        results = results if isinstance(results, list | tuple) else [results]
        values |= dict(zip(equation.outvars, results, strict=True))
    return calls
