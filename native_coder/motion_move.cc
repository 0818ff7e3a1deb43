// Moving blocks: the kernels get windows, which at the border are copies.
#include <algorithm>

#include "motion.h"

namespace nvc::motion {
namespace {

constexpr size_t kLine = kBlock * kChannels, kWide = kWindow * kChannels;

// Calls use(window); `line` and `column` are the first of the window, and may be beyond the picture.
template <class Number, class Use>
void UseWindow(const Shape& shape, const Number* picture, ptrdiff_t line, ptrdiff_t column, const Use& use) {
  const size_t stride = shape.width * kChannels;
  const auto lines = static_cast<ptrdiff_t>(shape.height), columns = static_cast<ptrdiff_t>(shape.width);
  constexpr auto kSide = static_cast<ptrdiff_t>(kWindow);
  if (line >= 0 && column >= 0 && line + kSide <= lines && column + kSide <= columns) {
    const size_t first = static_cast<size_t>(line) * stride + static_cast<size_t>(column) * kChannels;
    return use(Strided<const Number>{picture + first, stride});
  }
  Number window[kWindow * kWide];
  for (ptrdiff_t i = 0; i < kSide; ++i) {
    const Number* const from = picture + static_cast<size_t>(std::clamp<ptrdiff_t>(line + i, 0, lines - 1)) * stride;
    for (ptrdiff_t j = 0; j < kSide; ++j) {
      const auto pixel = static_cast<size_t>(std::clamp<ptrdiff_t>(column + j, 0, columns - 1));
      std::copy_n(from + pixel * kChannels, kChannels, window + static_cast<size_t>(i * kSide + j) * kChannels);
    }
  }
  use(Strided<const Number>{window, kWide});
}

template <class Number, class Move>
void MoveOne(const Shape& shape, const Number* picture, size_t row, size_t column, Vector vector, Strided<Number> out,
             const Move& move) noexcept {
  const ptrdiff_t line = static_cast<ptrdiff_t>(row * kBlock) + Whole(vector.y) - static_cast<ptrdiff_t>(kBefore);
  const ptrdiff_t left = static_cast<ptrdiff_t>(column * kBlock) + Whole(vector.x) - static_cast<ptrdiff_t>(kBefore);
  UseWindow(shape, picture, line, left,
            [&](Strided<const Number> window) { move(window, Phase(vector.y), Phase(vector.x), out); });
}

template <class Number>
void MoveBlocks(const Kernels& kernels, const Shape& shape, const Number* pictures, const Vector* vectors, size_t row,
                Number* out) noexcept {
  const size_t stride = shape.width * kChannels, columns = shape.columns();
  const Number* const picture = pictures + row / shape.rows() * shape.height * stride;
  Number* const result = out + row * kBlock * stride;
  for (size_t column = 0; column < columns; ++column) {
    MoveBlock(kernels, shape, picture, row % shape.rows(), column, vectors[row * columns + column],
              {result + column * kLine, stride});
  }
}

struct Taps {
  float weights[kTaps];

