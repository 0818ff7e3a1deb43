// The inner loops for processors with AVX-512 as of Ice Lake and Zen 4: 16 lanes to a vector.
#include "lanes.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // in GCC's own header
#endif
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#define NVC_AVX512 \
  __attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi,bmi2")))

namespace nvc {
namespace {

constexpr size_t kVector = 16;              // lanes in a vector
constexpr size_t kFewRows = 128;            // as many as fit into eight registers
constexpr uint32_t kCalmFrequency = 50000;  // where all modes are at least as frequent, most symbols are modes
static_assert(sizeof(NarrowRow) == 64 * sizeof(int) && offsetof(NarrowRow, bin) == 16 * sizeof(int));
static_assert(kMaxLanes == 2 * kVector && kFewRows <= CdfTable::kPaddingRows);

NVC_AVX512 inline uint64_t FirstBits(size_t n) noexcept { return _bzhi_u64(~uint64_t{0}, std::min<size_t>(n, 64)); }

NVC_AVX512 inline __mmask64 CodedBytes(const uint8_t* indexes, size_t left, __m512i* bytes) noexcept {
  const __mmask64 valid = FirstBits(left);
  *bytes = _mm512_maskz_loadu_epi8(valid, indexes);
  return _mm512_mask_cmpneq_epi8_mask(valid, *bytes, _mm512_set1_epi8(-1));
}

NVC_AVX512 void CompactAvx512(const uint8_t* indexes, size_t size, ChunkRows* rows) noexcept {
  uint16_t* out = rows->row;
  __m512i last = _mm512_setzero_si512();
  for (size_t i = 0; i < size; i += 64) {
    __m512i bytes;
    const __mmask64 coded = CodedBytes(indexes + i, size - i, &bytes);
    if (coded != ~uint64_t{0}) bytes = _mm512_maskz_compress_epi8(coded, bytes);
    last = _mm512_max_epu8(last, bytes);
    _mm512_storeu_si512(out, _mm512_cvtepu8_epi16(_mm512_castsi512_si256(bytes)));
    _mm512_storeu_si512(out + 32, _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(bytes, 1)));
    out += _mm_popcnt_u64(coded);
  }
  alignas(64) uint8_t lasts[64];
  _mm512_store_si512(lasts, last);
  rows->last = *std::max_element(lasts, lasts + 64);
  rows->count = static_cast<size_t>(out - rows->row);
}

NVC_AVX512 void PickAvx512(const uint8_t* indexes, size_t size, const int8_t* symbols, int8_t* compact) noexcept {
  for (size_t i = 0; i < size; i += 64) {
    __m512i bytes;
    const __mmask64 coded = CodedBytes(indexes + i, size - i, &bytes);
    bytes = _mm512_maskz_loadu_epi8(FirstBits(size - i), symbols + i);
    _mm512_storeu_si512(compact, _mm512_maskz_compress_epi8(coded, bytes));
    compact += _mm_popcnt_u64(coded);
  }
}

NVC_AVX512 void SpreadAvx512(const uint8_t* indexes, size_t size, const int8_t* compact, int8_t* symbols) noexcept {
  for (size_t i = 0; i < size; i += 64) {
    __m512i bytes;
    const __mmask64 coded = CodedBytes(indexes + i, size - i, &bytes);
    bytes = _mm512_maskz_expand_epi8(coded, _mm512_loadu_si512(compact));
    _mm512_mask_storeu_epi8(symbols + i, FirstBits(size - i), bytes);
    compact += _mm_popcnt_u64(coded);
  }
}

NVC_AVX512 inline __m512i Low16(__m512i x) noexcept { return _mm512_and_si512(x, _mm512_set1_epi32(0xffff)); }

NVC_AVX512 inline __m512i LoadRows(const uint16_t* row) noexcept {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row)));
}

