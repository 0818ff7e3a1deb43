// Candidates whose bits alone cost as much as the best so far are not moved.
#include "motion_refinement.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace nvc::motion {
namespace {

constexpr size_t kAtOnce = 16;  // blocks of a work item
constexpr size_t kLine = kBlock * kChannels;
constexpr int kSpreads = 6;  // of neighbours, at powers of two, from which on the next row of the table is used
constexpr float kMost = 1 << 28;
constexpr ptrdiff_t kMostAgree = 3;                                  // neighbours
constexpr size_t kGroups[kContexts / 2] = {0, 0, 1, 1, 1, 2, 2, 3};  // of rows of differences

// Knowledge of both sides before a vector is coded.
struct Context {
  Vector neighbours[4];
  Vector expected;
  size_t row;
  bool agree;        // most neighbours have the expected vector
  size_t surprises;  // neighbours whose vector was not the expected one
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

Context ContextOf(const Vector* vectors, const uint8_t* surprising, const Visit& visit) {
  Context result{};
  Vector* const near = result.neighbours;
  for (size_t i = 0; i < 4; ++i) {
    near[i] = vectors[visit.around[i]];
    result.surprises += surprising[visit.around[i]];
  }
  const Middle y = MiddleOf(near[0].y, near[1].y, near[2].y, near[3].y);
  const Middle x = MiddleOf(near[0].x, near[1].x, near[2].x, near[3].x);
  const int spread = y.spread + x.spread;
  if (spread != 0 || !(near[0] == Vector{0, 0})) {
    result.row = 1;
    for (int i = 0; i < kSpreads; ++i) result.row += spread >= 1 << i;
  }
  if (visit.far != 0) result.row += kContexts / 2;
  result.expected = {y.value, x.value};
  result.agree = std::count(near, near + 4, result.expected) >= kMostAgree;
  return result;
}

int32_t BitCost(const Coder& coder, const Context& context, Vector vector) {
  const size_t choice_row = kSurprises * (2 * context.row + context.agree) + context.surprises;
  const int32_t* const choices = coder.choices + choice_row * kChoices;
  if (vector == context.expected) return choices[0];
  const Vector* const near = context.neighbours;
  const auto choice = static_cast<size_t>(std::find(near, near + 4, vector) - near);
  if (choice < 4) return choices[1 + choice];
  // Differences are coded modulo 256.
  const auto dy = static_cast<int8_t>(vector.y - context.expected.y);
  const auto dx = static_cast<int8_t>(vector.x - context.expected.x);
  const size_t size = std::min<size_t>(static_cast<size_t>(std::abs(dy)), kSizes - 1);
  const size_t row_y = (1 + kSizes) * kGroups[context.row % (kContexts / 2)], row_x = row_y + 1 + size;
  const auto cost = [&](size_t row, int8_t difference) {
    return coder.differences[row * kDifferences + static_cast<size_t>(difference + 128)];
  };
  return choices[kChoices - 1] + cost(row_y, dy) + cost(row_x, dx);
}

// The first sample of a block in pictures.
size_t Start(const Shape& shape, size_t picture, size_t block) {
  const size_t row = block / shape.columns(), column = block % shape.columns();
  return ((picture * shape.height + row * kBlock) * shape.width + column * kBlock) * kChannels;
}

}  // namespace

Refinement::Refinement(const Kernels& kernels, const Shape& shape, const Pixels& pictures, const Pixels& references,
                       const float* scales, const Coder& coder, Vector* vectors)
    : kernels_(kernels),
      shape_(shape),
      pictures_(pictures),
      references_(references),
      scales_(scales),
      coder_(coder),
      vectors_(vectors),
      surprising_(shape.count * shape.rows() * shape.columns()) {
  // The blocks of the first step stay as they are; nothing but zero is expected of them.
  for (size_t picture = 0; picture < shape.count; ++picture) {
    for (size_t i = 0; i < end(0); ++i) {
      const size_t block = picture * shape.rows() * shape.columns() + static_cast<size_t>(coder.visits[i].block);
      surprising_[block] = !(vectors[block] == Vector{0, 0});
    }
  }
}

size_t Refinement::parts(size_t step) const noexcept { return (end(step) - first(step) + kAtOnce - 1) / kAtOnce; }

void Refinement::Run(size_t step, size_t item) noexcept {
  const size_t from = first(step) + item % parts(step) * kAtOnce, to = std::min(from + kAtOnce, end(step));
  for (size_t i = from; i < to; ++i) Refine(item / parts(step), coder_.visits[i]);
}

void Refinement::Refine(size_t picture, const Visit& visit) noexcept {
  Vector* const vectors = vectors_ + picture * shape_.rows() * shape_.columns();
  uint8_t* const surprising = surprising_.data() + picture * shape_.rows() * shape_.columns();
  const auto block = static_cast<size_t>(visit.block);
  const Context context = ContextOf(vectors, surprising, visit);
  const Vector own = vectors[block], expected = context.expected;
  Vector candidates[7] = {expected};
  std::copy_n(context.neighbours, 4, candidates + 1);
  candidates[5] = {expected.y, own.x};
  candidates[6] = {own.y, expected.x};
  if (std::all_of(candidates, candidates + 7, [own](Vector vector) { return vector == own; })) return;
  const size_t start = Start(shape_, picture, block), stride = shape_.width * kChannels;
  alignas(64) int16_t pixels[kBlock * kLine];
  for (size_t i = 0; i < kBlock; ++i) {
    if (pictures_.int16 != nullptr) {
      std::copy_n(pictures_.int16 + start + i * stride, kLine, pixels + i * kLine);
    } else {
      kernels_.to_int16(pictures_.float32 + start + i * stride, kLine, pixels + i * kLine);
    }
  }
  int32_t least = BitCost(coder_, context, own) + ErrorCost(picture, block, pixels, own);
  for (const Vector vector : candidates) {
    const int32_t bits = BitCost(coder_, context, vector);
    if (vector == vectors[block] || bits >= least) continue;
    const int32_t cost = bits + ErrorCost(picture, block, pixels, vector);
    if (cost < least) {
      least = cost;
      vectors[block] = vector;
    }
  }
  surprising[block] = !(vectors[block] == expected);
}

// The cost of the errors of a block that is moved by a vector.
int32_t Refinement::ErrorCost(size_t picture, size_t block, const int16_t* pixels, Vector vector) const noexcept {
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
