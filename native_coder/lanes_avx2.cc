// The kernels for processors with AVX2: 8 lanes to a vector.
#include "lanes.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#include <algorithm>
#include <array>

#include "lanes_avx2.h"

namespace nvc {
namespace {

constexpr size_t kVector = 8;    // lanes in a vector
constexpr uint8_t kNone = 0x80;  // for a shuffle: zero
using Bytes8 = std::array<uint8_t, 8>;
using Bytes16 = std::array<uint8_t, 16>;

constexpr bool Bit(size_t bits, size_t i) { return (bits >> i & 1) != 0; }

// Shuffles for each subset of eight bytes: to the front, and back.
struct Shuffles {
  constexpr Shuffles() {
    for (size_t set = 0; set < 256; ++set) {
      uint8_t count = 0;
      for (uint8_t i = 0; i < 8; ++i) {
        front[set][i] = kNone;
        back[set][i] = Bit(set, i) ? count : kNone;
        if (Bit(set, i)) front[set][count++] = i;
      }
    }
  }
  alignas(64) Bytes8 front[256] = {};
  Bytes8 back[256] = {};
};
constexpr Shuffles kShuffles;

// Shuffles for four lanes, by 8 bits: bits 0 to 3 are the lanes that read or write a byte, 4 to 7 those with a second.
struct LaneShuffles {
  constexpr LaneShuffles() {
    for (size_t bytes = 0; bytes < 256; ++bytes) {
      uint8_t count = 0;
      for (uint8_t i = 0; i < 16; ++i) read[bytes][i] = kNone;
      for (size_t lane = 0; lane < 4; ++lane) {
        if (Bit(bytes, lane + 4)) read[bytes][4 * lane + 1] = count++;
        if (Bit(bytes, lane)) read[bytes][4 * lane] = count++;
      }
      size_t end = 8;
      for (uint8_t i = 0; i < 8; ++i) write[bytes][i] = kNone;
      for (uint8_t lane = 4; lane-- > 0;) {
        if (Bit(bytes, lane)) write[bytes][--end] = static_cast<uint8_t>(4 * lane);
        if (Bit(bytes, lane + 4)) write[bytes][--end] = static_cast<uint8_t>(4 * lane + 1);
      }
    }
  }
  alignas(64) Bytes16 read[256] = {};  // the next bytes of the part to the low bytes of the lanes
  Bytes8 write[256] = {};              // the low bytes of the lanes to the last bytes of eight
};
constexpr LaneShuffles kLaneShuffles;

template <class Bytes>
NVC_AVX2 inline __m128i Load8(const Bytes* bytes) noexcept {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
}

NVC_AVX2 inline void Store8(void* to, __m128i bytes) noexcept {
  _mm_storel_epi64(static_cast<__m128i*>(to), bytes);
}

// Mask of the coded ones of the next eight positions.
NVC_AVX2 inline uint32_t Coded8(__m128i indexes) noexcept {
  return ~static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(indexes, _mm_set1_epi8(-1)))) & 0xff;
}

NVC_AVX2 void CompactAvx2(const uint8_t* indexes, size_t size, ChunkRows* rows) noexcept {
  uint16_t* out = rows->row;
  __m128i last = _mm_setzero_si128();  // and 1 more
  size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const __m128i bytes = Load8(indexes + i);
    const uint32_t coded = Coded8(bytes);
    last = _mm_max_epu8(last, _mm_sub_epi8(bytes, _mm_set1_epi8(-1)));
    const __m128i front = _mm_cvtepu8_epi16(_mm_shuffle_epi8(bytes, Load8(&kShuffles.front[coded])));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), front);
    out += _mm_popcnt_u32(coded);
  }
  alignas(16) uint8_t lasts[16];
  _mm_store_si128(reinterpret_cast<__m128i*>(lasts), last);
  const uint32_t most = *std::max_element(lasts, lasts + 8);
  rows->last = most == 0 ? 0 : most - 1;
  for (; i < size; ++i) {
    if (indexes[i] == kSkip<uint8_t>) continue;
    *out++ = indexes[i];
    rows->last = std::max<uint32_t>(rows->last, indexes[i]);
  }
  rows->count = static_cast<size_t>(out - rows->row);
}