// values[rows]. kFew: all of the rows are below kFewRows.
template <bool kFew>
NVC_AVX512 inline __m512i PerRow(const uint32_t* values, __m512i rows) noexcept {
  if (!kFew) return _mm512_i32gather_epi32(rows, values, 4);
  __m512i quarter[4];
  for (size_t i = 0; i < 4; ++i) {
    quarter[i] = _mm512_permutex2var_epi32(_mm512_loadu_si512(values + 32 * i), rows,
                                           _mm512_loadu_si512(values + 32 * i + 16));
  }
  const __mmask16 bit5 = _mm512_test_epi32_mask(rows, _mm512_set1_epi32(32));
  const __mmask16 bit6 = _mm512_test_epi32_mask(rows, _mm512_set1_epi32(64));
  const __m512i low = _mm512_mask_mov_epi32(quarter[0], bit5, quarter[1]);
  const __m512i high = _mm512_mask_mov_epi32(quarter[2], bit5, quarter[3]);
  return _mm512_mask_mov_epi32(low, bit6, high);
}

// The lanes whose slots are not in these bins.
NVC_AVX512 inline uint32_t Outside(__m512i slots, __m512i bins) noexcept {
  return _mm512_cmpge_epu32_mask(_mm512_sub_epi32(slots, Low16(bins)), _mm512_srli_epi32(bins, 16));
}

// The bin of the row that holds the slot, in the low half.
NVC_AVX512 inline __m128i FindNarrow(const NarrowRow* rows, uint16_t row, const uint16_t* slot) noexcept {
  const char* narrow = reinterpret_cast<const char*>(rows + row);
  const __m512i slots = _mm512_set1_epi16(static_cast<int16_t>(*slot));
  const __mmask32 below = _mm512_cmpgt_epu16_mask(slots, _mm512_load_si512(narrow));
  const int64_t bin = _mm_popcnt_u64(below);
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(narrow + bin * int64_t{sizeof(NarrowRow::Bin)} +
                                                          offsetof(NarrowRow, bin)));
}

NVC_AVX512 inline __m128i FindTwo(const NarrowRow* rows, const uint16_t* row, const uint16_t* slot) noexcept {
  return _mm_unpacklo_epi64(FindNarrow(rows, row[0], slot), FindNarrow(rows, row[1], slot + 2));
}

// Eight bins as in NarrowRow. Slots are 32 bits wide in memory.
NVC_AVX512 inline __m512i FindEight(const NarrowRow* rows, const uint16_t* row, const uint16_t* slot) noexcept {
  const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(FindTwo(rows, row, slot)),
                                              FindTwo(rows, row + 2, slot + 4), 1);
  const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(FindTwo(rows, row + 4, slot + 8)),
                                               FindTwo(rows, row + 6, slot + 12), 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// Packed bins of 16 slots; stores their symbols and returns which are tails.
NVC_AVX512 inline __mmask16 FindBins(const NarrowRow* rows, const uint16_t* row, const uint16_t* slot,
                                     __m512i* bins, int8_t* symbols) noexcept {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  const __m512i low = FindEight(rows, row, slot);
  const __m512i high = FindEight(rows, row + 8, slot + 16);
  const __m512i values = _mm512_permutex2var_epi32(low, odd, high);
  *bins = _mm512_permutex2var_epi32(low, even, high);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(symbols), _mm512_cvtepi32_epi8(values));
  return _mm512_cmpeq_epi32_mask(values, _mm512_set1_epi32(NarrowRow::kTailSymbol));
}

// What remains of the states without their bins: DropBin.
NVC_AVX512 inline __m512i DropBins(__m512i states, __m512i slots, __m512i bins, __mmask16 active) noexcept {
  const __m512i rest = _mm512_mullo_epi32(_mm512_srli_epi32(states, 16), _mm512_srli_epi32(bins, 16));
  return _mm512_mask_add_epi32(states, active, rest, _mm512_sub_epi32(slots, Low16(bins)));
}

