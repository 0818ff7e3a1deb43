#include "tables.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>

namespace nvc {
namespace {

[[noreturn]] void Fail(size_t row, const std::string& what) {
  throw std::invalid_argument("CDF table, row " + std::to_string(row) + ": " + what);
}

void CheckRow(size_t row, const int32_t* cdf, size_t width, int32_t length, int32_t offset) {
  if (length < 3 || static_cast<size_t>(length) > width) {
    Fail(row, "length " + std::to_string(length) + " is not in 3.." + std::to_string(width));
  }
  const int32_t bins = length - 1;
  if (bins > static_cast<int32_t>(kMaxBins)) {
    Fail(row, std::to_string(bins) + " bins, at most " + std::to_string(kMaxBins) + " are possible");
  }
  if (offset < INT8_MIN || offset > INT8_MAX - (bins - 2)) {
    Fail(row, "offset " + std::to_string(offset) + " with " + std::to_string(bins) + " bins leaves the int8 range");
  }
  if (cdf[0] != 0) Fail(row, "starts at " + std::to_string(cdf[0]) + ", not at 0");
  for (int32_t i = 1; i < length; ++i) {
    if (cdf[i] <= cdf[i - 1]) {
      Fail(row, "value " + std::to_string(cdf[i]) + " at " + std::to_string(i) + " is not above " +
                    std::to_string(cdf[i - 1]));
    }
  }
  if (cdf[bins] != static_cast<int32_t>(kTotal)) {
    Fail(row, "ends at " + std::to_string(cdf[bins]) + ", not at " + std::to_string(kTotal));
  }
}

}  // namespace

CdfTable::CdfTable(const int32_t* cdf, const int32_t* length, const int32_t* offset, size_t rows, size_t width) {
  if (rows == 0 || rows > kMaxRows) {
    throw std::invalid_argument("CDF table: " + std::to_string(rows) + " rows, not in 1.." +
                                std::to_string(kMaxRows));
  }
  size_t values = 0;
  bool narrow = true;
  for (size_t row = 0; row < rows; ++row) {
    CheckRow(row, cdf + row * width, width, length[row], offset[row]);
    values += static_cast<size_t>(length[row]);
    narrow &= static_cast<size_t>(length[row]) <= NarrowRow::kMaxBins + 1;
  }
  if (values > UINT32_MAX) throw std::invalid_argument("CDF table: 2^32 values or more");
  rows_.reserve(rows);
  bins_.reserve(values - rows);
  packed_.reserve(values - rows);
  starts_.reserve(values);
  hints_.reserve(rows << kHintBits);
  for (size_t row = 0; row < rows; ++row) {
    AddRow(cdf + row * width, static_cast<uint32_t>(length[row]) - 1, offset[row]);
  }
  for (const Row& row : rows_) {
    first_symbols_.push_back(static_cast<int8_t>(row.offset));
    last_symbols_.push_back(static_cast<int8_t>(row.offset + row.tail - 1));
  }
  first_symbols_.resize(rows + kPaddingRows);
  last_symbols_.resize(rows + kPaddingRows);
  if (!narrow) return;
  narrow_rows_.resize(rows + 1);
  few_bins_.resize(rows);
  calm_runs_.resize(rows);
  zero_starts_.resize(rows + kPaddingRows);
  zero_freqs_.resize(rows + kPaddingRows);
  few_bins_runs_.resize(rows);
  for (size_t row = rows; row-- > 0;) AddNarrowRow(row);
}

void CdfTable::AddNarrowRow(size_t row) {
  const size_t bins = size_t{rows_[row].tail} + 1;
  const uint32_t* begin = starts(row);
  std::copy(begin, begin + bins, std::end(narrow_rows_[row].start) - bins);
  FewBins& few = few_bins_[row];
  few.symbol = static_cast<int16_t>(rows_[row].offset + static_cast<int>(bins) - static_cast<int>(FewBins::kMaxBins));
  const uint16_t* last = std::end(narrow_rows_[row].start) - std::size(few.start);
  for (size_t i = 0; i < std::size(few.start); ++i) few.start[i] = static_cast<int16_t>(last[i] - (1 << 15));
  const Row& info = rows_[row];
  if (info.mode_symbol == 0 && info.mode_freq >= kCalmFrequency) {
    calm_runs_[row] = 1 + (row + 1 < rows_.size() ? calm_runs_[row + 1] : 0);
    zero_starts_[row] = info.mode_start;
    zero_freqs_[row] = info.mode_freq;
  }
  if (bins > FewBins::kMaxBins) return;
  few_bins_runs_[row] = 1 + (row + 1 < rows_.size() ? few_bins_runs_[row + 1] : 0);
}

void CdfTable::AddRow(const int32_t* cdf, uint32_t bins, int32_t offset) {
  Row row{};
  row.first_bin = static_cast<uint32_t>(bins_.size());
  row.offset = static_cast<int16_t>(offset);
  row.tail = static_cast<uint16_t>(bins - 1);
  for (uint32_t bin = 0; bin < bins; ++bin) {
    const uint32_t start = static_cast<uint32_t>(cdf[bin]);
    const uint32_t freq = static_cast<uint32_t>(cdf[bin + 1]) - start;
    bins_.push_back({(uint64_t{1} << 48) / freq + 1, freq, start});
    packed_.push_back(PackBin(start, freq));
    starts_.push_back(start);
    if (bin < row.tail && freq > row.mode_freq) {
      row.mode_start = static_cast<uint16_t>(start);
      row.mode_freq = static_cast<uint16_t>(freq);
      row.mode_symbol = static_cast<int8_t>(offset + static_cast<int32_t>(bin));
    }
  }
  starts_.push_back(kTotal);
  rows_.push_back(row);
  uint32_t bin = 0;
  for (int32_t slot = 0; slot < static_cast<int32_t>(kTotal); slot += 1 << (kPrecisionBits - kHintBits)) {
    while (cdf[bin + 1] <= slot) ++bin;
    hints_.push_back(static_cast<uint8_t>(bin));
  }
}

}  // namespace nvc