  explicit Taps(int phase) noexcept {
    for (size_t k = 0; k < kTaps; ++k) weights[k] = static_cast<float>(kWeights[phase][k]) / 64.0F;
  }
};

// The gradient of a window from that of the block that it gives; blocked where the block was clamped and is pushed on.
void GradientOfBlock(Strided<const float> window, const Taps& vertical, const Taps& horizontal, Strided<const float> g,
                     float (&of_window)[kWindow][kWide]) noexcept {
  float rows[kWindow][kLine], of_rows[kWindow][kLine] = {};
  for (size_t r = 0; r < kWindow; ++r) {
    for (size_t i = 0; i < kLine; ++i) {
      float sum = 0.0F;
      for (size_t k = 0; k < kTaps; ++k)
        sum += horizontal.weights[k] * window.data[r * window.stride + i + k * kChannels];
      rows[r][i] = sum;
    }
  }
  for (size_t r = 0; r < kBlock; ++r) {
    float passed[kLine];
    for (size_t i = 0; i < kLine; ++i) {
      float sum = 0.0F;
      for (size_t k = 0; k < kTaps; ++k) sum += vertical.weights[k] * rows[r + k][i];
      const float gradient = g.data[r * g.stride + i];
      passed[i] = (sum >= 0.0F || gradient < 0.0F) && (sum <= 1.0F || gradient > 0.0F) ? gradient : 0.0F;
    }
    for (size_t k = 0; k < kTaps; ++k) {
      for (size_t i = 0; i < kLine; ++i) of_rows[r + k][i] += vertical.weights[k] * passed[i];
    }
  }
  for (size_t r = 0; r < kWindow; ++r) {
    std::fill_n(of_window[r], kWide, 0.0F);
    for (size_t k = 0; k < kTaps; ++k) {
      for (size_t i = 0; i < kLine; ++i) of_window[r][i + k * kChannels] += horizontal.weights[k] * of_rows[r][i];
    }
  }
}

}  // namespace

void GradientOfMoved(const Shape& shape, const float* pictures, const Vector* vectors, const float* g, size_t number,
                     float* of_pictures) noexcept {
  const size_t stride = shape.width * kChannels, numbers = shape.height * stride;
  const float* const picture = pictures + number * numbers;
  float* const result = of_pictures + number * numbers;
  std::fill_n(result, numbers, 0.0F);
  const auto lines = static_cast<ptrdiff_t>(shape.height), columns = static_cast<ptrdiff_t>(shape.width);
  for (size_t block = 0; block < shape.rows() * shape.columns(); ++block) {
    const Vector vector = vectors[number * shape.rows() * shape.columns() + block];
    const size_t row = block / shape.columns() * kBlock, column = block % shape.columns() * kBlock;
    const ptrdiff_t line = static_cast<ptrdiff_t>(row) + Whole(vector.y) - static_cast<ptrdiff_t>(kBefore);
    const ptrdiff_t left = static_cast<ptrdiff_t>(column) + Whole(vector.x) - static_cast<ptrdiff_t>(kBefore);
    float of_window[kWindow][kWide];
    UseWindow(shape, picture, line, left, [&](Strided<const float> window) {
      const Strided<const float> of_block{g + number * numbers + row * stride + column * kChannels, stride};
      GradientOfBlock(window, Taps(Phase(vector.y)), Taps(Phase(vector.x)), of_block, of_window);
    });
    for (size_t i = 0; i < kWindow; ++i) {  // beyond the border, to the pixels there
      const ptrdiff_t to = std::clamp<ptrdiff_t>(line + static_cast<ptrdiff_t>(i), 0, lines - 1);
      for (size_t j = 0; j < kWindow; ++j) {
        const ptrdiff_t pixel = std::clamp<ptrdiff_t>(left + static_cast<ptrdiff_t>(j), 0, columns - 1);
        float* const at = result + static_cast<size_t>(to) * stride + static_cast<size_t>(pixel) * kChannels;
        for (size_t c = 0; c < kChannels; ++c) at[c] += of_window[i][j * kChannels + c];
      }
    }
  }
}

void MoveBlock(const Kernels& kernels, const Shape& shape, const int16_t* picture, size_t row, size_t column,
               Vector vector, Strided<int16_t> out) noexcept {
  MoveOne(shape, picture, row, column, vector, out, kernels.move_int16);
}

void MoveBlock(const Kernels& kernels, const Shape& shape, const uint16_t* picture, size_t row, size_t column,
               Vector vector, Strided<uint16_t> out) noexcept {
  MoveOne(shape, picture, row, column, vector, out, kernels.move_uint16);
}

void MoveBlock(const Kernels& kernels, const Shape& shape, const float* picture, size_t row, size_t column,
               Vector vector, Strided<float> out) noexcept {
  MoveOne(shape, picture, row, column, vector, out, kernels.move_float32);
}

void MoveRow(const Kernels& kernels, const Shape& shape, const int16_t* pictures, const Vector* vectors, size_t row,
             int16_t* out) noexcept {
  MoveBlocks(kernels, shape, pictures, vectors, row, out);
}

void MoveRow(const Kernels& kernels, const Shape& shape, const uint16_t* pictures, const Vector* vectors, size_t row,
             uint16_t* out) noexcept {
  MoveBlocks(kernels, shape, pictures, vectors, row, out);
}

void MoveRow(const Kernels& kernels, const Shape& shape, const float* pictures, const Vector* vectors, size_t row,
             float* out) noexcept {
  MoveBlocks(kernels, shape, pictures, vectors, row, out);
}

}  // namespace nvc::motion
