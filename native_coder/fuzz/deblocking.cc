// Smooths the edges of blocks of pictures that are no longer than required, so that the address sanitizer sees any
// access beyond, and compares the results with the filter taken line by line.
#include "deblocking.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <vector>

namespace {

using namespace nvc;
using namespace nvc::deblocking;

std::mt19937 generator(1);

int Random(int first, int last) { return std::uniform_int_distribution<int>(first, last)(generator); }

constexpr int kBounds[]{10, 26, 64, 128}, kCaps[]{128, 128, 96, 77, 51}, kEnds[]{384, 384, 288, 512, 1024};
constexpr int kRamps[5][8] = {{74, 59, 45, 35, 29, 24, 18, 14},
                              {68, 44, 26, 17, 13, 10, 8, 6},
                              {60, 24, 6, 5, 3, 3, 3, 3},
                              {49, 11, 0, 3, 0, 0, 0, 0},
                              {13, -3, 1, 0, 0, 0, 0, 0}};

int32_t Shifted(int32_t x, int bits) { return (x + (1 << bits >> 1)) >> bits; }
float Shifted(float x, int bits) { return std::ldexp(x, -bits); }
int32_t Excess(int32_t a, int32_t b) { return 9 * a - 3 * b; }
float Excess(float a, float b) { return std::fma(9.0F, a, -(3 * b)); }

// Filters four lines, given by their q0 and the distance of their samples.
template <class Number, class Size>
void Filter(const std::array<Number*, 4>& lines, ptrdiff_t step, Size size, Size largest) {
  Size curvature = 0;
  for (const Number* q : lines) {
    const auto at = [&](ptrdiff_t i) { return static_cast<Size>(q[i * step]); };
    curvature += std::abs(at(-3) - 2 * at(-2) + at(-1)) + std::abs(at(2) - 2 * at(1) + at(0));
  }
  size_t number = 0;
  for (const int bound : kBounds) number += 256 * curvature >= static_cast<Size>(bound) * size ? 1 : 0;
  const Size cap = Shifted(static_cast<Size>(kCaps[number]) * size, 10);
  const Size end = Shifted(static_cast<Size>(kEnds[number]) * size, 10);
  for (Number* q : lines) {
    const auto at = [&](ptrdiff_t i) { return static_cast<Size>(q[i * step]); };
    const Size excess = Shifted(Excess(at(0) - at(-1), at(1) - at(-2)), 4);
    const Size limited = std::min({std::abs(excess), cap, std::max(end - std::abs(excess), Size{0})});
    for (ptrdiff_t i = 0; i < 8; ++i) {
      const Size correction = Shifted(static_cast<Size>(kRamps[number][i]) * (excess < 0 ? -limited : limited), 6);
      Number &p = q[-(i + 1) * step], &own = q[i * step];
      p = static_cast<Number>(std::clamp(static_cast<Size>(p) + correction, Size{0}, largest));
      own = static_cast<Number>(std::clamp(static_cast<Size>(own) - correction, Size{0}, largest));
    }
  }
}

template <class Number, class Size>
bool Smooths(const Kernels<Number, Size>& kernels, const Shape& shape, const std::vector<Number>& pictures,
             const std::vector<Size>& sizes, Size largest) {
  const size_t rows = shape.rows(), columns = shape.columns(), stride = shape.width * kChannels;
  const auto mask = [](size_t count) {
    auto weak = std::make_unique<bool[]>(count);
    for (size_t i = 0; i < count; ++i) weak[i] = Random(0, 2) == 0;
    return weak;
  };
  const auto weak_rows = mask(shape.count * (rows - 1) * columns);
  const auto weak_columns = mask(shape.count * rows * (columns - 1));

  std::vector<Number> right = pictures, found(pictures.size());
  const auto edge = [&](size_t line, size_t column, size_t along, size_t step, Size size) {  // of one block
    Number* const first = right.data() + line * stride + column * kChannels;
    for (size_t i = 0; i < kBlock; i += 4) {
      for (size_t c = 0; c < kChannels; ++c) {
        std::array<Number*, 4> lines;
        for (size_t j = 0; j < lines.size(); ++j) lines[j] = first + (i + j) * along + c;
        Filter<Number, Size>(lines, static_cast<ptrdiff_t>(step), size, largest);
      }
    }
  };
  for (size_t row = 0; row < shape.count * rows; ++row) {
    for (size_t column = 1; column < columns; ++column) {
      const Size size = sizes[row / rows];
      const bool weak = weak_columns[row * (columns - 1) + column - 1];
      edge(row * kBlock, column * kBlock, stride, kChannels, weak ? Shifted(size, 2) : size);
    }
  }
  for (size_t row = 0; row < shape.count * rows; ++row) {
    if (row % rows == 0) continue;
    for (size_t column = 0; column < columns; ++column) {
      const Size size = sizes[row / rows];
      const bool weak = weak_rows[(row - row / rows - 1) * columns + column];
      edge(row * kBlock, column * kBlock, kChannels, stride, weak ? Shifted(size, 2) : size);
    }
  }

  const Task<Number, Size> task{shape,           pictures.data(),    sizes.data(),
                                weak_rows.get(), weak_columns.get(), found.data()};
  for (size_t row = shape.count * rows; row-- > 0;) SmoothColumns(kernels, task, row);
  for (size_t i = shape.count * (rows - 1); i-- > 0;) SmoothRows(kernels, task, i);
  return found == right;
}

}  // namespace

