// The steps of the search. Costs are in quarters of an absolute difference.
#include "motion.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace nvc::motion {
namespace {

constexpr size_t kBandRows = 4;  // of blocks; the coarse search looks at two more
constexpr size_t kBlocksAtOnce = 8;
constexpr size_t kSmallBlock = kBlock / kCoarse;
constexpr size_t kNeighbours = 9;
constexpr size_t kNumbers = kBlock * kBlock;  // of a block

size_t RoundUp(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// The fifth of nine numbers in order.
int Median(const int8_t* numbers) {
  int n[kNeighbours];
  std::copy_n(numbers, kNeighbours, n);
  const auto sort = [&n](size_t a, size_t b) {
    const int less = std::min(n[a], n[b]);
    n[b] = std::max(n[a], n[b]);
    n[a] = less;
  };
  // The 19 exchanges with which the median of nine is known.
  sort(1, 2), sort(4, 5), sort(7, 8), sort(0, 1), sort(3, 4), sort(6, 7), sort(1, 2), sort(4, 5), sort(7, 8);
  sort(0, 3), sort(5, 8), sort(4, 7), sort(3, 6), sort(1, 4), sort(2, 5), sort(4, 7), sort(4, 2), sort(6, 4);
  sort(4, 2);
  return n[4];
}

// Copies the first and last of `count` numbers beyond them.
template <class Number>
void Extend(Number* row, size_t count, size_t reach) {
  std::fill_n(row - reach, reach, row[0]);
  std::fill_n(row + count, reach, row[count - 1]);
}

// Copies the first and last of `count` rows, `reach` longer than `width` on both sides, above and below.
void ExtendRows(int16_t* first, size_t stride, size_t width, size_t reach, bool above, bool below, size_t count) {
  const size_t length = width + 2 * reach;
  const int16_t* const last = first + (count - 1) * stride;
  for (size_t i = 1; i <= reach; ++i) {
    if (above) std::copy_n(first - reach, length, first - reach - i * stride);
    if (below) std::copy_n(last - reach, length, first - reach + (count - 1 + i) * stride);
  }
}

}  // namespace

// A block, what is known of it, and the best vector so far.
struct Search::Place {
  const int16_t* block;
  ConstRows reference;  // without displacement
  int32_t price;
  Vector near[kNeighbours];
  Vector expected;
  int32_t surprise;
  Vector vector;
  int32_t difference;
  int64_t best;  // cost, and the number of the candidate, as the first of equals wins

