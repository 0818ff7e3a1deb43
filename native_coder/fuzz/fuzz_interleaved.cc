// Fuzz target: any bytes are read as a payload, by all loops that the processor has, which must agree, and as symbols
// that must survive a round trip.
// Byte 0: wide indexes, table. Byte 1: seed of the indexes. Bytes 2 and 3: symbols of a segment, up to 255 or, as that
// is slow, sometimes up to two chunks. Then the data.
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const CdfTable tables[] = {MakeTable(false), MakeTable(true)};
  if (size < 4) return 0;
  const bool wide = (data[0] & 1) != 0;
  const CdfTable& table = tables[data[0] >> 1 & 1];
  const bool large = data[3] >= 0xe0;
  const size_t count = data[2] + (large ? static_cast<size_t>(data[3] & 0x1f) << 8 : 0);
  const Rows rows(count, data[1]);
  const Indexes indexes = rows.Get(wide);
  data += 4;
  size -= 4;

  static const std::vector<const nvc::Kernels*> paths = nvc::AllKernels();
  Decoder portable(1, *paths[0]);
  std::vector<int8_t> symbols(count);
  std::vector<int8_t> again(count);
  for (size_t path = 1; path < paths.size(); ++path) {
    Decoder fast(1, *paths[path]);
    portable.Reset(data, size);
    fast.Reset(data, size);
    for (int i = 0; i < kSegments; ++i) {
      const Status status = portable.Decode(table, indexes, symbols.data());
      Require(fast.Decode(table, indexes, again.data()) == status);
      if (status != Status::kOk) break;
      Require(symbols == again);
    }
    Require(portable.Finish() == fast.Finish());
  }

  std::vector<int8_t> sent(count);
  for (size_t i = 0; i < count && size > 0; ++i) {
    if (rows.narrow[i] != 255) sent[i] = static_cast<int8_t>(data[i % size]);
  }
  const std::vector<Segment> segments(kSegments, {&table, sent.data(), indexes});
  const std::vector<uint8_t> payload = Encoder(1, *paths[0]).Encode(segments);
  for (const nvc::Kernels* path : paths) {
    Require(Encoder(1, *path).Encode(segments) == payload);
    Decoder decoder(1, *path);
    decoder.Reset(payload.data(), payload.size());
    for (int i = 0; i < kSegments; ++i) {
      Require(decoder.Decode(table, indexes, symbols.data()) == Status::kOk);
      Require(symbols == sent);
    }
    Require(decoder.Finish() == Status::kOk);
  }
  return 0;
}