// Refill for 16 lanes. The leading zeros of a state, 1 to 24, say how many bytes it lacks: one above 8, two above 16.
NVC_AVX512 inline __m512i RefillAll(__m512i states, const uint8_t** pos) noexcept {
  const __m512i to_all = _mm512_set4_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0);
  const __m512i reversed = _mm512_set4_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203);
  const __m512i zeros = _mm512_lzcnt_epi32(states);
  const __mmask64 lacking =
      _mm512_cmpgt_epi8_mask(_mm512_shuffle_epi8(zeros, to_all), _mm512_set1_epi32(0x08107f7f));
  const __m512i bytes = _mm512_maskz_expand_epi8(lacking, _mm512_loadu_si512(*pos));
  *pos += _mm_popcnt_u64(lacking);
  const __m512i shift = _mm512_and_si512(_mm512_sub_epi32(zeros, _mm512_set1_epi32(1)), _mm512_set1_epi32(24));
  return _mm512_or_si512(_mm512_sllv_epi32(states, shift), _mm512_shuffle_epi8(bytes, reversed));
}

template <size_t kVectors, bool kFew>
NVC_AVX512 void DecodeVectors(LaneReader* reader, const CdfTable& table, size_t first_row, const ChunkRows& rows,
                              ChunkSymbols* symbols) noexcept {
  const uint32_t* modes = table.modes() + first_row;
  const NarrowRow* narrow = table.narrow_rows() + first_row;
  uint8_t* tails = reinterpret_cast<uint8_t*>(symbols->tails.bits);
  const uint8_t* pos = reader->pos;
  __m512i states[kVectors];
  for (size_t v = 0; v < kVectors; ++v) states[v] = _mm512_load_si512(reader->state + v * kVector);
  const __m512i calm = _mm512_set1_epi32(static_cast<int>(kCalmFrequency << 16));
  alignas(64) uint16_t slot_memory[kVectors][2 * kVector];
  for (size_t i = 0; i < rows.count; i += kVectors * kVector) {
    const uint64_t active = FirstBits(rows.count - i);
    __m512i slots[kVectors];
    __m512i bins[kVectors];
    uint64_t outside = 0;
    __mmask16 wild = 0;
    for (size_t v = 0; v < kVectors; ++v) {
      slots[v] = Low16(states[v]);
      bins[v] = PerRow<kFew>(modes, LoadRows(rows.row + i + v * kVector));
      wild |= _mm512_cmplt_epu32_mask(bins[v], calm);
      outside |= uint64_t{Outside(slots[v], bins[v])} << (v * kVector);
    }
    // The first branch depends on the rows alone, so the processor is not late when it guesses wrong.
    if (wild != 0 || (outside & active) != 0) {
      for (size_t v = 0; v < kVectors; ++v) _mm512_store_si512(slot_memory[v], slots[v]);
#pragma GCC unroll 2
      for (size_t v = 0; v < kVectors; ++v) {
        const size_t at = i + v * kVector;
        const uint16_t found = FindBins(narrow, rows.row + at, slot_memory[v], &bins[v], symbols->symbol + at);
        const uint16_t tail = static_cast<uint16_t>(found & active >> (v * kVector));
        std::memcpy(tails + at / 8, &tail, sizeof tail);
      }
    }
    for (size_t v = 0; v < kVectors; ++v) {
      states[v] = DropBins(states[v], slots[v], bins[v], static_cast<__mmask16>(active >> (v * kVector)));
      states[v] = RefillAll(states[v], &pos);
    }
  }
  for (size_t v = 0; v < kVectors; ++v) _mm512_store_si512(reader->state + v * kVector, states[v]);
  reader->pos = pos;
}

