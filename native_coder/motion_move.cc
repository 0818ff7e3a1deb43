// Moving blocks: the kernels get windows, which at the border are copies.
#include <algorithm>

#include "motion.h"

namespace nvc::motion {
namespace {

constexpr size_t kLine = kBlock * kChannels, kWide = kWindow * kChannels;

// Moves a block; `line` and `column` are the first of its window, and may be beyond the picture.
template <class Number, class Move>
void MoveBlock(const Shape& shape, const Number* picture, ptrdiff_t line, ptrdiff_t column, const Move& move) {
  const size_t stride = shape.width * kChannels;
  const auto lines = static_cast<ptrdiff_t>(shape.height), columns = static_cast<ptrdiff_t>(shape.width);
  constexpr auto kSide = static_cast<ptrdiff_t>(kWindow);
  if (line >= 0 && column >= 0 && line + kSide <= lines && column + kSide <= columns) {
    const size_t first = static_cast<size_t>(line) * stride + static_cast<size_t>(column) * kChannels;
    return move(Strided<const Number>{picture + first, stride});
  }
  Number window[kWindow * kWide];
  for (ptrdiff_t i = 0; i < kSide; ++i) {
    const Number* const from = picture + static_cast<size_t>(std::clamp<ptrdiff_t>(line + i, 0, lines - 1)) * stride;
    for (ptrdiff_t j = 0; j < kSide; ++j) {
      const auto pixel = static_cast<size_t>(std::clamp<ptrdiff_t>(column + j, 0, columns - 1));
      std::copy_n(from + pixel * kChannels, kChannels, window + static_cast<size_t>(i * kSide + j) * kChannels);
    }
  }
  move(Strided<const Number>{window, kWide});
}

template <class Number, class Move>
void MoveBlocks(const Shape& shape, const Number* pictures, const Vector* vectors, size_t row, Number* out,
                const Move& move) noexcept {
  const size_t stride = shape.width * kChannels, columns = shape.columns();
  const Number* const picture = pictures + row / shape.rows() * shape.height * stride;
  Number* const result = out + row * kBlock * stride;
  const auto first = static_cast<ptrdiff_t>(row % shape.rows() * kBlock);
  for (size_t column = 0; column < columns; ++column) {
    const Vector vector = vectors[row * columns + column];
    const ptrdiff_t line = first + Whole(vector.y) - static_cast<ptrdiff_t>(kBefore);
    const ptrdiff_t left = static_cast<ptrdiff_t>(column * kBlock) + Whole(vector.x) - static_cast<ptrdiff_t>(kBefore);
    MoveBlock(shape, picture, line, left, [&](Strided<const Number> window) {
      move(window, Phase(vector.y), Phase(vector.x), Strided<Number>{result + column * kLine, stride});
    });
  }
}

}  // namespace

void MoveRow(const Kernels& kernels, const Shape& shape, const int16_t* pictures, const Vector* vectors, size_t row,
             int16_t* out) noexcept {
  MoveBlocks(shape, pictures, vectors, row, out, kernels.move_int16);
}

void MoveRow(const Kernels& kernels, const Shape& shape, const float* pictures, const Vector* vectors, size_t row,
             float* out) noexcept {
  MoveBlocks(shape, pictures, vectors, row, out, kernels.move_float32);
}

}  // namespace nvc::motion
