// Frequency tables of the entropy coder: checked once when built, immutable and shareable between threads afterwards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nvc {

inline constexpr int kPrecisionBits = 16;
inline constexpr uint32_t kTotal = 1u << kPrecisionBits;  // sum of the frequencies of a row
inline constexpr uint32_t kMaxBins = 256;                 // per row, the tail included: a bin number fits a byte
inline constexpr size_t kMaxRows = size_t{1} << 24;       // a row number and a symbol fit 32 bits

// One bin as the encoder needs it. With reciprocal = floor(2^48 / freq) + 1 and x < freq * 2^15,
// (x * reciprocal) >> 48 is exactly x / freq, and the product stays below 2^64.
struct EncodeBin {
  uint64_t reciprocal;
  uint32_t freq;
  uint32_t start;
};

// Bins are counted from 0 in each row. The last one is the tail: it announces an escape code. Symbol s has bin
// s - offset when that lies in 0 .. tail - 1. The mode is the most probable of these bins.
struct Row {
  uint32_t first_bin;  // of the row, among the bins of all rows
  int16_t offset;
  uint16_t tail;
  uint16_t mode_start;
  uint16_t mode_freq;
  int8_t mode_symbol;
};

class CdfTable {
 public:
  // cdf: [rows, width] cumulative frequencies. Row r uses its first length[r] values: 0, strictly rising, 65536;
  // its first bin is symbol offset[r]. Throws std::invalid_argument naming the row and the value at fault.
  CdfTable(const int32_t* cdf, const int32_t* length, const int32_t* offset, size_t rows, size_t width);

  size_t rows() const noexcept { return rows_.size(); }

  // For all of these: row < rows(), 0 <= bin <= tail of that row, slot < kTotal.
  const Row& row(size_t row) const noexcept { return rows_[row]; }
  const EncodeBin& bin(size_t row, uint32_t bin) const noexcept { return bins_[rows_[row].first_bin + bin]; }
  // Starts of the row's bins; one more value, kTotal, follows that of the tail.
  const uint32_t* starts(size_t row) const noexcept { return starts_.data() + rows_[row].first_bin + row; }
  // A bin at or below the one that holds the slot: the bin of the lowest slot with the same leading bits.
  uint32_t bin_hint(size_t row, uint32_t slot) const noexcept {
    return hints_[(row << kHintBits) | (slot >> (kPrecisionBits - kHintBits))];
  }

 private:
  static constexpr int kHintBits = 7;

  void AddRow(const int32_t* cdf, uint32_t bins, int32_t offset);

  std::vector<Row> rows_;
  std::vector<EncodeBin> bins_;
  std::vector<uint32_t> starts_;  // one more than bins for each row
  std::vector<uint8_t> hints_;  // [rows, 2^kHintBits]
};

}  // namespace nvc
