// Runs each of the kernels on arrays that end where lanes.h says they may, so that the address sanitizer sees any
// access beyond, and compares the results with the portable kernels'.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

#include "lanes.h"
#include "tables_and_rows.h"

namespace {

using namespace fuzz;
using nvc::ChunkRows;
using nvc::ChunkSymbols;
using nvc::ChunkTails;
using nvc::Kernels;
using nvc::kSlack;

constexpr size_t kMaxLanes = nvc::kMaxLanes;

// A list of the chunk; no array is longer than required.
struct Chunk {
  Chunk(size_t size, uint32_t seed) : rows(size, seed), symbols(size) {
    for (size_t i = 0; i < size; ++i) {
      seed = seed * 1664525 + 1013904223;
      symbols[i] = static_cast<int8_t>(seed % 4 == 0 ? static_cast<int>(seed >> 24) - 128 : 0);
    }
  }
  Rows rows;
  std::vector<int8_t> symbols;
};

// Outputs of the kernels for a chunk.
struct Result {
  std::vector<uint16_t> rows;
  std::vector<uint32_t> bins;
  std::vector<uint16_t> places;
  std::vector<uint8_t> payload;
  std::vector<int8_t> decoded;
  std::vector<uint16_t> decoded_places;
  std::vector<int8_t> spread;

  bool operator==(const Result& other) const {
    return rows == other.rows && bins == other.bins && places == other.places && payload == other.payload &&
           decoded == other.decoded && decoded_places == other.decoded_places && spread == other.spread;
  }
};

std::vector<uint16_t> List(const Kernels& kernels, const ChunkTails& tails, size_t count) {
  std::vector<uint16_t> places(count + kSlack);
  places.resize(kernels.list(tails, count, places.data()));
  return places;
}

Result Run(const Kernels& kernels, const nvc::CdfTable& table, size_t first_row, const Chunk& chunk, size_t lanes) {
  const std::vector<uint8_t>& indexes = chunk.rows.narrow;
  const size_t size = indexes.size();
  Result result;
  const auto rows = std::make_unique<ChunkRows>();
  kernels.compact(indexes.data(), size, rows.get());
  const size_t count = rows->count;
  result.rows.assign(rows->row, rows->row + count);
  std::vector<int8_t> picked(size + kSlack);
  kernels.pick(indexes.data(), size, chunk.symbols.data(), picked.data());
  const std::vector<int8_t> symbols(picked.begin(), picked.begin() + static_cast<std::ptrdiff_t>(count));
  result.bins.resize(count);
  const auto tails = std::make_unique<ChunkTails>();
  kernels.look_up(table, first_row, rows.get(), symbols.data(), result.bins.data(), tails.get());
  result.places = List(kernels, *tails, count);

  std::vector<uint32_t> bins(result.bins);
  bins.resize(count + kSlack);
  std::vector<uint8_t> buffer(2 * count + kSlack);
  nvc::LaneWriter writer;
  writer.lanes = lanes;
  writer.pos = buffer.data() + buffer.size();
  std::fill_n(writer.state, kMaxLanes, nvc::kLowerBound);
  kernels.encode(&writer, bins.data(), count);
  result.payload.assign(writer.pos, buffer.data() + buffer.size());
  std::vector<uint8_t> payload(result.payload);
  payload.resize(nvc::kMaxChunkReads);

  nvc::LaneReader reader;
  reader.lanes = lanes;
  reader.pos = payload.data();
  std::copy_n(writer.state, kMaxLanes, reader.state);
  const auto decoded = std::make_unique<ChunkSymbols>();
  kernels.decode(&reader, table, first_row, rows.get(), decoded.get());
  Require(reader.pos == payload.data() + result.payload.size());
  result.decoded_places = List(kernels, decoded->tails, count);
  for (const uint16_t place : result.decoded_places) decoded->symbol[place] = symbols[place];
  result.decoded.assign(decoded->symbol, decoded->symbol + count);
  Require(result.decoded == symbols && result.decoded_places == result.places);
  std::vector<int8_t> compact(result.decoded);
  compact.resize(count + kSlack);
  result.spread.resize(size);
  kernels.spread(indexes.data(), size, compact.data(), result.spread.data());
  for (size_t i = 0; i < size; ++i) Require(result.spread[i] == (indexes[i] == 255 ? 0 : chunk.symbols[i]));
  return result;
}

}  // namespace

int main() {
  const Tables tables;
  const std::vector<const Kernels*> all = nvc::AllKernels();
  std::vector<size_t> sizes{nvc::kChunkSymbols - 65, nvc::kChunkSymbols - 3, nvc::kChunkSymbols - 1, nvc::kChunkSymbols};
  for (size_t size = 0; size < 140; ++size) sizes.push_back(size);
  for (const size_t size : sizes) {
    for (uint32_t seed = 0; seed < 12; ++seed) {
      const Chunk chunk(size, seed);
      for (const size_t lanes : {size_t{1}, kMaxLanes / 2, kMaxLanes}) {
        const size_t first_row = seed / 4 * 7;
        const Result portable = Run(*all[0], tables[seed], first_row, chunk, lanes);
        for (size_t i = 1; i < all.size(); ++i) Require(Run(*all[i], tables[seed], first_row, chunk, lanes) == portable);
      }
    }
  }
  std::printf("%zu kernels keep within bounds\n", all.size());
  return 0;
}
