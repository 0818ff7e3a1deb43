// A DC block of float32 kernels on several threads.
#ifndef NVC_FLOAT32_BLOCK_H_
#define NVC_FLOAT32_BLOCK_H_

#include <vector>

#include "float32.h"
#include "threads.h"

namespace nvc::float32 {

// The layers of a DC block in the order in which they are applied; the FFN's middle is in two halves, which are added.
struct BlockLayers {
  Kernel first;
  Taps depthwise;
  Kernel project;
  Kernel widen[2];
  Kernel narrow;
};

// x [rows, inputs] times a kernel, to y.
inline void MultiplyAll(const Kernels& kernels, xla::ffi::ThreadPool& pool, const Kernel& kernel, const float* x,
                        size_t rows, bool wsilu, float* y) {
  ForEachItem(pool, rows, kMostRows, [&](size_t first, size_t count) noexcept {
    kernels.multiply(kernel, {x + first * kernel.inputs, kernel.inputs}, count,
                     {y + first * kernel.outputs, kernel.outputs}, {wsilu, {}});
  });
}

// The block from its depthwise convolution on: from a, the output of its first layer, and x, its input, to y, all [rows,
// channels].
inline void RestOfBlock(const Kernels& kernels, xla::ffi::ThreadPool& pool, const BlockLayers& block,
                        const Pictures<float>& a, const float* x, size_t rows, bool shortcut, float* y) {
  const size_t c = a.channels, half = block.narrow.inputs;
  const std::vector<float> zeros(a.width * c);
  ForEachItem(pool, rows, kMostRows, [&](size_t first, size_t count) noexcept {
    float* const filtered = Scratch<float>(count * (2 * c + half));
    float* const projected = filtered + count * c;
    float* const middle = projected + count * c;
    const ConstRows input{x + first * c, c};
    FilterPositions(a, zeros.data(), first, count, filtered, [&](const Around& around, float* to) noexcept {
      kernels.depthwise(block.depthwise, around, to);
    });
    kernels.multiply(block.project, {filtered, c}, count, {projected, c}, {false, {input}});
    kernels.multiply(block.widen[0], {projected, c}, count, {middle, half}, {true, {}});
    kernels.multiply(block.widen[1], {projected, c}, count, {middle, half}, {true, {{middle, half}}});
    const Epilogue epilogue{false, {{projected, c}, shortcut ? input : ConstRows{}}};
    kernels.multiply(block.narrow, {middle, half}, count, {y + first * c, c}, epilogue);
  });
}

}  // namespace nvc::float32

#endif  // NVC_FLOAT32_BLOCK_H_
