// Tables and rows for the programs here.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "segment.h"
#include "tables.h"

namespace fuzz {

constexpr size_t kRows = 80;       // that a list may use
constexpr size_t kFirstRows = 16;  // where these may begin
constexpr size_t kTableRows = kRows + kFirstRows;
constexpr size_t kWidth = 259;

// The kernels tell rows apart by their bins.
enum TableKind : size_t {
  kNarrow,  // 2 to 18 bins
  kBroad,   // the same, but one row has 256
  kFew,     // 2 to 8 bins
  kCalm,    // 3 to 8 bins, and symbol 0 is almost sure
  kKinds,
};

// In narrow and broad rows, the bins before the middle have frequency 1.
inline nvc::CdfTable MakeTable(TableKind kind) {
  std::vector<int32_t> cdf(kTableRows * kWidth);
  std::vector<int32_t> length(kTableRows);
  std::vector<int32_t> offset(kTableRows);
  for (size_t row = 0; row < kTableRows; ++row) {
    const int32_t number = static_cast<int32_t>(row);
    const bool full = kind == kBroad && row == 0;
    const int32_t bins = full ? 256 : kind == kCalm ? 3 + number % 6 : 2 + number % (kind == kFew ? 7 : 17);
    const int32_t middle = kind == kCalm ? number % (bins - 1) : bins / 2;
    length[row] = bins + 1;
    offset[row] = full ? -128 : kind == kCalm ? -middle : -(number % 9);
    for (int32_t i = 0; i <= bins; ++i) {
      int32_t start = i < middle ? i : i * (65536 / bins);
      if (kind == kCalm) start = i <= middle ? 50 * i : 65536 - 8 * (bins - i);
      cdf[row * kWidth + static_cast<size_t>(i)] = i == bins ? 65536 : start;
    }
  }
  return nvc::CdfTable(cdf.data(), length.data(), offset.data(), kTableRows, kWidth);
}

struct Tables {
  const nvc::CdfTable& operator[](size_t i) const { return table[i % kKinds]; }
  const nvc::CdfTable table[kKinds] = {MakeTable(kNarrow), MakeTable(kBroad), MakeTable(kFew), MakeTable(kCalm)};
};

// The rows of a list, random but for the seed, some positions not coded. Some lists have few rows, so that all lanes of
// a vector see the same kind.
struct Rows {
  Rows(size_t count, uint32_t seed) : narrow(count), broad(count) {
    constexpr uint32_t kUsed[] = {6, 40, kRows};
    const uint32_t used = kUsed[seed % 3];
    for (size_t i = 0; i < count; ++i) {
      seed = seed * 1664525 + 1013904223;
      const uint32_t row = (seed >> 16) % (used + 1 + used / 5);
      narrow[i] = row < used ? static_cast<uint8_t>(row) : uint8_t{255};
      broad[i] = row < used ? static_cast<uint16_t>(row) : uint16_t{65535};
    }
  }
  // first_row < kFirstRows
  nvc::Indexes Get(bool wide, size_t first_row) const {
    return {wide ? static_cast<const void*>(broad.data()) : narrow.data(), wide, narrow.size(), first_row};
  }

  std::vector<uint8_t> narrow;
  std::vector<uint16_t> broad;
};

// Makes bytes the payload of one part with possible states: of many lanes, random states never are.
inline void MakeStart(std::vector<uint8_t>* payload, size_t log_lanes) {
  if (payload->empty()) return;
  (*payload)[0] = static_cast<uint8_t>(log_lanes);
  const size_t end = std::min(payload->size(), 1 + (size_t{4} << log_lanes));
  for (size_t i = 4; i < end; i += 4) (*payload)[i] = static_cast<uint8_t>(((*payload)[i] & 0x7f) | 1);
}

inline void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace fuzz
