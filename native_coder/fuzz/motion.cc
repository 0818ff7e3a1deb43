// Searches and moves blocks of pictures that are no longer than required, so that the address sanitizer sees any access
// beyond, and compares the results with plain sums.
#include "motion.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "moving_pictures.h"
#include "refinement.h"

namespace {

using namespace nvc;
using namespace nvc::motion;

template <class Number>
bool Moves(const Kernels& kernels, const Picture<Number>& picture, const Field& vectors) {
  const Shape& shape = picture.shape;
  std::vector<Number> moved(picture.numbers.size());
  for (size_t row = 0; row < shape.rows(); ++row) {
    MoveRow(kernels, shape, picture.numbers.data(), vectors.data(), row, moved.data());
  }
  for (size_t i = 0; i < moved.size(); ++i) {
    const size_t pixel = i / kChannels, y = pixel / shape.width, x = pixel % shape.width;
    const Vector vector = vectors[y / kBlock * shape.columns() + x / kBlock];
    if (moved[i] != Moved(picture, static_cast<int>(y), static_cast<int>(x), vector, i % kChannels)) return false;
  }
  return true;
}

// Moving keeps the sum of weights, so where nothing is clamped a gradient keeps its sum in every channel.
bool Spreads(const Shape& shape, const Field& vectors) {
  const size_t numbers = shape.height * shape.width * kChannels;
  std::vector<float> grey(numbers, 0.5F), gradient(numbers), result(numbers);
  for (float& x : gradient) x = std::uniform_real_distribution<float>(0.0F, 1.0F)(generator);
  GradientOfMoved(shape, grey.data(), vectors.data(), gradient.data(), 0, result.data());
  for (size_t c = 0; c < kChannels; ++c) {
    double given = 0, found = 0;
    for (size_t i = c; i < numbers; i += kChannels) {
      given += double{gradient[i]};
      found += double{result[i]};
    }
    if (std::abs(found - given) > 1e-4 * given) return false;
  }
  return true;
}

// The search of one picture, in eighths of an absolute difference.
class Plain {
 public:
  Plain(const Picture<int16_t>& picture, const Picture<int16_t>& reference, const Prices& prices)
      : picture_(picture), reference_(reference), prices_(prices), shape_(picture.shape) {}

  Field Vectors() const {
    Field vectors = Coarse();
    vectors = Step(vectors, [](const Around& around) { return Near(around); });
    vectors = Step(vectors, [](const Around& around) { return Square(around[4], 4, {-3, -2, -1, 0, 1, 2, 3}); });
    for (const int step : {2, 1}) {
      vectors = Step(vectors, [&](const Around& around) { return Square(around[4], step, {0, 1, -1}); });
    }
    for (int i = 0; i < 2; ++i) vectors = Step(vectors, [](const Around& around) { return Near(around); });
    return vectors;
  }

 private:
  using Around = std::array<Vector, 9>;

  static Field Near(const Around& around) { return {around[4], around[1], around[3], around[5], around[7], {0, 0}}; }

  static Field Square(Vector vector, int step, const std::vector<int>& offsets) {
    Field all;
    for (const int dy : offsets) {
      for (const int dx : offsets) {
        all.push_back({static_cast<int8_t>(vector.y + dy * step), static_cast<int8_t>(vector.x + dx * step)});
      }
    }
    return all;
  }

  Vector At(const Field& field, int row, int column) const {
    row = std::clamp(row, 0, static_cast<int>(shape_.rows()) - 1);
    column = std::clamp(column, 0, static_cast<int>(shape_.columns()) - 1);
    return field[static_cast<size_t>(row) * shape_.columns() + static_cast<size_t>(column)];
  }

  int Small(const Picture<int16_t>& picture, int y, int x) const {
    y = std::clamp(y, 0, static_cast<int>(shape_.height) / 4 - 1);
    x = std::clamp(x, 0, static_cast<int>(shape_.width) / 4 - 1);
    int sum = 0;
    for (int i = 0; i < 16; ++i) sum += picture.at(4 * y + i / 4, 4 * x + i % 4, 0);
    return sum;
  }

  Field Coarse() const {
    const int rows = static_cast<int>(shape_.rows()), columns = static_cast<int>(shape_.columns());
    std::vector<int> best(shape_.rows() * shape_.columns(), INT32_MAX), differences(best.size());
    Field vectors(best.size());
    for (const Vector vector : Square({0, 0}, 16, {-7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7})) {
      for (size_t i = 0; i < best.size(); ++i) {
        const int y = static_cast<int>(i) / columns * 4, x = static_cast<int>(i) % columns * 4;
        differences[i] = 0;
        for (int j = 0; j < 16; ++j) {
          const int dy = y + j / 4, dx = x + j % 4;
          differences[i] +=
              std::abs(Small(picture_, dy, dx) - Small(reference_, dy + vector.y / 16, dx + vector.x / 16));
        }
      }
      for (size_t i = 0; i < best.size(); ++i) {
        const int row = static_cast<int>(i) / columns, column = static_cast<int>(i) % columns;
        const auto at = [&](int y, int x) {
          return differences[static_cast<size_t>(std::clamp(y, 0, rows - 1) * columns + std::clamp(x, 0, columns - 1))];
        };
        const int around = at(row - 1, column) + at(row + 1, column) + at(row, column - 1) + at(row, column + 1);
        const int bits = prices_.bits[std::abs(vector.y)] + prices_.bits[std::abs(vector.x)];
        const int cost = 4 * differences[i] + around + 2 * *prices_.of_a_bit * bits;
        if (cost >= best[i]) continue;
        best[i] = cost;
        vectors[i] = vector;
      }
    }
    return vectors;
  }