int main() {
  int isas = 0;
  if (Avx2Int16Kernels() != nullptr) {
    ++isas;
    for (int i = 0; i < 200; ++i) {
      const Shape shape{static_cast<size_t>(Random(1, 3)), 16 * static_cast<size_t>(Random(1, 5)),
                        16 * static_cast<size_t>(Random(1, 4))};
      const bool any = i % 10 == 0;  // all numbers of 16 bits, else samples
      const int contrast = std::array{2, 12, 60, 400}[static_cast<size_t>(i % 4)], level = Random(0, kScale);
      std::vector<int16_t> pictures(shape.count * shape.height * shape.width * kChannels);
      for (int16_t& x : pictures) {
        const int near = std::clamp(level + Random(-contrast, contrast), 0, kScale);
        x = static_cast<int16_t>(any ? Random(INT16_MIN, INT16_MAX) : near);
      }
      std::vector<int32_t> sizes(shape.count);
      for (int32_t& size : sizes) size = i % 7 == 0 ? Random(0, 8192) : Random(0, 900);
      std::vector<uint16_t> fine;
      for (const int16_t x : pictures) {
        const int sample = std::clamp(kFineScale / kScale * x + Random(-3, 3), 0, kFineScale);
        fine.push_back(static_cast<uint16_t>(any ? x : sample));
      }
      std::vector<int32_t> fine_sizes;
      for (const int32_t size : sizes) fine_sizes.push_back(kFineScale / kScale * size + Random(0, 7));
      std::vector<float> real, real_sizes;
      for (const int16_t x : pictures) {
        real.push_back((static_cast<float>(x) + std::uniform_real_distribution<float>(-0.5F, 0.5F)(generator)) /
                       kScale);
      }
      for (const int32_t size : sizes) real_sizes.push_back(static_cast<float>(size) / kScale);
      if (!Smooths(*Avx2Int16Kernels(), shape, pictures, sizes, int32_t{kScale}) ||
          !Smooths(*Avx2Uint16Kernels(), shape, fine, fine_sizes, int32_t{kFineScale}) ||
          !Smooths(*Avx2Float32Kernels(), shape, real, real_sizes, 1.0F)) {
        std::printf("wrong edges in %zu x %zu pixels, case %d\n", shape.height, shape.width, i);
        return 1;
      }
    }
  }
  std::printf("deblocking kernels of %d ISAs are exact and keep within bounds\n", isas);
}