NVC_AVX2 void PickAvx2(const uint8_t* indexes, size_t size, const int8_t* symbols, int8_t* compact) noexcept {
  size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const uint32_t coded = Coded8(Load8(indexes + i));
    Store8(compact, _mm_shuffle_epi8(Load8(symbols + i), Load8(&kShuffles.front[coded])));
    compact += _mm_popcnt_u32(coded);
  }
  PortableKernels().pick(indexes + i, size - i, symbols + i, compact);
}

NVC_AVX2 void SpreadAvx2(const uint8_t* indexes, size_t size, const int8_t* compact, int8_t* symbols) noexcept {
  size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const uint32_t coded = Coded8(Load8(indexes + i));
    Store8(symbols + i, _mm_shuffle_epi8(Load8(compact), Load8(&kShuffles.back[coded])));
    compact += _mm_popcnt_u32(coded);
  }
  PortableKernels().spread(indexes + i, size - i, compact, symbols + i);
}

// The lanes of vector v that stand for one of count symbols.
NVC_AVX2 inline __m256i Active(size_t count, size_t v) noexcept {
  const __m256i lane = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                                        _mm256_set1_epi32(static_cast<int>(v * kVector)));
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane);
}

// Indexes into LaneShuffles, for four lanes each.
struct LaneBytes {
  NVC_AVX2 LaneBytes(__m256i one, __m256i two) noexcept {
    const uint32_t ones = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(one)));
    const uint32_t twos = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(two)));
    low = (ones & 15) | (twos & 15) << 4;
    high = ones >> 4 | (twos & 0xf0);
  }
  uint32_t low;
  uint32_t high;
};

// Refill for 8 lanes.
NVC_AVX2 inline __m256i RefillAll(__m256i states, const uint8_t** pos) noexcept {
  const __m256i one = _mm256_cmpgt_epi32(_mm256_set1_epi32(kLowerBound), states);
  const __m256i two = _mm256_cmpgt_epi32(_mm256_set1_epi32(kLowerBound >> 8), states);
  const __m256i eight = _mm256_set1_epi32(8);
  const __m256i shift = _mm256_add_epi32(_mm256_and_si256(one, eight), _mm256_and_si256(two, eight));
  const LaneBytes bytes(one, two);
  const __m128i low = _mm_shuffle_epi8(
      Load8(*pos), _mm_load_si128(reinterpret_cast<const __m128i*>(&kLaneShuffles.read[bytes.low])));
  *pos += _mm_popcnt_u32(bytes.low);
  const __m128i high = _mm_shuffle_epi8(
      Load8(*pos), _mm_load_si128(reinterpret_cast<const __m128i*>(&kLaneShuffles.read[bytes.high])));
  *pos += _mm_popcnt_u32(bytes.high);
  return _mm256_or_si256(_mm256_sllv_epi32(states, shift),
                         _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1));
}

NVC_AVX2 inline __m256i Low16(__m256i x) noexcept { return _mm256_and_si256(x, _mm256_set1_epi32(0xffff)); }

// The bin of the slot as PackBin; stores the symbol.
NVC_AVX2 inline int32_t FindOne(const NarrowRow* rows, const FewBins* few, uint16_t row, const uint32_t* slot,
                                int8_t* symbol) noexcept {
  const __m256i slots = _mm256_set1_epi32(static_cast<int>(*slot));
  const __m256i* starts = reinterpret_cast<const __m256i*>(rows[row].start);
  const __m256i low = _mm256_load_si256(starts);
  const __m256i high = _mm256_load_si256(starts + 1);
  const __m256i below = _mm256_packs_epi16(_mm256_cmpeq_epi16(_mm256_min_epu16(low, slots), low),
                                           _mm256_cmpeq_epi16(_mm256_min_epu16(high, slots), high));
  const int count = _mm_popcnt_u32(static_cast<uint32_t>(_mm256_movemask_epi8(below)));
  *symbol = static_cast<int8_t>(few[row].symbol + count - kNeverAbove);
  int32_t bin;
  std::memcpy(&bin, rows[row].start + count - 1, sizeof bin);
  return bin;
}