  template <class Candidates>
  Field Step(const Field& before, const Candidates& candidates) const {
    Field after = before;
    for (size_t i = 0; i < before.size(); ++i) {
      const int row = static_cast<int>(i / shape_.columns()), column = static_cast<int>(i % shape_.columns());
      Around around;
      std::array<int, 9> y, x;
      for (int j = 0; j < 9; ++j) {
        const auto k = static_cast<size_t>(j);
        around[k] = At(before, row + j / 3 - 1, column + j % 3 - 1);
        y[k] = around[k].y;
        x[k] = around[k].x;
      }
      std::sort(y.begin(), y.end());
      std::sort(x.begin(), x.end());
      const bool still = std::count(around.begin(), around.end(), Vector{0, 0}) >= prices_.still;
      int best = INT32_MAX;
      for (const Vector candidate : candidates(around)) {
        const int dy = candidate.y - y[4], dx = candidate.x - x[4];
        int bits = prices_.bits[std::abs(dy)] + prices_.bits[std::abs(dx)];
        if (still && (dy != 0 || dx != 0)) bits += prices_.surprise;
        int cost = *prices_.of_a_bit * bits;
        for (int j = 0; j < 256; ++j) {
          const int line = row * 16 + j / 16, pixel = column * 16 + j % 16;
          cost += 4 * std::abs(picture_.at(line, pixel, 0) - Moved(reference_, line, pixel, candidate, 0));
        }
        if (cost >= best) continue;
        best = cost;
        after[i] = candidate;
      }
    }
    return after;
  }

  const Picture<int16_t>&picture_, &reference_;
  const Prices prices_;
  const Shape shape_;
};

bool Searches(const Kernels& kernels, const Picture<int16_t>& picture, const Picture<int16_t>& reference, int price) {
  std::vector<int32_t> bits(kBits);
  for (size_t i = 0; i < kBits; ++i) bits[i] = static_cast<int32_t>(std::lround(8 * std::log2(1.0 + double(i))));
  const std::vector<int32_t> of_a_bit{price};
  const Prices prices{of_a_bit.data(), bits.data(), 24, 6};
  const Field right = Plain(picture, reference, prices).Vectors();
  const Picture<float> real = Real(picture), real_reference = Real(reference);
  for (const bool whole : {false, true}) {
    const Pixels pictures = whole ? PixelsOf(picture) : PixelsOf(real);
    const Pixels references = whole ? PixelsOf(reference) : PixelsOf(real_reference);
    Field found(right.size());
    Search search(kernels, picture.shape, pictures, references, prices, found.data());
    for (size_t step = 0; step < Search::kSteps; ++step) {
      for (size_t i = search.items(step); i-- > 0;) search.Run(step, i);
    }
    if (found != right) return false;
  }
  return Moves(kernels, reference, right) && Moves(kernels, real_reference, right);
}

}  // namespace

int main() {
  int isas = 0;
  for (const Kernels* kernels : {Avx2Kernels()}) {
    if (kernels == nullptr) continue;
    ++isas;
    for (int i = 0; i < 40; ++i) {
      const Shape shape{1, 16 * static_cast<size_t>(Random(1, 5)), 16 * static_cast<size_t>(Random(1, 4))};
      const auto square = static_cast<size_t>(1 + i % 4 * 2);
      const auto reference =
          Noise(shape, square, std::array{2, 9, 513, 1}[static_cast<size_t>(i / 4 % 4)], i % 2 == 0 ? kScale : 12);
      const auto picture =
          i % 5 == 0 ? Noise(shape, square, 513, kScale) : Changed(reference, i % 10, i < 20 ? 120 : 6, i % 7);
      const Field vectors = RandomField(shape);
      const Picture<float> real = RandomReal(shape);
      const int price = std::array{0, 3, 20, 179}[static_cast<size_t>(Random(0, 3))];
      if (!Searches(*kernels, picture, reference, price) || !Moves(*kernels, picture, vectors) ||
          !Moves(*kernels, Fine(picture), vectors) || !Moves(*kernels, real, vectors) || !Spreads(shape, vectors) ||
          !Refines(*kernels, picture, reference, i)) {
        std::printf("wrong motion of %zu x %zu pixels, case %d\n", shape.height, shape.width, i);
        return 1;
      }
    }
  }
  std::printf("motion kernels of %d ISAs are exact and keep within bounds\n", isas);
}
