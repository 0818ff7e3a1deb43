// Fuzz target: any bytes are read as a payload, and as symbols that must survive a round trip.
// Byte 0: streams, wide indexes, table, first row. Byte 1: seed of the indexes. Bytes 2 and 3: symbols of a segment. Then the data.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "dcvc.h"
#include "tables_and_rows.h"

namespace {

using namespace fuzz;
using nvc::CdfTable;
using nvc::dcvc::Decoder;
using nvc::dcvc::Encoder;
using nvc::Indexes;
using nvc::Segment;
using nvc::Status;

constexpr int kSegments = 3;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Tables tables;
  if (size < 4) return 0;
  const int streams = 1 + (data[0] & 1);
  const bool wide = (data[0] & 2) != 0;
  const CdfTable& table = tables[data[0] >> 2];
  const size_t count = data[2] | static_cast<size_t>(data[3]) << 8;
  const Rows rows(count, data[1]);
  const Indexes indexes = rows.Get(wide, data[0] >> 4);
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
    if (rows.narrow[i] != 255) sent[i] = static_cast<int8_t>(data[i % size]);
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
