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

// A bin as the lanes see it: its start and its end, which is 2^16 for a tail, modulo 2^16.
inline constexpr uint32_t PackBin(uint32_t start, uint32_t freq) noexcept { return (start + freq) << 16 | start; }
inline constexpr uint32_t BinStart(uint32_t bin) noexcept { return bin & (kTotal - 1); }
inline constexpr uint32_t BinFreq(uint32_t bin) noexcept { return ((bin >> 16) - bin) & (kTotal - 1); }

// A row of at most 31 bins, laid out for a search that compares one slot with all of them at once: the starts of the
// bins at the end, zeros before them. So the last start that is not above the slot is that of its bin, and the next
// one, which is the first of the next row for the tail and always 0, is its end modulo 2^16.
struct alignas(64) NarrowRow {
  static constexpr size_t kMaxBins = 31;

  uint16_t start[kMaxBins + 1];
};

// A row of at most 8 bins, laid out for a search that compares many slots, each with its own row.
struct alignas(16) FewBins {
  static constexpr size_t kMaxBins = 8;

  int16_t symbol;               // of a slot below all of the starts; set for rows of more bins, too
  int16_t start[kMaxBins - 1];  // less 2^15; zeros before the bins. The first bin is left out: it starts at 0
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
  uint32_t packed_bin(size_t row, uint32_t bin) const noexcept { return packed_[rows_[row].first_bin + bin]; }
  // Starts of the row's bins; one more value, kTotal, follows that of the tail.
  const uint32_t* starts(size_t row) const noexcept { return starts_.data() + rows_[row].first_bin + row; }
  // A bin at or below the one that holds the slot: the bin of the lowest slot with the same leading bits.
  uint32_t bin_hint(size_t row, uint32_t slot) const noexcept {
    return hints_[(row << kHintBits) | (slot >> (kPrecisionBits - kHintBits))];
  }
  // The bin that holds the slot.
  uint32_t FindBin(size_t row, uint32_t slot) const noexcept {
    const uint32_t* values = starts(row);
    uint32_t bin = bin_hint(row, slot);
    while (slot >= values[bin + 1]) ++bin;
    return bin;
  }

  static constexpr size_t kPaddingRows = 128;
  // First and last symbols of all rows, without the tails; kPaddingRows more can be read.
  const int8_t* first_symbols() const noexcept { return first_symbols_.data(); }
  const int8_t* last_symbols() const noexcept { return last_symbols_.data(); }
  // All rows for the searches above. narrow_rows is null, and the others are empty, if one has too many bins.
  const NarrowRow* narrow_rows() const noexcept { return narrow_rows_.empty() ? nullptr : narrow_rows_.data(); }
  const FewBins* few_bins() const noexcept { return few_bins_.data(); }
  // Number of consecutive rows from this one on that have few bins.
  uint32_t few_bins_run(size_t row) const noexcept { return few_bins_runs_[row]; }
  // Number of consecutive rows from this one on that are almost sure to be symbol 0, and the bins of symbol 0.
  static constexpr uint32_t kCalmFrequency = 64000;
  uint32_t calm_run(size_t row) const noexcept { return calm_runs_[row]; }
  const uint16_t* zero_starts() const noexcept { return zero_starts_.data(); }
  const uint16_t* zero_freqs() const noexcept { return zero_freqs_.data(); }

 private:
  static constexpr int kHintBits = 7;

  void AddRow(const int32_t* cdf, uint32_t bins, int32_t offset);
  void AddNarrowRow(size_t row);

  std::vector<Row> rows_;
  std::vector<EncodeBin> bins_;
  std::vector<uint32_t> packed_;  // the same, as PackBin
  std::vector<uint32_t> starts_;  // one more than bins for each row
  std::vector<uint8_t> hints_;    // [rows, 2^kHintBits]
  std::vector<int8_t> first_symbols_;
  std::vector<int8_t> last_symbols_;
  std::vector<NarrowRow> narrow_rows_;
  std::vector<FewBins> few_bins_;
  std::vector<uint32_t> few_bins_runs_;
  std::vector<uint32_t> calm_runs_;
  std::vector<uint16_t> zero_starts_;
  std::vector<uint16_t> zero_freqs_;
};

}  // namespace nvc
