// Refinement of vectors in pictures that are no longer than required, compared with plain sums.
#ifndef NVC_FUZZ_REFINEMENT_H_
#define NVC_FUZZ_REFINEMENT_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
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
      // The first step has blocks; others may be empty.
      const int end = known == 0 ? Random(1, std::min(4, blocks)) : Random(known, std::min(known + 40, blocks));
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

struct Costs {
  std::vector<int32_t> choices, differences;

  Costs() : choices(kChoiceRows * kChoices), differences(kDifferenceRows * kDifferences) {
    // So few that candidates often cost the same.
    for (int32_t& cost : choices) cost = Random(0, 40);
    for (int32_t& cost : differences) cost = Random(0, 20);
  }
};

// Knowledge before a block is visited, and bits with it.
class PlainContext {
 public:
  PlainContext(const Field& vectors, const std::vector<bool>& surprising, const Visit& visit, const Costs& costs)
      : costs_(costs) {
    std::array<int, 4> y, x;
    for (size_t i = 0; i < 4; ++i) {
      const auto place = static_cast<size_t>(visit.around[i]);
      neighbours_[i] = vectors[place];
      y[i] = vectors[place].y;
      x[i] = vectors[place].x;
      surprises_ += surprising[place] ? 1 : 0;
    }
    std::sort(y.begin(), y.end());
    std::sort(x.begin(), x.end());
    const auto floor = [](int sum) { return static_cast<int8_t>(std::floor(sum / 2.0)); };
    expected_ = {floor(y[1] + y[2]), floor(x[1] + x[2])};
    row_ = std::count(neighbours_.begin(), neighbours_.end(), Vector{0, 0}) == 4 ? 0 : 1;
    for (const int spread : {1, 2, 4, 8, 16, 32}) row_ += y[3] - y[0] + x[3] - x[0] >= spread ? 1 : 0;
    group_ = std::array<size_t, 8>{0, 0, 1, 1, 1, 2, 2, 3}[row_];
    if (visit.far != 0) row_ += 8;
  }

  Vector expected() const { return expected_; }

  std::array<Vector, 7> Candidates(Vector own) const {
    return {expected_,      neighbours_[0],       neighbours_[1],      neighbours_[2],
            neighbours_[3], {expected_.y, own.x}, {own.y, expected_.x}};
  }

  int Bits(Vector vector) const {
    const bool agree = std::count(neighbours_.begin(), neighbours_.end(), expected_) >= 3;
    const auto choice = [&](size_t i) {
      return costs_.choices[((row_ * 2 + (agree ? 1 : 0)) * 5 + surprises_) * 6 + i];
    };
    if (vector == expected_) return choice(0);
    for (size_t i = 0; i < 4; ++i) {
      if (vector == neighbours_[i]) return choice(1 + i);
    }
    const int dy = (vector.y - expected_.y + 384) % 256 - 128, dx = (vector.x - expected_.x + 384) % 256 - 128;
    const auto difference = [&](size_t row, int d) {
      return costs_.differences[(group_ * 5 + row) * 256 + static_cast<size_t>(d + 128)];
    };
    return choice(5) + difference(0, dy) + difference(static_cast<size_t>(1 + std::min(std::abs(dy), 3)), dx);
  }

 private:
  const Costs& costs_;
  std::array<Vector, 4> neighbours_;
  Vector expected_;
  size_t row_, group_, surprises_ = 0;
};

template <class Number, class Other>
Field PlainlyRefined(const Picture<Number>& picture, const Picture<Other>& reference, Field vectors, const Order& order,
                     const Costs& costs, float scale) {
  std::vector<bool> surprising(vectors.size());
  for (size_t i = 0; i < order.visits.size(); ++i) {
    const Visit& visit = order.visits[i];
    const auto block = static_cast<size_t>(visit.block);
    Vector best = vectors[block], expected{0, 0};
    if (i >= static_cast<size_t>(order.ends[0])) {
      const PlainContext context(vectors, surprising, visit, costs);
      const auto cost = [&](Vector vector) {
        return context.Bits(vector) + CostOf(picture, reference, visit.block, vector, scale);
      };
      int least = cost(best);
      for (const Vector candidate : context.Candidates(best)) {
        const int found = cost(candidate);
        if (found >= least) continue;
        least = found;
        best = candidate;
      }
      expected = context.expected();
    }
    vectors[block] = best;
    surprising[block] = !(best == expected);
  }
  return vectors;
}

template <class Number, class Other>
bool Refines(const Kernels& kernels, const Picture<Number>& picture, const Picture<Other>& reference,
             const Field& vectors, float scale) {
  const Order order(static_cast<int>(vectors.size()));
  const Costs costs;
  const Field right = PlainlyRefined(picture, reference, vectors, order, costs, scale);
  Field found = vectors;
  const Coder coder{order.visits.data(), order.ends.data(), order.ends.size(), costs.choices.data(),
                    costs.differences.data()};
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
    const int reach = 1 << number / 8;
    for (Vector& vector : vectors) {
      const auto component = [&] { return static_cast<int8_t>(Random(0, 2) == 0 ? Random(-reach, reach) : 0); };
      vector = {component(), component()};
    }
  }
  const float scale = std::array{1e-5F, 3.7e-4F, 0.11F, 61.0F}[static_cast<size_t>(number / 2 % 4)];
  const Picture<float> real = Real(picture), other = RandomReal(picture.shape);
  return Refines(kernels, picture, reference, vectors, scale) && Refines(kernels, real, reference, vectors, scale) &&
         Refines(kernels, other, Real(reference), vectors, scale) && Refines(kernels, picture, other, vectors, scale);
}

}  // namespace nvc::motion

#endif  // NVC_FUZZ_REFINEMENT_H_
