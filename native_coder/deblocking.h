// Deblocking on CPUs: smooths the edges of blocks. Equal to nvc_jax/ops/deblocking.py, which explains it.
#ifndef NVC_DEBLOCKING_H_
#define NVC_DEBLOCKING_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "blocks.h"
#include "strided.h"

namespace nvc::deblocking {

// Kernels of one ISA for one precision. They smooth an edge of a block in place.
template <class Number, class Size>
struct Kernels {
  void (*left)(Strided<Number> block, Size size);  // the edge to the block on the left
  void (*upper)(Strided<Number> block, Size size);
};

using Int16Kernels = Kernels<int16_t, int32_t>;
using Uint16Kernels = Kernels<uint16_t, int32_t>;
using Float32Kernels = Kernels<float, float>;

// Null where the processor lacks the ISA. All have the bits of XLA's on CPU.
const Int16Kernels* Avx2Int16Kernels() noexcept;
const Uint16Kernels* Avx2Uint16Kernels() noexcept;
const Float32Kernels* Avx2Float32Kernels() noexcept;

// Pictures to be smoothed.
template <class Number, class Size>
struct Task {
  Shape shape;
  const Number* pictures;
  const Size* sizes;         // [count]: sizes of errors
  const bool* weak_rows;     // [count, rows - 1, columns]: edges below blocks that are smoothed less
  const bool* weak_columns;  // [count, rows, columns - 1]: those on their right
  Number* smooth;            // the result
};

inline int32_t Quarter(int32_t size) noexcept { return (size + 2) >> 2; }
inline float Quarter(float size) noexcept { return size / 4; }

// Copies a row of blocks of all pictures, and smooths the edges between its blocks; rows: [count, rows].
template <class Number, class Size>
void SmoothColumns(const Kernels<Number, Size>& kernels, const Task<Number, Size>& task, size_t row) noexcept {
  const size_t stride = task.shape.width * kChannels, columns = task.shape.columns();
  Number* const first = task.smooth + row * kBlock * stride;
  std::copy_n(task.pictures + row * kBlock * stride, kBlock * stride, first);
  const Size size = task.sizes[row / task.shape.rows()];
  const bool* const weak = task.weak_columns + row * (columns - 1);
  for (size_t column = 1; column < columns; ++column) {
    kernels.left({first + column * kBlock * kChannels, stride}, weak[column - 1] ? Quarter(size) : size);
  }
}

// Smooths an edge between two rows of blocks, once those in them are smooth; edges: [count, rows - 1].
template <class Number, class Size>
void SmoothRows(const Kernels<Number, Size>& kernels, const Task<Number, Size>& task, size_t edge) noexcept {
  const size_t stride = task.shape.width * kChannels, edges = task.shape.rows() - 1, picture = edge / edges;
  Number* const first = task.smooth + (picture * task.shape.rows() + edge % edges + 1) * kBlock * stride;
  const Size size = task.sizes[picture];
  const bool* const weak = task.weak_rows + edge * task.shape.columns();
  for (size_t column = 0; column < task.shape.columns(); ++column) {
    kernels.upper({first + column * kBlock * kChannels, stride}, weak[column] ? Quarter(size) : size);
  }
}

}  // namespace nvc::deblocking

#endif  // NVC_DEBLOCKING_H_
