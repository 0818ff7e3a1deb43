#include "float32_training.h"

#include <algorithm>
#include <vector>

#include "floating_block.h"

namespace nvc::float32 {
namespace {

using BlockLayers = floating::BlockLayers<float>;

constexpr size_t kTileRows = 12;   // only the last part has a part of a tile
constexpr size_t kMostParts = 16;  // each takes as much memory as the parameters

// Where the parameters of the layers, or their gradients, begin in a vector of them.
template <class Number>
struct Parts {
  Number *first, *first_bias, *taps, *taps_bias, *project, *project_bias, *widen, *widen_bias, *narrow, *narrow_bias;

  Parts(Number* all, const BlockShape& shape) noexcept {
    const size_t c = shape.channels, half = shape.half;
    first_bias = (first = all) + c * c;
    taps_bias = (taps = first_bias + c) + 9 * c;
    project_bias = (project = taps_bias + c) + c * c;
    widen_bias = (widen = project_bias + c) + c * 2 * half;
    narrow_bias = (narrow = widen_bias + 2 * half) + half * c;
  }
};

// Weights whose rows and columns are some strides apart, so that a matrix can be its transpose or a part of one.
struct Matrix {
  const float* weights;
  size_t rows, columns, row_stride, column_stride;
};

// Kernels packed at each call, which takes some hundredths of the time of the products.
class Packed {
 public:
  // For a block of a shape, or its transpose.
  Packed(xla::ffi::ThreadPool& pool, const BlockShape& shape) noexcept : pool_(pool) {
    const size_t c = Kernel::padded(shape.channels), half = Kernel::padded(shape.half);
    const size_t widest = std::max(c, half);
    zeros_ = Scratch<float, Packed>(widest + 9 * shape.channels + 2 * c * c + 3 * c * half);
    next_ = std::fill_n(zeros_, widest, 0.0F);
  }

  // Without a bias where that is null.
  Kernel operator()(const Matrix& matrix, const float* bias = nullptr) noexcept {
    const size_t padded = Kernel::padded(matrix.columns);
    const Kernel kernel{next_, bias ? bias : zeros_, matrix.rows, matrix.columns};
    ForEach(pool_, (padded + kPanel - 1) / kPanel, [&](size_t panel) noexcept {
      const size_t start = panel * kPanel, end = std::min(start + kPanel, padded), valid = std::min(end, matrix.columns);
      float* to = next_ + start * matrix.rows;
      for (size_t i = 0; i < matrix.rows; ++i) {
        const float* const from = matrix.weights + i * matrix.row_stride;
        for (size_t n = start; n < valid; ++n) *to++ = from[n * matrix.column_stride];
        to = std::fill_n(to, end - valid, 0.0F);
      }
    });
    next_ += padded * matrix.rows;
    return kernel;
  }

  // Reversed taps, without a bias.
  Taps operator()(const Taps& taps) noexcept {
    const size_t c = taps.channels;
    float* const reversed = next_;
    for (size_t t = 9; t-- > 0;) next_ = std::copy_n(taps.weights + t * c, c, next_);
    return {reversed, zeros_, c};
  }