// kLanes is 16 or 32.
template <size_t kLanes>
NVC_AVX2 void DecodeVectors(LaneReader* reader, const CdfTable& table, size_t first_row, const ChunkRows& rows,
                            ChunkSymbols* symbols) noexcept {
  constexpr size_t kVectors = kLanes / kVector;
  const NarrowRow* narrow = table.narrow_rows() + first_row;
  const FewBins* few = table.few_bins() + first_row;
  const __m256i few_rows = _mm256_set1_epi16(static_cast<int16_t>(std::min(table.few_bins_run(first_row), 65535u)));
  uint8_t* tails = reinterpret_cast<uint8_t*>(symbols->tails.bits);
  const uint8_t* pos = reader->pos;
  __m256i states[kVectors];
  for (size_t v = 0; v < kVectors; ++v) states[v] = _mm256_load_si256(reinterpret_cast<__m256i*>(reader->state) + v);
  for (size_t i = 0; i < rows.count; i += kLanes) {
#pragma GCC unroll 2
    for (size_t v = 0; v < kVectors; v += 2) {
      const size_t at = i + v * kVector;
      const uint16_t* row = rows.row + at;
      const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row));
      __m256i freqs[2];
      __m256i rests[2];
      // This branch depends on the rows alone, so the processor is not late when it guesses wrong.
      if (_mm256_testz_si256(_mm256_cmpeq_epi16(_mm256_max_epu16(all, few_rows), all), _mm256_set1_epi8(-1))) {
        const __m256i slots = _mm256_packus_epi32(Low16(states[v]), Low16(states[v + 1]));
        const Found found = FindFew<true>(few, row, slots, symbols->symbol + at, tails + at / 8);
        freqs[0] = _mm256_unpacklo_epi16(found.freqs, _mm256_setzero_si256());
        freqs[1] = _mm256_unpackhi_epi16(found.freqs, _mm256_setzero_si256());
        rests[0] = _mm256_unpacklo_epi16(found.rests, _mm256_setzero_si256());
        rests[1] = _mm256_unpackhi_epi16(found.rests, _mm256_setzero_si256());
      } else {
        alignas(32) uint32_t slots[2 * kVector];
        alignas(32) int32_t bins[2 * kVector];
        for (size_t k = 0; k < 2; ++k) {
          const __m256i slot = Low16(states[v + k]);
          _mm256_store_si256(reinterpret_cast<__m256i*>(slots) + k,
                             _mm256_or_si256(slot, _mm256_slli_epi32(slot, 16)));
        }
        for (size_t k = 0; k < 2 * kVector; ++k) {
          bins[k] = FindOne(narrow, few, row[k], slots + k, symbols->symbol + at + k);
        }
        uint16_t tail = 0;
        for (size_t k = 0; k < 2; ++k) {
          const __m256i bin = _mm256_load_si256(reinterpret_cast<const __m256i*>(bins) + k);
          const __m256i ends = _mm256_srli_epi32(bin, 16);
          const __m256i none = _mm256_cmpeq_epi32(ends, _mm256_setzero_si256());
          tail = static_cast<uint16_t>(tail | _mm256_movemask_ps(_mm256_castsi256_ps(none)) << (k * kVector));
          freqs[k] = Low16(_mm256_sub_epi32(ends, bin));
          rests[k] = Low16(_mm256_sub_epi32(states[v + k], bin));
        }
        std::memcpy(tails + at / 8, &tail, sizeof tail);
      }
      for (size_t k = 0; k < 2; ++k) {
        const __m256i product = _mm256_mullo_epi32(_mm256_srli_epi32(states[v + k], 16), freqs[k]);
        const __m256i dropped = _mm256_add_epi32(product, rests[k]);
        states[v + k] =
            RefillAll(_mm256_blendv_epi8(states[v + k], dropped, Active(rows.count - i, v + k)), &pos);
      }
    }
  }
  symbols->tails.bits[rows.count / 64] &= (uint64_t{1} << rows.count % 64) - 1;
  for (size_t v = 0; v < kVectors; ++v) _mm256_store_si256(reinterpret_cast<__m256i*>(reader->state) + v, states[v]);
  reader->pos = pos;
}

NVC_AVX2 void DecodeAvx2(LaneReader* reader, const CdfTable& table, size_t first_row, ChunkRows* rows,
                         ChunkSymbols* symbols) noexcept {
  if (reader->lanes < 2 * kVector || table.narrow_rows() == nullptr) {
    return PortableKernels().decode(reader, table, first_row, rows, symbols);
  }
  std::memset(rows->row + rows->count, 0, kSlack * sizeof(uint16_t));
  reader->lanes == 2 * kVector ? DecodeVectors<2 * kVector>(reader, table, first_row, *rows, symbols)
                               : DecodeVectors<4 * kVector>(reader, table, first_row, *rows, symbols);
}

