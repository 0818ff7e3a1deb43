"""Kernels and bytes of compiled programs and traced functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from native_coder import float32_functions  # noqa: TID251
from nvc_jax.benchmark.programs import cost_of, cost_of_operations, count_instructions
from nvc_jax.ops import native, native_floating

HLO = """HloModule example

%fused (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  %exp = f32[4]{0} exponential(%p)
  ROOT %add = f32[4]{0} add(%exp, %p)
}

%body (t: (s32[], f32[4])) -> (s32[], f32[4]) {
  %t = (s32[], f32[4]{0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %x = f32[4]{0} get-tuple-element(%t), index=1
  %next = s32[] copy(%i)
  %y = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused
  ROOT %out = (s32[], f32[4]{0}) tuple(%next, %y)
}

%condition (t: (s32[], f32[4])) -> pred[] {
  %t = (s32[], f32[4]{0}) parameter(0)
  ROOT %less = pred[] constant(true)
}

%called (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %f = f32[4]{0} fusion(%p), kind=kLoop, calls=%fused
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %zero = s32[] constant(0)
  %start = (s32[], f32[4]{0}) tuple(%zero, %a)
  %loop = (s32[], f32[4]{0}) while(%start), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"5"}}
  %x = f32[4]{0} get-tuple-element(%loop), index=1
  %z = f32[4]{0} call(%x), to_apply=%called
  ROOT %sum = f32[4]{0} fusion(%z), kind=kLoop, calls=%fused
}
"""


def test_instructions_of_a_program():
    """A loop counts its body five times; calls are followed; fusions are not entered."""
    assert count_instructions(HLO) == {"fusion": 5 + 1 + 1, "copy": 5}


def test_cost_of_what_xla_compiles():
    x, w = jnp.ones((64, 32)), jnp.ones((32, 16))
    cost = cost_of(jax.jit(lambda x, w: jnp.tanh(x @ w) + 1).lower(x, w).compile())
    assert (cost.programs, cost.kernels >= cost.fusions) == (1, True)
    assert 1 <= cost.kernels <= 3
    assert cost.bytes >= x.nbytes + w.nbytes + 64 * 16 * 4
    doubled = cost + cost
    assert (doubled.kernels, doubled.bytes) == (2 * cost.kernels, 2 * cost.bytes)
    assert doubled.temporary_bytes == cost.temporary_bytes


@pytest.mark.skipif(not float32_functions(), reason="this processor has neither AVX2 nor AVX-512")
def test_functions_that_xla_calls():
    kernel = native_floating.pack(np.ones((32, 16), np.float32), native.available("float32")[0])
    x, bias = np.ones((64, 32), np.float32), np.ones(16, np.float32)
    cost = cost_of(jax.jit(native_floating.affine).lower(x, kernel, bias).compile())
    assert (cost.kernels, cost.bytes) == (1, x.nbytes + kernel.weights.nbytes + bias.nbytes + 64 * 16 * 4)


def test_operations_one_by_one():
    x = jnp.ones(8, jnp.float32)

    @jax.jit
    def block(x):
        return jnp.sin(x) * 2.0

    traced = jax.make_jaxpr(lambda x: lax.scan(lambda c, _: (block(c), None), x, None, length=3)[0] + x)(x).jaxpr
    apart = cost_of_operations(traced, ())
    assert (apart.kernels, apart.fusions) == (3 * 2 + 1, 0)
    assert apart.bytes == 3 * (2 * 32 + (32 + 4 + 32)) + 3 * 32
    together = cost_of_operations(traced, ("block",))
    assert together.programs == 3 + 1
    assert together.bytes < apart.bytes
