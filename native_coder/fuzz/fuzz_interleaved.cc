// Fuzz target: any bytes are read as a payload, by all kernels that the processor has, which must agree, and as symbols
// that must survive a round trip.
// Byte 0: wide indexes, table, symbols mostly 0, first row, payload made to start well. Byte 1: seed of the indexes.
// Bytes 2 and 3: symbols of a segment, up to 255 or, as that is slow, sometimes up to two chunks. Then the data.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "interleaved.h"
#include "tables_and_rows.h"

namespace {

using namespace fuzz;
using nvc::CdfTable;
using nvc::Indexes;
using nvc::Segment;
using nvc::Status;
using nvc::interleaved::Decoder;
using nvc::interleaved::Encoder;

constexpr int kSegments = 3;

struct Outcome {
  std::vector<Status> status;   // of each segment up to the first fault, and of the end
  std::vector<int8_t> symbols;  // of the segments without one

  bool operator==(const Outcome& other) const { return status == other.status && symbols == other.symbols; }
};

Outcome Decode(const nvc::Kernels& kernels, const CdfTable& table, const Indexes& indexes,
               const std::vector<uint8_t>& payload) {
  Decoder decoder(1, kernels);
  decoder.Reset(payload.data(), payload.size());
  Outcome outcome;
  std::vector<int8_t> symbols(indexes.size);
  for (int i = 0; i < kSegments; ++i) {
    outcome.status.push_back(decoder.Decode(table, indexes, symbols.data()));
    if (outcome.status.back() != Status::kOk) break;
    outcome.symbols.insert(outcome.symbols.end(), symbols.begin(), symbols.end());
  }
  outcome.status.push_back(decoder.Finish());
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Tables tables;
  if (size < 4) return 0;
  const bool wide = (data[0] & 1) != 0;
  const CdfTable& table = tables[data[0] >> 1];
  const bool calm = (data[0] & 8) != 0;
  const bool start = (data[0] & 128) != 0;
  const bool large = data[3] >= 0xe0;
  const size_t count = data[2] + (large ? static_cast<size_t>(data[3] & 0x1f) << 8 : 0);
  const Rows rows(count, data[1]);
  const Indexes indexes = rows.Get(wide, data[0] >> 4 & 7);
  data += 4;
  size -= 4;

  std::vector<uint8_t> damaged(data, data + size);
  if (start) MakeStart(&damaged, size % 6);
  static const std::vector<const nvc::Kernels*> all = nvc::AllKernels();
  const Outcome outcome = Decode(*all[0], table, indexes, damaged);
  for (size_t i = 1; i < all.size(); ++i) Require(Decode(*all[i], table, indexes, damaged) == outcome);

  std::vector<int8_t> sent(count);
  for (size_t i = 0; i < count && size > 0; ++i) {
    if (rows.narrow[i] != 255 && !(calm && i % 64 != 0)) sent[i] = static_cast<int8_t>(data[i % size]);
  }
  const std::vector<Segment> segments(kSegments, {&table, sent.data(), indexes});
  const std::vector<uint8_t> payload = Encoder(1, *all[0]).Encode(segments);
  Outcome right;
  right.status.assign(kSegments + 1, Status::kOk);
  for (int i = 0; i < kSegments; ++i) right.symbols.insert(right.symbols.end(), sent.begin(), sent.end());
  for (const nvc::Kernels* kernels : all) {
    Require(Encoder(1, *kernels).Encode(segments) == payload);
    Require(Decode(*kernels, table, indexes, payload) == right);
  }
  return 0;
}