template <bool kFew>
NVC_AVX512 void DecodeLanes(LaneReader* reader, const CdfTable& table, size_t first_row, const ChunkRows& rows,
                            ChunkSymbols* symbols) noexcept {
  reader->lanes == kVector ? DecodeVectors<1, kFew>(reader, table, first_row, rows, symbols)
                           : DecodeVectors<2, kFew>(reader, table, first_row, rows, symbols);
}

NVC_AVX512 void DecodeAvx512(LaneReader* reader, const CdfTable& table, size_t first_row, ChunkRows* rows,
                             ChunkSymbols* symbols) noexcept {
  if (reader->lanes < kVector || table.narrow_rows() == nullptr) {
    return PortableKernels().decode(reader, table, first_row, rows, symbols);
  }
  std::memset(rows->row + rows->count, 0, kSlack * sizeof(uint16_t));
  symbols->tails = {};
  if (table.modes_are_zero()) {
    std::memset(symbols->symbol, 0, rows->count);
  } else {
    for (size_t i = 0; i < rows->count; ++i) symbols->symbol[i] = table.row(first_row + rows->row[i]).mode_symbol;
  }
  rows->last < kFewRows ? DecodeLanes<true>(reader, table, first_row, *rows, symbols)
                        : DecodeLanes<false>(reader, table, first_row, *rows, symbols);
}

template <bool kFew>
NVC_AVX512 void LookUpVectors(const CdfTable& table, size_t first_row, const ChunkRows& rows, const int8_t* symbols,
                              uint32_t* bins, ChunkTails* tails) noexcept {
  const uint32_t* ranges = table.ranges() + first_row;
  const int* narrow = reinterpret_cast<const int*>(table.narrow_rows() + first_row);
  uint8_t* tail_bytes = reinterpret_cast<uint8_t*>(tails->bits);
  for (size_t i = 0; i < rows.count; i += kVector) {
    const __mmask16 active = static_cast<__mmask16>(FirstBits(rows.count - i));
    const __m512i row = LoadRows(rows.row + i);
    const __m512i range = PerRow<kFew>(ranges, row);
    const __m512i value = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(active, symbols + i));
    const __m512i bin = _mm512_sub_epi32(value, _mm512_srai_epi32(range, 16));
    const __m512i tail = Low16(range);
    const uint16_t outside = _mm512_mask_cmpge_epu32_mask(active, bin, tail);
    std::memcpy(tail_bytes + i / 8, &outside, sizeof outside);
    const __m512i nearest = _mm512_slli_epi32(_mm512_min_epu32(bin, tail), 1);
    const __m512i place = _mm512_add_epi32(_mm512_slli_epi32(row, 6), nearest);
    const __m512i packed = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), active, place, narrow + 16, 4);
    _mm512_mask_storeu_epi32(bins + i, active, packed);
  }
}

NVC_AVX512 void LookUpAvx512(const CdfTable& table, size_t first_row, ChunkRows* rows, const int8_t* symbols,
                             uint32_t* bins, ChunkTails* tails) noexcept {
  if (table.narrow_rows() == nullptr) return PortableKernels().look_up(table, first_row, rows, symbols, bins, tails);
  std::memset(rows->row + rows->count, 0, kSlack * sizeof(uint16_t));
  *tails = {};
  rows->last < kFewRows ? LookUpVectors<true>(table, first_row, *rows, symbols, bins, tails)
                        : LookUpVectors<false>(table, first_row, *rows, symbols, bins, tails);
}

