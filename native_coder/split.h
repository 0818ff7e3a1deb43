// Rows divided into work items.
#ifndef NVC_SPLIT_H_
#define NVC_SPLIT_H_

#include <algorithm>
#include <cstddef>

namespace nvc {

constexpr size_t kUnitRows = 4;

// As many work items of at most `most` rows, rounded up to units, for each of `threads`, of nearly equal length, the
// longer ones first, so that threads that take one after the other end at about the same time. A unit has the rows of
// the smallest tile that is as fast as the largest; only the last item has a part of one.
class Split {
 public:
  Split(size_t rows, size_t most, size_t threads, size_t unit = kUnitRows) noexcept : rows_(rows), unit_(unit) {
    const size_t units = (rows + unit - 1) / unit, at_once = threads * ((most + unit - 1) / unit);
    items_ = std::min(units, threads * ((units + at_once - 1) / at_once));
    if (items_ == 0) return;
    units_ = units / items_;
    longer_ = units % items_;
  }

  size_t items() const noexcept { return items_; }

  // The first row of an item; that of the one after the last is the number of rows.
  size_t first(size_t item) const noexcept {
    return std::min((item * units_ + std::min(item, longer_)) * unit_, rows_);
  }

 private:
  size_t rows_;
  size_t unit_;
  size_t items_ = 0;
  size_t units_ = 0;   // of an item
  size_t longer_ = 0;  // items that have one unit more
};

}  // namespace nvc

#endif  // NVC_SPLIT_H_