 private:
  xla::ffi::ThreadPool& pool_;
  float* zeros_;
  float* next_;
};

BlockLayers Pack(Packed& packed, const BlockShape& shape, const Parts<const float>& from) {
  const size_t c = shape.channels, half = shape.half;
  return {packed({from.first, c, c, c, 1}, from.first_bias),
          {from.taps, from.taps_bias, c},
          packed({from.project, c, c, c, 1}, from.project_bias),
          {packed({from.widen, c, half, 2 * half, 1}, from.widen_bias),
           packed({from.widen + half, c, half, 2 * half, 1}, from.widen_bias + half)},
          packed({from.narrow, half, c, c, 1}, from.narrow_bias)};
}

// The transposes, by which gradients go back; the taps are reversed.
BlockLayers PackTransposed(Packed& packed, const BlockShape& shape, const Parts<const float>& from) {
  const size_t c = shape.channels, half = shape.half;
  return {packed({from.first, c, c, 1, c}),
          packed(Taps{from.taps, nullptr, c}),
          packed({from.project, c, c, 1, c}),
          {packed({from.widen, half, c, 1, 2 * half}), packed({from.widen + half, half, c, 1, 2 * half})},
          packed({from.narrow, c, half, 1, c})};
}

}  // namespace

void ForwardBlock(const Kernels& kernels, xla::ffi::ThreadPool& pool, const BlockShape& shape, const float* parameters,
                  const Pictures<float>& x, size_t rows, bool shortcut, float* y, const Kept& kept) {
  const size_t c = shape.channels, half = shape.half;
  Packed packed(pool, shape);
  const BlockLayers block = Pack(packed, shape, {parameters, shape});
  const Pictures<float> activated{kept.activated, x.height, x.width, c};
  if (kept.first == nullptr) {
    floating::MultiplyAll<float>(kernels, pool, block.first, x.data, rows, true, kept.activated);
    floating::RestOfBlock<float>(kernels, pool, block, activated, x.data, rows, shortcut, y);
    return;
  }
  const std::vector<float> zeros(x.width * c);
  ForEachItem(pool, kernels.demands, rows, kMostRows, [&](size_t first, size_t count) noexcept {
    kernels.multiply(block.first, {x.data + first * c, c}, count, {kept.first + first * c, c}, {});
    kernels.activate(kept.first + first * c, count * c, false, kept.activated + first * c, nullptr);
  });
  ForEachItem(pool, kernels.demands, rows, kMostRows, [&](size_t first, size_t count) noexcept {
    float* const filtered = Scratch<float>(count * (c + half));
    float* const halves = filtered + count * c;
    float* const projected = kept.projected + first * c;
    const ConstRows input{x.data + first * c, c};
    FilterPositions(activated, zeros.data(), first, count, filtered, [&](const Around& around, float* to) noexcept {
      kernels.depthwise(block.depthwise, around, to);
    });
    kernels.multiply(block.project, {filtered, c}, count, {projected, c}, {false, {input}});
    for (size_t i = 0; i < 2; ++i) {
      float* const middle = kept.middle[i] + first * half;
      kernels.multiply(block.widen[i], {projected, c}, count, {middle, half}, {});
      kernels.activate(middle, count * half, i > 0, halves, nullptr);
    }
    const Epilogue epilogue{false, {{projected, c}, shortcut ? input : ConstRows{}}};
    kernels.multiply(block.narrow, {halves, half}, count, {y + first * c, c}, epilogue);
  });
}

void BackwardBlock(const Kernels& kernels, xla::ffi::ThreadPool& pool, const BlockShape& shape,
                   const float* parameters, const Pictures<float>& x, const Kept& kept, size_t rows, const float* g,
                   bool shortcut, float* of_x, float* of_parameters, float* work) {
  const size_t c = shape.channels, half = shape.half, size = shape.size();
  const float one = 1.0F;
  Packed packed(pool, shape);
  const Parts<const float> layers(parameters, shape);
  const Taps taps{layers.taps, layers.taps_bias, c};
  const BlockLayers back = PackTransposed(packed, shape, layers);
  const std::vector<float> zeros(x.width * c);
  const Pictures<float> activated{kept.activated, x.height, x.width, c}, of_filtered{work, x.height, x.width, c};

  // Each thread has rows of its own, and sums of its own over them.
  const size_t tiles = (rows + kTileRows - 1) / kTileRows;
  const size_t threads = static_cast<size_t>(std::max<int64_t>(pool.num_threads(), 1));
  const size_t parts = std::max<size_t>(std::min(tiles, threads), 1);  // of no rows, sums of zero
  float* const others = Scratch<float, BlockShape>((parts - 1) * size);
  const auto sums_of = [&](size_t part) { return part == 0 ? of_parameters : others + (part - 1) * size; };
  const auto for_each_item = [&](const auto& work_on) {
    ForEach(pool, parts, [&](size_t part) noexcept {
      const Parts<float> sums(sums_of(part), shape);
      const size_t end = std::min((part + 1) * tiles / parts * kTileRows, rows);
      for (size_t first = part * tiles / parts * kTileRows; first < end; first += kMostRows) {
        work_on(first, std::min(kMostRows, end - first), sums);
      }
    });
  };
  const auto add_products = [&](ConstRows of, ConstRows to, size_t outputs, size_t count, Rows weights, float* bias) {
    kernels.accumulate(of, of.stride, to, outputs, count, weights);
    kernels.accumulate({&one, 0}, 1, to, outputs, count, {bias, outputs});
  };
  ForEach(pool, parts, [&](size_t part) noexcept { std::fill_n(sums_of(part), size, 0.0F); });

  for_each_item([&](size_t first, size_t count, const Parts<float>& sums) noexcept {
    float* const filtered = Scratch<float>(count * (c + 4 * half));
    float* const halves = filtered + count * c;
    float* const of_halves = halves + count * half;
    float* const of_middle[2] = {of_halves + count * half, of_halves + 2 * count * half};
    const ConstRows projected{kept.projected + first * c, c}, of_output{g + first * c, c};
    float* const of_projected = of_x + first * c;
    FilterPositions(activated, zeros.data(), first, count, filtered,
                    [&](const Around& around, float* to) noexcept { kernels.depthwise(taps, around, to); });
    for (size_t i = 0; i < 2; ++i) {
      kernels.activate(kept.middle[i] + first * half, count * half, i > 0, halves, of_middle[i]);
    }
    add_products({halves, half}, of_output, c, count, {sums.narrow, c}, sums.narrow_bias);
    kernels.multiply(back.narrow, of_output, count, {of_halves, half}, {});
    for (size_t i = 0; i < 2; ++i) {
      kernels.scale(of_middle[i], of_halves, count * half);
      add_products(projected, {of_middle[i], half}, half, count, {sums.widen + i * half, 2 * half},
                   sums.widen_bias + i * half);
      const ConstRows before = i == 0 ? of_output : ConstRows{of_projected, c};
      kernels.multiply(back.widen[i], {of_middle[i], half}, count, {of_projected, c}, {false, {before}});
    }
    add_products({filtered, c}, {of_projected, c}, c, count, {sums.project, c}, sums.project_bias);
    kernels.multiply(back.project, {of_projected, c}, count, {work + first * c, c}, {});
  });

  for_each_item([&](size_t first, size_t count, const Parts<float>& sums) noexcept {
    float* const of_first = Scratch<float>(2 * count * c);
    float* const slopes = of_first + count * c;
    float* const mine = work + first * c;
    FilterPositions(of_filtered, zeros.data(), first, count, of_first,
                    [&](const Around& around, float* to) noexcept { kernels.depthwise(back.depthwise, around, to); });
    FilterPositions(activated, zeros.data(), first, count, mine,
                    [&](const Around& around, const float* gradient) noexcept {
                      kernels.accumulate_taps(around, gradient, c, sums.taps);
                    });
    kernels.accumulate({&one, 0}, 1, {mine, c}, c, count, {sums.taps_bias, c});
    kernels.activate(kept.first + first * c, count * c, false, nullptr, slopes);
    kernels.scale(of_first, slopes, count * c);
    add_products({x.data + first * c, c}, {of_first, c}, c, count, {sums.first, c}, sums.first_bias);
    const Epilogue epilogue{false, {{of_x + first * c, c}, shortcut ? ConstRows{g + first * c, c} : ConstRows{}}};
    kernels.multiply(back.first, {of_first, c}, count, {of_x + first * c, c}, epilogue);
  });

  ForEach(pool, parts, [&](size_t part) noexcept {  // a part of all sums
    const size_t end = (part + 1) * size / parts;
    for (size_t other = 1; other < parts; ++other) {
      const float* const from = sums_of(other);
      for (size_t i = part * size / parts; i < end; ++i) of_parameters[i] += from[i];
    }
  });
}

}  // namespace nvc::float32