// PutBin for 8 lanes. Only the lanes that are active write.
NVC_AVX2 inline __m256i PutBins(__m256i states, __m256i bins, __m256i active, uint8_t** pos) noexcept {
  const __m256i freqs = Low16(_mm256_sub_epi32(_mm256_srli_epi32(bins, 16), bins));
  const __m256i below = _mm256_sub_epi32(_mm256_slli_epi32(freqs, 15), _mm256_set1_epi32(1));
  const __m256i shifted = _mm256_srli_epi32(states, 8);
  const __m256i one = _mm256_and_si256(active, _mm256_cmpgt_epi32(states, below));
  const __m256i two = _mm256_and_si256(active, _mm256_cmpgt_epi32(shifted, below));
  const LaneBytes bytes(one, two);
  Store8(*pos - 8, _mm_shuffle_epi8(_mm256_extracti128_si256(states, 1), Load8(&kLaneShuffles.write[bytes.high])));
  *pos -= _mm_popcnt_u32(bytes.high);
  Store8(*pos - 8, _mm_shuffle_epi8(_mm256_castsi256_si128(states), Load8(&kLaneShuffles.write[bytes.low])));
  *pos -= _mm_popcnt_u32(bytes.low);
  const __m256i eight = _mm256_set1_epi32(8);
  const __m256i shift = _mm256_add_epi32(_mm256_and_si256(one, eight), _mm256_and_si256(two, eight));
  const __m256i ready = _mm256_srlv_epi32(states, shift);
  // Quotients below 2^15, right or one too small: the factor outweighs three roundings to 24 bits.
  const __m256 reciprocals = _mm256_div_ps(_mm256_set1_ps(1 - 0x1p-20f), _mm256_cvtepi32_ps(freqs));
  const __m256i quotients = _mm256_cvttps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(ready), reciprocals));
  const __m256i rests = _mm256_sub_epi32(ready, _mm256_mullo_epi32(quotients, freqs));
  const __m256i gap = _mm256_sub_epi32(_mm256_set1_epi32(static_cast<int>(kTotal)), freqs);
  const __m256i fits = _mm256_cmpgt_epi32(freqs, rests);
  const __m256i begin = _mm256_add_epi32(_mm256_slli_epi32(quotients, 16), Low16(bins));
  const __m256i next = _mm256_add_epi32(_mm256_add_epi32(begin, rests), _mm256_andnot_si256(fits, gap));
  return _mm256_blendv_epi8(states, next, active);
}

template <size_t kLanes>
NVC_AVX2 void EncodeVectors(LaneWriter* writer, const uint32_t* bins, size_t count) noexcept {
  constexpr size_t kVectors = kLanes / kVector;
  uint8_t* pos = writer->pos;
  __m256i states[kVectors];
  for (size_t v = 0; v < kVectors; ++v) states[v] = _mm256_load_si256(reinterpret_cast<__m256i*>(writer->state) + v);
  for (size_t i = (count + kLanes - 1) / kLanes * kLanes; i > 0;) {
    i -= kLanes;
    for (size_t v = kVectors; v-- > 0;) {
      const __m256i bin = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bins + i + v * kVector));
      states[v] = PutBins(states[v], bin, Active(count - i, v), &pos);
    }
  }
  for (size_t v = 0; v < kVectors; ++v) _mm256_store_si256(reinterpret_cast<__m256i*>(writer->state) + v, states[v]);
  writer->pos = pos;
}

NVC_AVX2 void EncodeAvx2(LaneWriter* writer, const uint32_t* bins, size_t count) noexcept {
  if (writer->lanes < 2 * kVector) return PortableKernels().encode(writer, bins, count);
  writer->lanes == 2 * kVector ? EncodeVectors<2 * kVector>(writer, bins, count)
                               : EncodeVectors<4 * kVector>(writer, bins, count);
}

}  // namespace

const Kernels* Avx2Kernels() noexcept {
  static const Kernels kernels{"avx2",     CompactAvx2,  PickAvx2, SpreadAvx2,
                               DecodeAvx2, PortableKernels().look_up, PortableKernels().list, EncodeAvx2};
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt") ? &kernels : nullptr;
}

}  // namespace nvc

#else

namespace nvc {

const Kernels* Avx2Kernels() noexcept { return nullptr; }

}  // namespace nvc

#endif
