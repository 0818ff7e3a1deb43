// The kernels of the interleaved dialect, over chunks of a list: compaction of the coded positions, and rANS coding of
// their bins in lanes. A portable set, one for AVX2 and one for AVX-512 give the same results.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rans.h"
#include "segment.h"
#include "tables.h"

namespace nvc {

inline constexpr size_t kMaxLanes = 32;
inline constexpr size_t kChunkSymbols = 4096;  // part of the format
inline constexpr size_t kSlack = 64;           // elements behind the end of an array that a kernel may read or write

// Most bytes from the position on that decoding a chunk may look at.
inline constexpr size_t kMaxChunkReads = 2 * (kChunkSymbols + kSlack) + 64;

// A part being read. Symbol i of a chunk belongs to lane i % lanes; lanes is a power of two.
struct LaneReader {
  alignas(64) uint32_t state[kMaxLanes];
  size_t lanes = 1;
  const uint8_t* pos = nullptr;
};

// A part being written, from its last byte to its first.
struct LaneWriter {
  alignas(64) uint32_t state[kMaxLanes];
  size_t lanes = 1;
  uint8_t* pos = nullptr;
};

// The coded positions of a chunk.
struct ChunkRows {
  size_t count;
  uint32_t last;                         // the largest row
  uint16_t row[kChunkSymbols + kSlack];  // relative to the first row of the list
};

// The symbols that have an escape code.
struct ChunkTails {
  uint64_t bits[kChunkSymbols / 64 + 1];  // bit i % 64 of element i / 64 stands for symbol i
};

struct ChunkSymbols {
  int8_t symbol[kChunkSymbols + kSlack];  // undefined where a tail was taken
  ChunkTails tails;
};

struct Kernels {
  const char* name;
  // The coded of size <= kChunkSymbols positions.
  void (*compact)(const uint8_t* indexes, size_t size, ChunkRows* rows) noexcept;
  // Their symbols. symbols, too, has an element for every position; compact has room for size and kSlack more.
  void (*pick)(const uint8_t* indexes, size_t size, const int8_t* symbols, int8_t* compact) noexcept;
  // Inverse of pick: puts 0 at positions that are not coded. Writes size symbols and no more; kSlack more of compact than
  // are coded can be read.
  void (*spread)(const uint8_t* indexes, size_t size, const int8_t* compact, int8_t* symbols) noexcept;
  // Reads one bin for each of the rows. Requires valid states, first_row + rows.last < table.rows() and
  // kMaxChunkReads readable bytes.
  void (*decode)(LaneReader* reader, const CdfTable& table, size_t first_row, ChunkRows* rows,
                 ChunkSymbols* symbols) noexcept;
  // The packed bins of rows.count symbols. Reads nothing behind the symbols, which may be the caller's own array, and
  // writes nothing behind the bins, which another thread's may follow. Requires first_row + rows.last < table.rows().
  void (*look_up)(const CdfTable& table, size_t first_row, ChunkRows* rows, const int8_t* symbols, uint32_t* bins,
                  ChunkTails* tails) noexcept;
  // Positions of the bits set among the first count, in order; places has room for all and kSlack more.
  size_t (*list)(const ChunkTails& tails, size_t count, uint16_t* places) noexcept;
  // Writes count packed bins. Requires kSlack more that can be read, and 2 * count + kSlack writable bytes before pos.
  void (*encode)(LaneWriter* writer, const uint32_t* bins, size_t count) noexcept;
};

const Kernels& PortableKernels() noexcept;
const Kernels* Avx2Kernels() noexcept;     // null if this build or this processor has none
const Kernels* Avx512Kernels() noexcept;
std::vector<const Kernels*> AllKernels();  // of this processor, the slowest first

}  // namespace nvc
