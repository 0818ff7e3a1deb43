"""Kernels and bytes of programs that XLA wrote for CUDA and TPU, against counts by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from nvc_jax.benchmark import flops
from nvc_jax.benchmark.device_cost import device_cost
from nvc_jax.benchmark.hlo import parse

CUDA = """HloModule jit_f, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%gemm_fusion_dot_computation (p0: bf16[64,32], p1: bf16[32,16]) -> bf16[64,16] {
  %p0 = bf16[64,32]{1,0} parameter(0)
  %p1 = bf16[32,16]{1,0} parameter(1)
  ROOT %dot = bf16[64,16]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%fused_multiply (p: bf16[64,16]) -> bf16[64,16] {
  %p = bf16[64,16]{1,0} parameter(0)
  ROOT %multiply = bf16[64,16]{1,0} multiply(%p, %p)
}

%fused_transpose (p: bf16[64,16]) -> bf16[16,64] {
  %p = bf16[64,16]{1,0} parameter(0)
  ROOT %transpose = bf16[16,64]{1,0} transpose(%p), dimensions={1,0}
}

ENTRY %main (x: bf16[64,32], w: bf16[32,16]) -> (bf16[16,64], bf16[1,8,8,128]) {
  %x = bf16[64,32]{1,0} parameter(0), metadata={op_name="x"}
  %w = bf16[32,16]{1,0} parameter(1)
  %image = bf16[1,16,16,64]{3,2,1,0} bitcast(%x)
  %weights = bf16[128,3,3,64]{3,2,1,0} constant({...})
  %gemm = bf16[64,16]{1,0} fusion(%x, %w), kind=kCustom, calls=%gemm_fusion_dot_computation
  %loop = bf16[64,16]{1,0} fusion(%gemm), kind=kLoop, calls=%fused_multiply
  %turned = bf16[16,64]{1,0} fusion(%loop), kind=kInput, calls=%fused_transpose
  %conv = (bf16[1,8,8,128]{3,2,1,0}, u8[4096]{0}) custom-call(%image, %weights), \
custom_call_target="__cudnn$convForward"
  %y = bf16[1,8,8,128]{3,2,1,0} get-tuple-element(%conv), index=0
  %kernel = bf16[16,64]{1,0} custom-call(%turned), custom_call_target="__gpu$xla.gpu.triton"
  %all-reduce-start = f32[100]{0} all-reduce-start(%g), replica_groups={{0,1}}, to_apply=%add
  %g = f32[100]{0} constant({...})
  %all-reduce-done = f32[100]{0} all-reduce-done(%all-reduce-start)
  ROOT %result = (bf16[16,64]{1,0}, bf16[1,8,8,128]{3,2,1,0}) tuple(%kernel, %y)
}
"""

LOOP = """HloModule jit_f

%update (stack: f32[10,100], row: f32[100], i: s32[]) -> f32[10,100] {
  %stack = f32[10,100]{1,0} parameter(0)
  %row = f32[100]{0} parameter(1)
  %i = s32[] parameter(2)
  %zero = s32[] constant(0)
  %one_row = f32[1,100]{1,0} bitcast(%row)
  ROOT %new = f32[10,100]{1,0} dynamic-update-slice(%stack, %one_row, %i, %zero)
}

%take (stack: f32[10,100], i: s32[]) -> f32[100] {
  %stack = f32[10,100]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %zero = s32[] constant(0)
  %one = f32[1,100]{1,0} dynamic-slice(%stack, %i, %zero), dynamic_slice_sizes={1,100}
  %flat = f32[100]{0} bitcast(%one)
  ROOT %double = f32[100]{0} add(%flat, %flat)
}

%body (t: (s32[], f32[10,100], f32[10,100])) -> (s32[], f32[10,100], f32[10,100]) {
  %t = (s32[], f32[10,100]{1,0}, f32[10,100]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %in = f32[10,100]{1,0} get-tuple-element(%t), index=1
  %out = f32[10,100]{1,0} get-tuple-element(%t), index=2
  %row = f32[100]{0} fusion(%in, %i), kind=kLoop, calls=%take
  %new = f32[10,100]{1,0} fusion(%out, %row, %i), kind=kLoop, calls=%update
  ROOT %next = (s32[], f32[10,100]{1,0}, f32[10,100]{1,0}) tuple(%i, %in, %new)
}

%condition (t: (s32[], f32[10,100], f32[10,100])) -> pred[] {
  %t = (s32[], f32[10,100]{1,0}, f32[10,100]{1,0}) parameter(0)
  ROOT %yes = pred[] constant(true)
}

ENTRY %main (x: f32[10,100]) -> f32[10,100] {
  %x = f32[10,100]{1,0} parameter(0)
  %copy = f32[10,100]{1,0} copy(%x)
  %zero = s32[] constant(0)
  %start = (s32[], f32[10,100]{1,0}, f32[10,100]{1,0}) tuple(%zero, %x, %copy)
  %loop = (s32[], f32[10,100]{1,0}, f32[10,100]{1,0}) while(%start), condition=%condition, body=%body TRIPS
  ROOT %y = f32[10,100]{1,0} get-tuple-element(%loop), index=2
}
"""
TRIPS = ', backend_config={"known_trip_count":{"n":"10"},"known_init_step":{"init":"0","step":"1"}}'

TPU = """HloModule jit_f, is_scheduled=true

%fused (p: bf16[1,16,16,3], w: bf16[3,128]) -> bf16[1,16,16,128] {
  %p = bf16[1,16,16,3]{3,2,1,0:T(8,128)(2,1)S(1)} parameter(0)
  %w = bf16[3,128]{1,0:T(4,128)(2,1)S(1)} parameter(1)
  ROOT %conv = bf16[1,16,16,128]{3,2,1,0:T(8,128)(2,1)} convolution(%p, %w), dim_labels=b01f_io->b01f
}

ENTRY %main (x: bf16[1,16,16,3], w: bf16[3,128]) -> bf16[1,16,16,128] {
  %x = bf16[1,16,16,3]{3,2,1,0:T(8,128)(2,1)} parameter(0)
  %w = bf16[3,128]{1,0:T(4,128)(2,1)} parameter(1)
  %copy-start = (bf16[1,16,16,3]{3,2,1,0:T(8,128)(2,1)S(1)}, bf16[1,16,16,3]{3,2,1,0:T(8,128)(2,1)}, u32[]{:S(2)}) \
copy-start(%x), cross_program_prefetch_index=0
  %copy-done = bf16[1,16,16,3]{3,2,1,0:T(8,128)(2,1)S(1)} copy-done(%copy-start)
  %slice-start = ((bf16[3,128]{1,0:T(4,128)(2,1)}), bf16[2,128]{1,0:T(2,128)(2,1)S(1)}, s32[]{:S(2)}) \
slice-start(%w), slice={[0:2], [0:128]}
  %slice-done = bf16[2,128]{1,0:T(2,128)(2,1)S(1)} slice-done(%slice-start)
  %whole = bf16[3,128]{1,0:T(4,128)(2,1)S(1)} custom-call(%slice-done), custom_call_target="ConcatBitcast"
  ROOT %y = bf16[1,16,16,128]{3,2,1,0:T(8,128)(2,1)} fusion(%copy-done, %whole), kind=kOutput, calls=%fused
}
"""


def test_kernels_and_bytes_on_cuda():
    cost = device_cost(CUDA)
    assert cost.kernels == {"products": 2, "fusions": 1, "copies": 1, "custom_calls": 1, "collectives": 1}
    gemm, small = 2 * (64 * 32 + 32 * 16 + 64 * 16), 2 * 64 * 16
    convolution = 2 * (16 * 16 * 64 + 128 * 9 * 64 + 8 * 8 * 128)  # the 4096 bytes are room to work in
    assert cost.bytes == gemm + 3 * 2 * small + convolution + 2 * 400
    assert (cost.collective_bytes, cost.on_chip_bytes, cost.transfers) == (400, 0, 0)


def test_a_loop_runs_its_body_and_changes_rows_in_place():
    cost = device_cost(LOOP.replace(" TRIPS", TRIPS))
    assert cost.kernels == {"copies": 1 + 10, "fusions": 10}
    take, update = 400 + 4 + 400, 400 + 4 + 400  # a row and its number in, a row out
    assert cost.bytes == 2 * 4000 + 10 * (take + update)
    assert cost.unknown_loops == 0


def test_a_loop_that_counts_to_a_limit():
    """XLA does not always record the trip count; this loop counts from 0, through a copy, to 7."""
    ends = {
        "ROOT %yes = pred[] constant(true)": """%i = s32[] get-tuple-element(%t), index=0
  %limit = s32[] constant(7)
  ROOT %less = pred[] compare(%i, %limit), direction=LT""",
        "%start = (s32[], f32[10,100]{1,0}, f32[10,100]{1,0}) tuple(%zero,": """%from = s32[] copy(%zero)
  %start = (s32[], f32[10,100]{1,0}, f32[10,100]{1,0}) tuple(%from,""",
    }
    text = LOOP.replace(" TRIPS", "")
    for old, new in ends.items():
        assert old in text
        text = text.replace(old, new)
    cost = device_cost(text)
    assert cost.kernels == {"copies": 2 + 7, "fusions": 7}
    assert cost.unknown_loops == 0


def test_a_loop_of_unknown_length_is_counted_once_and_said_to_be():
    cost = device_cost(LOOP.replace(" TRIPS", ""))
    assert (cost.kernels.total(), cost.unknown_loops) == (3, 1)


def test_tiles_and_memories_of_a_tpu():
    """Channels are padded to 128, and on-chip buffers cause no traffic in device memory."""
    cost = device_cost(TPU)
    picture, weights, part = 16 * 16 * 128 * 2, 4 * 128 * 2, 2 * 128 * 2
    assert cost.kernels == {"products": 1}
    assert cost.transfers == 2
    assert cost.bytes == picture + part + picture  # two reads, and the result
    assert cost.on_chip_bytes == (picture + part) + (picture + weights)


def test_sizes_of_arrays():
    line = "  ROOT %x = ({}) tuple()\n"
    shapes = {
        "f32[3,5]{1,0}": 60,
        "pred[7]{0}": 7,
        "s4[10]{0}": 5,
        "bf16[]": 2,
        "token[]": 0,
        "f32[3,5]{0,1:T(8,128)}": 8 * 128 * 4,  # 5 rows of 3
        "f32[3,5]{0,1}": 60,
        "bf16[9]{0:T(256)(128)(2,1)}": 512,
        "f8e4m3fn[2,<=4]{1,0}": 8,
    }
    for shape, size in shapes.items():
        program = parse("ENTRY %main () -> f32[] {\n" + line.format(shape) + "}\n")
        assert [buffer.bytes for buffer in program.entry.root.buffers] == [size], shape


def test_flops_by_kind():
    x, w, image = jnp.ones((8, 4)), jnp.ones((4, 2)), jnp.ones((1, 6, 6, 3), jnp.bfloat16)
    taps = jnp.ones((3, 3, 3, 5), jnp.bfloat16)

    def f(x, w, image):
        exact = jnp.matmul(x, w, precision="highest")
        repeated = lax.scan(lambda c, _: (c, (x @ w).sum()), 0.0, None, length=7)[1]
        branch = lax.cond(exact.sum() > 0, lambda: (x @ w).sum(), lambda: x.sum())
        layout = ("NHWC", "HWIO", "NHWC")
        convolved = lax.conv_general_dilated(image, taps, (1, 1), "SAME", dimension_numbers=layout)
        integers = lax.dot_general(
            x.astype(jnp.int8), w.astype(jnp.int8), (((1,), (0,)), ((), ())), preferred_element_type=jnp.int32
        )
        return exact.sum() + repeated.sum() + branch + convolved.sum() + integers.sum()

    product = 2 * 8 * 4 * 2
    assert flops.count(jax.make_jaxpr(f)(x, w, image).jaxpr) == {
        "float32": product,
        "float32_default": 7 * product + product,
        "bfloat16": 2 * 6 * 6 * 5 * 27,
        "int8": product,
    }


def test_flops_of_gradients_and_of_activations_computed_again():
    x, w = jnp.ones((8, 4)), jnp.ones((4, 2))

    def loss(w, remat):
        f = jax.checkpoint(lambda w: jnp.tanh(x @ w).sum()) if remat else lambda w: jnp.tanh(x @ w).sum()
        return f(w)

    def operations(remat):
        return flops.count(jax.make_jaxpr(jax.grad(lambda w: loss(w, remat)))(w).jaxpr).total()

    product = 2 * 8 * 4 * 2
    assert operations(False) == 2 * product  # forward, and the gradient of w
    assert operations(True) == 3 * product


@pytest.mark.parametrize("text", [CUDA, LOOP, TPU])
def test_every_line_is_read(text):
    program = parse(text)
    lines = [line for line in text.replace("\\\n", "").splitlines() if line.startswith("  ")]
    assert sum(len(computation.instructions) for computation in program.computations.values()) == len(lines)
