// A DC block in floating point on several threads.
#ifndef NVC_FLOATING_BLOCK_H_
#define NVC_FLOATING_BLOCK_H_

#include <vector>

#include "floating.h"
#include "threads.h"

namespace nvc::floating {

// The layers of a DC block in the order in which they are applied; the FFN's middle is in two halves, which are added.
template <class Number>
struct BlockLayers {
  Kernel<Number> first;
  Taps<Number> depthwise;
  Kernel<Number> project;
  Kernel<Number> widen[2];
  Kernel<Number> narrow;
};

// x [rows, inputs] times a kernel, to y.
template <class Number>
void MultiplyAll(const Kernels<Number>& kernels, xla::ffi::ThreadPool& pool, const Kernel<Number>& kernel,
                 const Number* x, size_t rows, bool wsilu, Number* y) {
  ForEachItem(pool, kernels.demands, rows, kMostRows, [&](size_t first, size_t count) noexcept {
    kernels.multiply(kernel, {x + first * kernel.inputs, kernel.inputs}, count,
                     {y + first * kernel.outputs, kernel.outputs}, {wsilu, {}});
  });
}

// The block from its depthwise convolution on: from a, the output of its first layer, and x, its input, to y, all
// [rows, channels].
template <class Number>
void RestOfBlock(const Kernels<Number>& kernels, xla::ffi::ThreadPool& pool, const BlockLayers<Number>& block,
                 const Pictures<Number>& a, const Number* x, size_t rows, bool shortcut, Number* y) {
  const size_t c = a.channels, half = block.narrow.inputs;
  using ConstRows = Strided<const Number>;
  const std::vector<Number> zeros(a.width * c);
  ForEachItem(pool, kernels.demands, rows, kMostRows, [&](size_t first, size_t count) noexcept {
    Number* const filtered = Scratch<Number>(count * (2 * c + half));
    Number* const projected = filtered + count * c;
    Number* const middle = projected + count * c;
    const ConstRows input{x + first * c, c};
    FilterPositions(a, zeros.data(), first, count, filtered,
                    [&](const Neighbourhood<Number>& around, Number* to) noexcept {
                      kernels.depthwise(block.depthwise, around, to);
                    });
    kernels.multiply(block.project, {filtered, c}, count, {projected, c}, {false, {input}});
    kernels.multiply(block.widen[0], {projected, c}, count, {middle, half}, {true, {}});
    kernels.multiply(block.widen[1], {projected, c}, count, {middle, half}, {true, {{middle, half}}});
    const Epilogue<Number> epilogue{false, {{projected, c}, shortcut ? input : ConstRows{}}};
    kernels.multiply(block.narrow, {middle, half}, count, {y + first * c, c}, epilogue);
  });
}

}  // namespace nvc::floating

#endif  // NVC_FLOATING_BLOCK_H_