  void Expect(int32_t bits, int32_t most) {
    int8_t y[kNeighbours], x[kNeighbours];
    int still = 0, like = 0;
    for (size_t i = 0; i < kNeighbours; ++i) {
      y[i] = near[i].y;
      x[i] = near[i].x;
      still += near[i] == Vector{0, 0};
      like += near[i] == near[0];
    }
    expected = like == kNeighbours ? near[0] : Vector{static_cast<int8_t>(Median(y)), static_cast<int8_t>(Median(x))};
    surprise = still >= most ? bits : 0;
  }
  static int64_t Rank(int64_t cost, size_t number) { return cost * 64 + static_cast<int64_t>(number); }
  int64_t Price(const Prices& prices, int y, int x) const {
    const int dy = y - expected.y, dx = x - expected.x;
    const int32_t bits = prices.bits[std::abs(dy)] + prices.bits[std::abs(dx)];
    return int64_t{price} * (bits + (dy != 0 || dx != 0 ? surprise : 0));
  }
  // False if a candidate of this price cannot win.
  bool Worth(int64_t least, size_t number) const { return Rank(least, number) < best; }
  void Consider(int y, int x, int64_t its_price, int32_t its_difference, size_t number) {
    const int64_t rank = Rank(its_price + 4 * int64_t{its_difference}, number);
    if (rank >= best) return;
    best = rank;
    vector = {static_cast<int8_t>(y), static_cast<int8_t>(x)};
    difference = its_difference;
  }
  ConstRows Moved(int y, int x) const {
    const auto stride = static_cast<ptrdiff_t>(reference.stride);
    return {reference.data + y * stride + x, reference.stride};
  }
};

Search::Layout Search::LayoutOf(const Shape& shape) noexcept {
  const size_t height = shape.height / kCoarse, width = RoundUp(shape.width / kCoarse, kBlocksAtOnce * kSmallBlock);
  Layout layout;
  layout.reference = shape.width + 2 * kReach;
  layout.small = width;
  layout.small_reference = width + 2 * kCoarseReach;
  layout.reference_at = shape.height * shape.width + kReach * layout.reference + kReach;
  const size_t small = shape.height * shape.width + (shape.height + 2 * kReach) * layout.reference;
  layout.small_at = small;
  layout.small_reference_at = small + height * layout.small + kCoarseReach * layout.small_reference + kCoarseReach;
  layout.all = small + height * layout.small + (height + 2 * kCoarseReach) * layout.small_reference;
  return layout;
}

Search::Search(const Kernels& kernels, const Shape& shape, const Pixels& pictures, const Pixels& references,
               const Prices& prices, Vector* result)
    : kernels_(kernels),
      shape_(shape),
      pictures_(pictures),
      references_(references),
      prices_(prices),
      layout_(LayoutOf(shape)),
      blocks_(shape.count * shape.rows() * shape.columns()),
      bands_((shape.rows() + kBandRows - 1) / kBandRows),
      memory_(new int16_t[shape.count * layout_.all]),
      vectors_(new Vector[2 * blocks_]),
      differences_(new int32_t[blocks_]),
      result_(result) {}

size_t Search::items(size_t step) const noexcept {
  if (step == 0) return 2 * shape_.count * shape_.rows();
  return shape_.count * (step == 1 ? bands_ : shape_.rows());
}

void Search::Run(size_t step, size_t item) noexcept {
  if (step == 0) {
    const size_t rows = shape_.count * shape_.rows();
    if (item < rows) {
      Prepare(item);
    } else {
      PrepareReference(item - rows);
    }
  } else if (step == 1) {
    Coarse(item);
  } else {
    Refine(step, item);
  }
}

void Search::Load(const Pixels& pixels, size_t picture, size_t line, int16_t* luma) const noexcept {
  const size_t first = (picture * shape_.height + line) * shape_.width * kChannels;
  if (pixels.int16 != nullptr) {
    kernels_.luma_of_int16(pixels.int16 + first, shape_.width, luma);
  } else {
    kernels_.luma_of_float32(pixels.float32 + first, shape_.width, luma);
  }
}

// Luma of a row of blocks.
void Search::Prepare(size_t item) noexcept {
  const size_t picture = item / shape_.rows(), row = item % shape_.rows(), width = shape_.width;
  int16_t* const blocks = Picture(picture) + row * kBlock * width;
  int16_t* const small = Picture(picture) + layout_.small_at + row * kSmallBlock * layout_.small;
  thread_local std::vector<int16_t> lines;
  lines.resize(std::max(lines.size(), kCoarse * width));
  for (size_t i = 0; i < kBlock; ++i) {
    int16_t* const line = lines.data() + i % kCoarse * width;
    Load(pictures_, picture, row * kBlock + i, line);
    for (size_t x = 0; x < width; x += kBlock) std::copy_n(line + x, kBlock, blocks + x * kBlock + i * kBlock);
    if (i % kCoarse == kCoarse - 1) {
      kernels_.shrink({lines.data(), width}, width / kCoarse, small + i / kCoarse * layout_.small);
    }
  }
}

// The same of the reference, with what is beyond its border.
void Search::PrepareReference(size_t item) noexcept {
  const size_t picture = item / shape_.rows(), row = item % shape_.rows();
  const size_t small_row = row * kSmallBlock, small_width = shape_.width / kCoarse;
  int16_t* const luma = Picture(picture) + layout_.reference_at + row * kBlock * layout_.reference;
  int16_t* const small = Picture(picture) + layout_.small_reference_at + small_row * layout_.small_reference;
  for (size_t i = 0; i < kBlock; ++i) {
    int16_t* const line = luma + i * layout_.reference;
    Load(references_, picture, row * kBlock + i, line);
    Extend(line, shape_.width, kReach);
  }
  for (size_t i = 0; i < kSmallBlock; ++i) {
    int16_t* const line = small + i * layout_.small_reference;
    kernels_.shrink({luma + i * kCoarse * layout_.reference, layout_.reference}, small_width, line);
    Extend(line, small_width, kCoarseReach);
  }
  const bool above = row == 0, below = row + 1 == shape_.rows();
  ExtendRows(luma, layout_.reference, shape_.width, kReach, above, below, kBlock);
  ExtendRows(small, layout_.small_reference, small_width, kCoarseReach, above, below, kSmallBlock);
}

// All vectors in pictures of a quarter of the size, where a block's cost includes its neighbours'.
void Search::Coarse(size_t band) noexcept {
  const size_t picture = band / bands_, part = band % bands_, rows = shape_.rows(), columns = shape_.columns();
  const size_t first = part * rows / bands_, end = (part + 1) * rows / bands_;
  const size_t top = first == 0 ? 0 : first - 1, bottom = std::min(end + 1, rows);
  const size_t stride = RoundUp(columns, kBlocksAtOnce) + 2;
  thread_local std::vector<int32_t> memory;
  memory.resize(std::max(memory.size(), (bottom - top + 2 * (end - first)) * stride));
  int32_t* const differences = memory.data() + 1;  // of the rows from `top` on
  int32_t* const costs = memory.data() + (bottom - top) * stride;
  int32_t* const vectors = costs + (end - first) * stride;
  std::fill_n(costs, (end - first) * stride, INT32_MAX);
  const int16_t* const small = Picture(picture) + layout_.small_at;
  const int16_t* const reference = Picture(picture) + layout_.small_reference_at;
  constexpr int kFar = static_cast<int>(kCoarseReach), kStep = static_cast<int>(kCoarse) * kPrecision;
  for (int dy = -kFar; dy <= kFar; ++dy) {
    for (int dx = -kFar; dx <= kFar; ++dx) {
      for (size_t row = top; row < bottom; ++row) {
        int32_t* const here = differences + (row - top) * stride;
        const int16_t* const moved = reference + static_cast<ptrdiff_t>(row * kSmallBlock * layout_.small_reference) +
                                     dy * static_cast<ptrdiff_t>(layout_.small_reference) + dx;
        kernels_.coarse_differences({small + row * kSmallBlock * layout_.small, layout_.small},
                                    {moved, layout_.small_reference}, columns, here);
        Extend(here, columns, 1);
      }
      const int32_t bits = prices_.bits[std::abs(dy * kStep)] + prices_.bits[std::abs(dx * kStep)];
      const auto vector = static_cast<int32_t>(dy * kStep * 256 + dx * kStep);
      for (size_t row = first; row < end; ++row) {
        const int32_t* const here = differences + (row - top) * stride;
        const Differences around{row == 0 ? here : here - stride, here, row + 1 == rows ? here : here + stride};
        const size_t at = (row - first) * stride;
        kernels_.improve(around, columns, 2 * prices_.of_a_bit[picture] * bits, vector, costs + at, vectors + at);
      }
    }
  }
  for (size_t row = first; row < end; ++row) {
    Vector* const out = After(1) + (picture * rows + row) * columns;
    for (size_t column = 0; column < columns; ++column) {
      const int32_t vector = vectors[(row - first) * stride + column];
      const auto x = static_cast<int8_t>(vector & 255);
      out[column] = {static_cast<int8_t>((vector - x) / 256), x};
    }
  }
}

// A step of the search for a row of blocks.
void Search::Refine(size_t step, size_t item) noexcept {
  const size_t picture = item / shape_.rows(), row = item % shape_.rows(), columns = shape_.columns();
  const Vector* const lines[] = {Before(step) + (item - (row == 0 ? 0 : 1)) * columns, Before(step) + item * columns,
                                 Before(step) + (item + (row + 1 == shape_.rows() ? 0 : 1)) * columns};
  const int16_t* const blocks = Picture(picture) + row * kBlock * shape_.width;
  const int16_t* const reference = Picture(picture) + layout_.reference_at + row * kBlock * layout_.reference;
  for (size_t column = 0; column < columns; ++column) {
    Place place;
    place.block = blocks + column * kNumbers;
    place.reference = {reference + column * kBlock, layout_.reference};
    place.price = prices_.of_a_bit[picture];
    const size_t beside[] = {column == 0 ? 0 : column - 1, column, column + 1 == columns ? column : column + 1};
    for (size_t i = 0; i < kNeighbours; ++i) place.near[i] = lines[i / 3][beside[i % 3]];
    place.Expect(prices_.surprise, prices_.still);
    place.vector = place.near[4];
    place.difference = step == 2 ? DifferenceOf(place, place.vector) : differences_[item * columns + column];
    place.best = Place::Rank(place.Price(prices_, place.vector.y, place.vector.x) + 4 * int64_t{place.difference},
                             step == 3 ? kWhole * kWhole / 2 : 0);
    if (step == 3) {
      WholePixels(place);
    } else if (step == 4 || step == 5) {
      Between(place, step == 4 ? kPrecision / 2 : kPrecision / 4);
    } else {
      Near(place);
    }
    After(step)[item * columns + column] = place.vector;
    differences_[item * columns + column] = place.difference;
  }
}

int32_t Search::DifferenceOf(const Place& place, Vector vector) const noexcept {
  const int y = Whole(vector.y), x = Whole(vector.x), phase_y = Phase(vector.y), phase_x = Phase(vector.x);
  if (phase_y == 0 && phase_x == 0) return kernels_.difference(place.block, place.Moved(y, x));
  alignas(64) int16_t filtered[kWindow * kBlock];
  const int before = phase_y == 0 ? 0 : static_cast<int>(kBefore);
  kernels_.filter_rows(place.Moved(y - before, x), phase_x, phase_y == 0 ? kBlock : kWindow, filtered);
  return kernels_.difference_between(place.block, filtered, phase_y);
}

// The vectors of the four neighbours beside it, and none.
void Search::Near(Place& place) const noexcept {
  const Vector candidates[] = {place.near[4], place.near[1], place.near[3], place.near[5], place.near[7], {0, 0}};
  for (size_t i = 1; i < std::size(candidates); ++i) {
    const Vector candidate = candidates[i];
    if (std::find(candidates, candidates + i, candidate) != candidates + i) continue;
    const int64_t price = place.Price(prices_, candidate.y, candidate.x);
    if (!place.Worth(price, i)) continue;
    place.Consider(candidate.y, candidate.x, price, DifferenceOf(place, candidate), i);
  }
}

// The whole pixels around.
void Search::WholePixels(Place& place) const noexcept {
  constexpr int kFar = static_cast<int>(kWholeReach);
  const Vector start = place.vector;
  for (int dy = -kFar; dy <= kFar; ++dy) {
    const int y = start.y + dy * kPrecision;
    int64_t prices[kWhole];
    bool worth = false;
    const size_t first = static_cast<size_t>(dy + kFar) * kWhole;
    for (size_t i = 0; i < kWhole; ++i) {
      prices[i] = place.Price(prices_, y, start.x + (static_cast<int>(i) - kFar) * kPrecision);
      worth = worth || place.Worth(prices[i], first + i);
    }
    if (!worth) continue;
    int32_t differences[kWhole];
    kernels_.differences(place.block, place.Moved(Whole(y), Whole(start.x) - kFar), differences);
    for (size_t i = 0; i < kWhole; ++i) {
      place.Consider(y, start.x + (static_cast<int>(i) - kFar) * kPrecision, prices[i], differences[i], first + i);
    }
  }
}

// The eight vectors `step` quarters of a pixel around.
void Search::Between(Place& place, int step) const noexcept {
  const int offsets[] = {0, step, -step};
  const Vector start = place.vector;
  const int top = Whole(start.y - step);
  const auto rows = static_cast<size_t>(Whole(start.y + step) - top) + kWindow;
  for (size_t column = 0; column < 3; ++column) {
    const int x = start.x + offsets[column];
    alignas(64) int16_t filtered[(kWindow + 1) * kBlock];
    bool there = false;
    for (size_t row = 0; row < 3; ++row) {
      const size_t number = 3 * row + column;
      const int y = start.y + offsets[row];
      const int64_t price = place.Price(prices_, y, x);
      if (number == 0 || !place.Worth(price, number)) continue;
      if (!there)
        kernels_.filter_rows(place.Moved(top - static_cast<int>(kBefore), Whole(x)), Phase(x), rows, filtered);
      there = true;
      const auto skipped = static_cast<size_t>(Whole(y) - top) + (Phase(y) == 0 ? kBefore : 0);
      const int32_t difference = kernels_.difference_between(place.block, filtered + skipped * kBlock, Phase(y));
      place.Consider(y, x, price, difference, number);
    }
  }
}

}  // namespace nvc::motion
