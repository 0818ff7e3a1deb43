#include "lanes.h"

#include <algorithm>

#if defined(_M_X64) || defined(_M_ARM64)
#include <intrin.h>
#endif

namespace nvc {
namespace {

// Requires bits != 0.
unsigned TrailingZeros(uint64_t bits) noexcept {
#if defined(_M_X64) || defined(_M_ARM64)
  unsigned long zeros = 0;
  _BitScanForward64(&zeros, bits);
  return zeros;
#elif defined(__GNUC__) || defined(__clang__)
  return static_cast<unsigned>(__builtin_ctzll(bits));
#else
  unsigned zeros = 0;
  while ((bits >> zeros & 1) == 0) ++zeros;
  return zeros;
#endif
}

void CompactPortable(const uint8_t* indexes, size_t size, ChunkRows* rows) noexcept {
  const Compacted result = Compact(indexes, size, rows->row, [](uint8_t index, size_t) { return uint16_t{index}; });
  rows->count = result.count;
  rows->last = result.last;
}

void PickPortable(const uint8_t* indexes, size_t size, const int8_t* symbols, int8_t* compact) noexcept {
  Compact(indexes, size, compact, [symbols](uint8_t, size_t i) { return symbols[i]; });
}

void DecodePortable(LaneReader* reader, const CdfTable& table, size_t first_row, ChunkRows* rows,
                    ChunkSymbols* symbols) noexcept {
  symbols->tails = {};
  Reader r{0, reader->pos};
  for (size_t i = 0; i < rows->count; ++i) {
    uint32_t& state = reader->state[i & (reader->lanes - 1)];
    const size_t row = first_row + rows->row[i];
    const Row& info = table.row(row);
    const uint32_t slot = state & (kTotal - 1);
    r.state = state;
    // Where the table is sure, the processor predicts this branch and need not wait for the state.
    if (slot - info.mode_start < info.mode_freq) {
      symbols->symbol[i] = info.mode_symbol;
      r = DropBin(r, info.mode_start, info.mode_freq);
    } else {
      const uint32_t bin = table.FindBin(row, slot);
      symbols->symbol[i] = static_cast<int8_t>(static_cast<int32_t>(bin) + info.offset);
      symbols->tails.bits[i / 64] |= uint64_t{bin == info.tail} << (i % 64);
      r = DropBin(r, table.starts(row)[bin], table.starts(row)[bin + 1] - table.starts(row)[bin]);
    }
    r = Refill(r);
    state = r.state;
  }
  reader->pos = r.pos;
}

void LookUpPortable(const CdfTable& table, size_t first_row, ChunkRows* rows, const int8_t* symbols, uint32_t* bins,
                    ChunkTails* tails) noexcept {
  *tails = {};
  for (size_t begin = 0; begin < rows->count; begin += 64) {
    const size_t end = std::min(rows->count, begin + 64);
    uint64_t bits = 0;
    for (size_t i = begin; i < end; ++i) {
      const size_t row = first_row + rows->row[i];
      const Row& info = table.row(row);
      const uint32_t bin = static_cast<uint32_t>(symbols[i] - info.offset);
      bins[i] = table.packed_bin(row, std::min<uint32_t>(bin, info.tail));
      bits |= uint64_t{bin >= info.tail} << (i - begin);
    }
    tails->bits[begin / 64] = bits;
  }
}

size_t ListPortable(const ChunkTails& tails, size_t count, uint16_t* places) noexcept {
  uint16_t* place = places;
  for (size_t base = 0; base < count; base += 64) {
    for (uint64_t bits = tails.bits[base / 64]; bits != 0; bits &= bits - 1) {
      *place++ = static_cast<uint16_t>(base + TrailingZeros(bits));
    }
  }
  return static_cast<size_t>(place - places);
}

void EncodePortable(LaneWriter* writer, const uint32_t* bins, size_t count) noexcept {
  const size_t last_lane = writer->lanes - 1;
  uint8_t* pos = writer->pos;
  for (size_t i = count; i-- > 0;) {
    uint32_t& state = writer->state[i & last_lane];
    const Writer w = PutBin({state, pos}, BinStart(bins[i]), BinFreq(bins[i]));
    state = w.state;
    pos = w.pos;
  }
  writer->pos = pos;
}

constexpr Kernels kPortable{"portable",     CompactPortable, PickPortable, Spread<uint8_t>,
                            DecodePortable, LookUpPortable,  ListPortable, EncodePortable};

}  // namespace

const Kernels& PortableKernels() noexcept { return kPortable; }

std::vector<const Kernels*> AllKernels() {
  std::vector<const Kernels*> result{&kPortable};
  for (const Kernels* kernels : {Avx2Kernels(), Avx512Kernels()}) {
    if (kernels != nullptr) result.push_back(kernels);
  }
  return result;
}

}  // namespace nvc
