// Fuzz target: any bytes are read as a payload, and as symbols that must survive a round trip.
// Byte 0: streams, wide indexes. Byte 1: seed of the indexes. Bytes 2 and 3: symbols of a segment. Then the data.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "dcvc.h"

namespace {

using nvc::CdfTable;
using nvc::dcvc::Decoder;
using nvc::dcvc::Encoder;
using nvc::Indexes;
using nvc::Segment;
using nvc::Status;

constexpr size_t kRows = 40;
constexpr size_t kWidth = 259;
constexpr int kSegments = 3;

// Rows of 2 to 256 bins; the first bins of a row have frequency 1.
CdfTable MakeTable() {
  std::vector<int32_t> cdf(kRows * kWidth);
  std::vector<int32_t> length(kRows);
  std::vector<int32_t> offset(kRows);
  for (size_t row = 0; row < kRows; ++row) {
    const int32_t bins = row == 0 ? 256 : 2 + static_cast<int32_t>(row % 17);
    length[row] = bins + 1;
    offset[row] = row == 0 ? -128 : -static_cast<int32_t>(row % 9);
    for (int32_t i = 0; i <= bins; ++i) {
      const int32_t even = i * (65536 / bins);
      cdf[row * kWidth + static_cast<size_t>(i)] = i == bins ? 65536 : i < bins / 2 ? i : even;
    }
  }
  return CdfTable(cdf.data(), length.data(), offset.data(), kRows, kWidth);
}

void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const CdfTable table = MakeTable();
  if (size < 4) return 0;
  const int streams = 1 + (data[0] & 1);
  const bool wide = (data[0] & 2) != 0;
  const size_t count = data[2] | static_cast<size_t>(data[3]) << 8;
  std::vector<uint8_t> narrow(count);
  std::vector<uint16_t> broad(count);
  uint32_t random = data[1];
  for (size_t i = 0; i < count; ++i) {
    random = random * 1664525 + 1013904223;
    const uint32_t row = (random >> 16) % (kRows + 8);
    narrow[i] = row < kRows ? static_cast<uint8_t>(row) : uint8_t{255};
    broad[i] = row < kRows ? static_cast<uint16_t>(row) : uint16_t{65535};
  }
  const Indexes indexes{wide ? static_cast<const void*>(broad.data()) : narrow.data(), wide, count, 0};
  data += 4;
  size -= 4;

  std::vector<int8_t> symbols(count);
  Decoder decoder(data, size, streams);
  for (int i = 0; i < kSegments; ++i) {
    if (decoder.Decode(table, indexes, symbols.data()) != Status::kOk) break;
  }
  decoder.Finish();

  std::vector<int8_t> sent(count);
  for (size_t i = 0; i < count && size > 0; ++i) {
    if (narrow[i] != 255) sent[i] = static_cast<int8_t>(data[i % size]);
  }
  Encoder encoder(streams);
  const std::vector<Segment> segments(kSegments, {&table, sent.data(), indexes});
  const std::vector<uint8_t> payload = encoder.Encode(segments);
  Decoder back(payload.data(), payload.size(), streams);
  for (int i = 0; i < kSegments; ++i) {
    Require(back.Decode(table, indexes, symbols.data()) == Status::kOk);
    Require(symbols == sent);
  }
  Require(back.Finish() == Status::kOk);
  return 0;
}