// MakeRoom for 16 lanes.
NVC_AVX512 inline __m512i MakeRoomAll(__m512i states, __m512i freqs, __mmask16 active, uint8_t** pos) noexcept {
  const __m512i reversed = _mm512_set4_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203);
  const __m512i limits = _mm512_slli_epi32(freqs, 15);
  const __m512i shifted = _mm512_srli_epi32(states, 8);
  const __mmask16 one = _mm512_mask_cmpge_epu32_mask(active, states, limits);
  const __mmask16 two = _mm512_mask_cmpge_epu32_mask(active, shifted, limits);
  const __mmask64 written = _pdep_u64(one, 0x8888888888888888) | _pdep_u64(two, 0x4444444444444444);
  const __m512i bytes = _mm512_maskz_compress_epi8(written, _mm512_shuffle_epi8(states, reversed));
  const uint32_t count = static_cast<uint32_t>(_mm_popcnt_u64(written));
  *pos -= count;
  _mm256_mask_storeu_epi8(*pos, _bzhi_u32(~0u, count), _mm512_castsi512_si256(bytes));
  states = _mm512_mask_mov_epi32(states, one, shifted);
  return _mm512_mask_srli_epi32(states, two, states, 8);
}

// Quotients below 2^15 of states below 2^31. Rounded down throughout, the floats are right or one too small.
NVC_AVX512 inline __m512i Divide(__m512i states, __m512i freqs) noexcept {
  constexpr int kDown = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;
  const __m512 quotient =
      _mm512_div_round_ps(_mm512_cvt_roundepu32_ps(states, kDown), _mm512_cvtepi32_ps(freqs), kDown);
  const __m512i whole = _mm512_cvttps_epi32(quotient);
  const __m512i rest = _mm512_sub_epi32(states, _mm512_mullo_epi32(whole, freqs));
  return _mm512_mask_add_epi32(whole, _mm512_cmpge_epu32_mask(rest, freqs), whole, _mm512_set1_epi32(1));
}

template <size_t kVectors>
NVC_AVX512 void EncodeVectors(LaneWriter* writer, const uint32_t* bins, size_t count) noexcept {
  constexpr size_t kLanes = kVectors * kVector;
  uint8_t* pos = writer->pos;
  __m512i states[kVectors];
  for (size_t v = 0; v < kVectors; ++v) states[v] = _mm512_load_si512(writer->state + v * kVector);
  for (size_t i = (count + kLanes - 1) / kLanes * kLanes; i > 0;) {
    i -= kLanes;
    const uint64_t active = FirstBits(count - i);
    for (size_t v = kVectors; v-- > 0;) {
      const __mmask16 lanes = static_cast<__mmask16>(active >> (v * kVector));
      const __m512i bin = _mm512_mask_loadu_epi32(_mm512_set1_epi32(1 << 16), lanes, bins + i + v * kVector);
      const __m512i freqs = _mm512_srli_epi32(bin, 16);
      states[v] = MakeRoomAll(states[v], freqs, lanes, &pos);
      const __m512i gap = _mm512_sub_epi32(_mm512_set1_epi32(static_cast<int>(kTotal)), freqs);
      const __m512i growth = _mm512_add_epi32(Low16(bin), _mm512_mullo_epi32(Divide(states[v], freqs), gap));
      states[v] = _mm512_mask_add_epi32(states[v], lanes, states[v], growth);
    }
  }
  for (size_t v = 0; v < kVectors; ++v) _mm512_store_si512(writer->state + v * kVector, states[v]);
  writer->pos = pos;
}

NVC_AVX512 void EncodeAvx512(LaneWriter* writer, const uint32_t* bins, size_t count) noexcept {
  if (writer->lanes < kVector) return PortableKernels().encode(writer, bins, count);
  writer->lanes == kVector ? EncodeVectors<1>(writer, bins, count) : EncodeVectors<2>(writer, bins, count);
}

constexpr Kernels kAvx512{CompactAvx512, PickAvx512, SpreadAvx512, DecodeAvx512, LookUpAvx512,
                          EncodeAvx512};

}  // namespace

const Kernels* Avx512Kernels() noexcept {
  __builtin_cpu_init();
  const bool available = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
                         __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("popcnt") &&
                         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  return available ? &kAvx512 : nullptr;
}

}  // namespace nvc

#else

namespace nvc {

const Kernels* Avx512Kernels() noexcept { return nullptr; }

}  // namespace nvc

#endif
