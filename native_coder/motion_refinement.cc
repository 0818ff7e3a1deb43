// Only blocks whose vector is not the expected one are moved, each with these two vectors.
#include "motion_refinement.h"

#include <algorithm>
#include <cmath>

namespace nvc::motion {
namespace {

constexpr size_t kAtOnce = 16;  // blocks of a work item
constexpr size_t kLine = kBlock * kChannels;
constexpr int kSpreads = 6;  // of neighbours, at powers of two, from which on the next row of the table is used
constexpr float kMost = 1 << 28;

struct Expected {
  Vector vector;
  size_t row;  // of the table
};

struct Middle {
  int8_t value;
  int spread;
};

// The mean of the two in the middle of four, rounded down.
Middle MiddleOf(int a, int b, int c, int d) {
  const int least = std::min(std::min(a, b), std::min(c, d)), largest = std::max(std::max(a, b), std::max(c, d));
  return {static_cast<int8_t>((a + b + c + d - least - largest) >> 1), largest - least};
}

Expected Expect(const Vector* vectors, const Visit& visit) {
  Vector near[4];
  for (size_t i = 0; i < 4; ++i) near[i] = vectors[visit.around[i]];
  const Middle y = MiddleOf(near[0].y, near[1].y, near[2].y, near[3].y);
  const Middle x = MiddleOf(near[0].x, near[1].x, near[2].x, near[3].x);
  const int spread = y.spread + x.spread;
  int row = 0;
  if (spread != 0 || !(near[0] == Vector{0, 0})) {
    row = 1;
    for (int i = 0; i < kSpreads; ++i) row += spread >= 1 << i;
  }
  return {{y.value, x.value}, static_cast<size_t>(row) + (visit.far != 0 ? kTableRows / 2 : 0)};
}

// Costs of a difference beyond those of none. It is coded modulo 256.
int32_t Extra(const int32_t* costs, int difference) {
  return costs[static_cast<uint8_t>(difference + 128)] - costs[128];
}

// The first sample of a block in pictures.
size_t Start(const Shape& shape, size_t picture, size_t block) {
  const size_t row = block / shape.columns(), column = block % shape.columns();
  return ((picture * shape.height + row * kBlock) * shape.width + column * kBlock) * kChannels;
}

}  // namespace

size_t Refinement::parts(size_t step) const noexcept { return (end(step) - first(step) + kAtOnce - 1) / kAtOnce; }

void Refinement::Run(size_t step, size_t item) noexcept {
  const size_t from = first(step) + item % parts(step) * kAtOnce, to = std::min(from + kAtOnce, end(step));
  for (size_t i = from; i < to; ++i) Refine(item / parts(step), coder_.visits[i]);
}

void Refinement::Refine(size_t picture, const Visit& visit) noexcept {
  Vector* const vectors = vectors_ + picture * shape_.rows() * shape_.columns();
  const auto block = static_cast<size_t>(visit.block);
  const Expected expected = Expect(vectors, visit);
  const Vector vector = vectors[block];
  if (vector == expected.vector) return;
  const int32_t* const costs = coder_.costs + expected.row * kDifferences;
  const int32_t saved = Extra(costs, vector.y - expected.vector.y) + Extra(costs, vector.x - expected.vector.x);
  const size_t start = Start(shape_, picture, block), stride = shape_.width * kChannels;
  alignas(64) int16_t pixels[kBlock * kLine];
  for (size_t i = 0; i < kBlock; ++i) {
    if (pictures_.int16 != nullptr) {
      std::copy_n(pictures_.int16 + start + i * stride, kLine, pixels + i * kLine);
    } else {
      kernels_.to_int16(pictures_.float32 + start + i * stride, kLine, pixels + i * kLine);
    }
  }
  const int32_t instead = CostOf(picture, block, pixels, expected.vector);
  if (instead - CostOf(picture, block, pixels, vector) < saved) vectors[block] = expected.vector;
}

// The cost of the errors of a block that is moved by a vector.
int32_t Refinement::CostOf(size_t picture, size_t block, const int16_t* pixels, Vector vector) const noexcept {
  const size_t row = block / shape_.columns(), column = block % shape_.columns();
  const size_t first = picture * shape_.height * shape_.width * kChannels;
  alignas(64) int16_t moved[kBlock * kLine];
  if (references_.int16 != nullptr) {
    MoveBlock(kernels_, shape_, references_.int16 + first, row, column, vector, {moved, kLine});
  } else {
    alignas(64) float real[kBlock * kLine];
    MoveBlock(kernels_, shape_, references_.float32 + first, row, column, vector, {real, kLine});
    kernels_.to_int16(real, kBlock * kLine, moved);
  }
  const auto error = static_cast<float>(kernels_.squared_error(pixels, moved));
  return static_cast<int32_t>(std::lrint(std::min(error * scales_[picture], kMost)));
}

}  // namespace nvc::motion
