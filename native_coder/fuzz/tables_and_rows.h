// What the fuzz targets code with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "segment.h"
#include "tables.h"

namespace fuzz {

constexpr size_t kRows = 40;
constexpr size_t kWidth = 259;

// Rows of 2 to 18 bins, and one of 256 if asked for; the first bins of a row have frequency 1.
inline nvc::CdfTable MakeTable(bool broad) {
  std::vector<int32_t> cdf(kRows * kWidth);
  std::vector<int32_t> length(kRows);
  std::vector<int32_t> offset(kRows);
  for (size_t row = 0; row < kRows; ++row) {
    const bool full = broad && row == 0;
    const int32_t bins = full ? 256 : 2 + static_cast<int32_t>(row % 17);
    length[row] = bins + 1;
    offset[row] = full ? -128 : -static_cast<int32_t>(row % 9);
    for (int32_t i = 0; i <= bins; ++i) {
      const int32_t even = i * (65536 / bins);
      cdf[row * kWidth + static_cast<size_t>(i)] = i == bins ? 65536 : i < bins / 2 ? i : even;
    }
  }
  return nvc::CdfTable(cdf.data(), length.data(), offset.data(), kRows, kWidth);
}

// The rows of a list, random but for the seed, some positions not coded.
struct Rows {
  Rows(size_t count, uint32_t seed) : narrow(count), broad(count) {
    for (size_t i = 0; i < count; ++i) {
      seed = seed * 1664525 + 1013904223;
      const uint32_t row = (seed >> 16) % (kRows + 8);
      narrow[i] = row < kRows ? static_cast<uint8_t>(row) : uint8_t{255};
      broad[i] = row < kRows ? static_cast<uint16_t>(row) : uint16_t{65535};
    }
  }
  nvc::Indexes Get(bool wide) const {
    return {wide ? static_cast<const void*>(broad.data()) : narrow.data(), wide, narrow.size(), 0};
  }

  std::vector<uint8_t> narrow;
  std::vector<uint16_t> broad;
};

inline void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace fuzz
