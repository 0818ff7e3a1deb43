// Refinement of vectors in pictures that are no longer than required, compared with plain sums.
#ifndef NVC_FUZZ_REFINEMENT_H_
#define NVC_FUZZ_REFINEMENT_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "motion_refinement.h"
#include "moving_pictures.h"

namespace nvc::motion {

// Blocks in any order, in steps of any length; neighbours are any blocks of earlier steps.
struct Order {
  std::vector<Visit> visits;
  std::vector<int32_t> ends;

  explicit Order(int blocks) {
    std::vector<int32_t> shuffled(static_cast<size_t>(blocks));
    std::iota(shuffled.begin(), shuffled.end(), 0);
    std::shuffle(shuffled.begin(), shuffled.end(), generator);
    for (int known = 0; known < blocks;) {
      const int end = known == 0 ? 1 : Random(known, std::min(known + 40, blocks));  // some are empty
      for (int i = known; i < end; ++i) {
        Visit visit{shuffled[static_cast<size_t>(i)], {0, 0, 0, 0}, Random(0, 1)};
        for (int32_t& place : visit.around) {
          place = shuffled[static_cast<size_t>(Random(0, std::max(known - 1, 0)))];
        }
        visits.push_back(visit);
      }
      ends.push_back(known = end);
    }
  }
};

inline int InInt16(int16_t sample) { return sample; }
inline int InInt16(float sample) {
  return static_cast<int>(std::nearbyint(std::clamp(sample * 512, -32768.0F, 32767.0F)));
}

template <class Number, class Other>
int CostOf(const Picture<Number>& picture, const Picture<Other>& reference, int32_t block, Vector vector, float scale) {
  const auto columns = static_cast<int32_t>(picture.shape.columns());
  int32_t error = 0;
  for (int i = 0; i < 16 * 16 * 3; ++i) {
    const int y = block / columns * 16 + i / 48, x = block % columns * 16 + i % 48 / 3;
    const auto channel = static_cast<size_t>(i % 3);
    const int difference = InInt16(picture.at(y, x, channel)) - InInt16(Moved(reference, y, x, vector, channel));
    error += (channel == 0 ? 6 : 1) * difference * difference;
  }
  return static_cast<int>(std::min(std::nearbyint(static_cast<float>(error) * scale), 268435456.0F));
}

template <class Number, class Other>
Field PlainlyRefined(const Picture<Number>& picture, const Picture<Other>& reference, Field vectors, const Order& order,
                     const std::vector<int32_t>& costs, float scale) {
  for (const Visit& visit : order.visits) {
    if (visit.block == order.visits[0].block) continue;
    std::array<int, 4> y, x;
    bool still = true;
    for (size_t i = 0; i < 4; ++i) {
      const Vector near = vectors[static_cast<size_t>(visit.around[i])];
      y[i] = near.y;
      x[i] = near.x;
      still = still && near.y == 0 && near.x == 0;
    }
    std::sort(y.begin(), y.end());
    std::sort(x.begin(), x.end());
    const auto floor = [](int sum) { return static_cast<int8_t>(std::floor(sum / 2.0)); };
    const Vector expected{floor(y[1] + y[2]), floor(x[1] + x[2])};
    size_t row = still ? 0 : 1;
    for (const int spread : {1, 2, 4, 8, 16, 32}) row += y[3] - y[0] + x[3] - x[0] >= spread;
    if (visit.far != 0) row += 8;
    Vector& vector = vectors[static_cast<size_t>(visit.block)];
    const auto cost = [&](int difference) { return costs[row * 256 + static_cast<size_t>((difference + 384) % 256)]; };
    const int saved = cost(vector.y - expected.y) + cost(vector.x - expected.x) - 2 * cost(0);
    const int instead = CostOf(picture, reference, visit.block, expected, scale);
    if (instead - CostOf(picture, reference, visit.block, vector, scale) < saved) vector = expected;
  }
  return vectors;
}

template <class Number, class Other>
bool Refines(const Kernels& kernels, const Picture<Number>& picture, const Picture<Other>& reference,
             const Field& vectors, float scale) {
  const Order order(static_cast<int>(vectors.size()));
  std::vector<int32_t> costs(kTableRows * kDifferences);
  for (int32_t& cost : costs) cost = Random(0, 300);
  for (size_t row = 0; row < kTableRows; ++row) costs[row * kDifferences + 128] = Random(0, 10);
  const Field right = PlainlyRefined(picture, reference, vectors, order, costs, scale);
  Field found = vectors;
  const Coder coder{order.visits.data(), order.ends.data(), order.ends.size(), costs.data()};
  Refinement refinement(kernels, picture.shape, PixelsOf(picture), PixelsOf(reference), &scale, coder, found.data());
  for (size_t step = 1; step < coder.steps; ++step) {
    for (size_t i = refinement.items(step); i-- > 0;) refinement.Run(step, i);
  }
  return found == right;
}

// In all precisions, from vectors nearly alike and from any, with errors that count for little and for much.
inline bool Refines(const Kernels& kernels, const Picture<int16_t>& picture, const Picture<int16_t>& reference,
                    int number) {
  Field vectors = RandomField(picture.shape);
  if (number % 2 == 0) {
    for (Vector& vector : vectors)
      vector = Random(0, 2) == 0 ? Vector{0, static_cast<int8_t>(Random(-2, 2))} : Vector{};
  }
  const float scale = std::array{1e-5F, 3.7e-4F, 0.11F, 61.0F}[static_cast<size_t>(number / 2 % 4)];
  const Picture<float> real = Real(picture), other = RandomReal(picture.shape);
  return Refines(kernels, picture, reference, vectors, scale) && Refines(kernels, real, reference, vectors, scale) &&
         Refines(kernels, other, Real(reference), vectors, scale) && Refines(kernels, picture, other, vectors, scale);
}

}  // namespace nvc::motion

#endif  // NVC_FUZZ_REFINEMENT_H_
