// The kernels for processors with AVX-512 as of Ice Lake and Zen 4: 16 lanes to a vector.
#include "lanes.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // in GCC's own header
#endif
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "lanes_avx2.h"

#define NVC_AVX512 \
  __attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi,bmi2")))

namespace nvc {
namespace {

constexpr size_t kVector = 16;      // lanes in a vector
constexpr size_t kByteRows = 128;   // rows whose values of one byte fit into two registers
constexpr uint32_t kCalmRows = 64;  // values of two bytes
static_assert(kMaxLanes == 2 * kVector && kByteRows <= CdfTable::kPaddingRows && sizeof(NarrowRow) == 64);

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

// The start of the bin that holds the slot, and its end; stores the symbol.
NVC_AVX512 inline const uint16_t* FindOne(const NarrowRow* rows, const FewBins* few, uint16_t row, const uint32_t* slot,
                                          int8_t* symbol) noexcept {
  const __m512i slots = _mm512_set1_epi32(static_cast<int>(*slot));
  const NarrowRow& narrow = rows[row];
  const int64_t count = _mm_popcnt_u64(_mm512_cmpge_epu16_mask(slots, _mm512_load_si512(narrow.start)));
  *symbol = static_cast<int8_t>(few[row].symbol + static_cast<int>(count) - kNeverAbove);
  return narrow.start + count - 1;
}

NVC_AVX512 inline __m128i FindFour(const NarrowRow* rows, const FewBins* few, const uint16_t* row, const uint32_t* slot,
                                   int8_t* symbol) noexcept {
  int32_t bin[4];
  for (size_t i = 0; i < 4; ++i) std::memcpy(bin + i, FindOne(rows, few, row[i], slot + i, symbol + i), sizeof *bin);
  return _mm_setr_epi32(bin[0], bin[1], bin[2], bin[3]);
}

// The bins of 16 slots as PackBin.
NVC_AVX512 inline __m512i FindAll(const NarrowRow* rows, const FewBins* few, const uint16_t* row, const uint32_t* slot,
                                  int8_t* symbol) noexcept {
  const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(FindFour(rows, few, row, slot, symbol)),
                                              FindFour(rows, few, row + 4, slot + 4, symbol + 4), 1);
  const __m256i high =
      _mm256_inserti128_si256(_mm256_castsi128_si256(FindFour(rows, few, row + 8, slot + 8, symbol + 8)),
                              FindFour(rows, few, row + 12, slot + 12, symbol + 12), 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// Refill for 16 lanes. The leading zeros of a state, 1 to 24, give the bytes that it lacks: one above 8, two above 16.
NVC_AVX512 inline __m512i RefillAll(__m512i states, const uint8_t** pos) noexcept {
  const __m512i to_all = _mm512_set4_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0);
  const __m512i reversed = _mm512_set4_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203);
  const __m512i zeros = _mm512_lzcnt_epi32(states);
  const __mmask64 lacking =
      _mm512_cmpgt_epi8_mask(_mm512_shuffle_epi8(zeros, to_all), _mm512_set1_epi32(0x08107f7f));
  __m512i next = _mm512_loadu_si512(*pos);
  asm("" : "+v"(next));  // expanding from memory takes longer
  const __m512i bytes = _mm512_maskz_expand_epi8(lacking, next);
  *pos += _mm_popcnt_u64(lacking);
  const __m512i shift = _mm512_and_si512(_mm512_sub_epi32(zeros, _mm512_set1_epi32(1)), _mm512_set1_epi32(24));
  return _mm512_or_si512(_mm512_sllv_epi32(states, shift), _mm512_shuffle_epi8(bytes, reversed));
}

// The 16-bit numbers of rows, all below kCalmRows.
NVC_AVX512 inline __m512i PerRow(const __m512i* values, __m512i rows) noexcept {
  const __mmask32 high = _mm512_test_epi16_mask(rows, _mm512_set1_epi16(32));
  return _mm512_mask_permutexvar_epi16(_mm512_permutexvar_epi16(rows, values[0]), high, rows, values[1]);
}

// 16 or 32 rows. Two vectors alternate, so that slots, too, are packed and unpacked within 128-bit lanes.
template <size_t kVectors>
NVC_AVX512 inline __m512i LoadRows(const uint16_t* row) noexcept {
  if (kVectors == 1) return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row)));
  return _mm512_permutexvar_epi16(
      _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3,
                       18, 2, 17, 1, 16, 0),
      _mm512_loadu_si512(row));
}

template <size_t kVectors>
NVC_AVX512 void DecodeVectors(LaneReader* reader, const CdfTable& table, size_t first_row, const ChunkRows& rows,
                              ChunkSymbols* symbols) noexcept {
  constexpr size_t kLanes = kVectors * kVector;
  const NarrowRow* narrow = table.narrow_rows() + first_row;
  const FewBins* few = table.few_bins() + first_row;
  const __m512i few_rows = _mm512_set1_epi16(static_cast<int16_t>(std::min(table.few_bins_run(first_row), 65535u)));
  const __m512i calm_rows = _mm512_set1_epi16(static_cast<int16_t>(std::min(table.calm_run(first_row), kCalmRows)));
  __m512i zero_starts[2];
  __m512i zero_freqs[2];
  for (size_t i = 0; i < 2; ++i) {
    zero_starts[i] = _mm512_loadu_si512(table.zero_starts() + first_row + 32 * i);
    zero_freqs[i] = _mm512_loadu_si512(table.zero_freqs() + first_row + 32 * i);
  }
  uint8_t* tails = reinterpret_cast<uint8_t*>(symbols->tails.bits);
  const uint8_t* pos = reader->pos;
  __m512i states[kVectors];
  for (size_t v = 0; v < kVectors; ++v) states[v] = _mm512_load_si512(reader->state + v * kVector);
  const auto advance = [&](size_t v, __m512i freqs, __m512i rests, size_t i) NVC_AVX512 {
    const __mmask16 active = static_cast<__mmask16>(FirstBits(rows.count - i) >> (v * kVector));
    const __m512i product = _mm512_mullo_epi32(_mm512_srli_epi32(states[v], 16), freqs);
    states[v] = RefillAll(_mm512_mask_add_epi32(states[v], active, product, rests), &pos);
  };
  for (size_t i = 0; i < rows.count; i += kLanes) {
    // These branches depend on the rows alone, so the processor is not late when it guesses wrong, but for one, which
    // mostly goes the same way.
    const __m512i row = LoadRows<kVectors>(rows.row + i);
    if (_mm512_cmpge_epu16_mask(row, calm_rows) == 0) {
      const __m512i slots =
          kVectors == 1 ? states[0]
                        : _mm512_mask_blend_epi16(0xaaaaaaaa, states[0], _mm512_slli_epi32(states[kVectors - 1], 16));
      const __m512i freqs = PerRow(zero_freqs, row);
      const __m512i rests = _mm512_sub_epi16(slots, PerRow(zero_starts, row));
      const __mmask32 valid = kVectors == 1 ? 0x55555555 : 0xffffffff;
      if (_mm512_mask_cmpge_epu16_mask(valid, rests, freqs) == 0) {
        std::memset(symbols->symbol + i, 0, kLanes);
        std::memset(tails + i / 8, 0, kLanes / 8);
        advance(0, Low16(freqs), Low16(rests), i);
        if (kVectors == 2) advance(kVectors - 1, _mm512_srli_epi32(freqs, 16), _mm512_srli_epi32(rests, 16), i);
        continue;
      }
    }
    if (_mm512_cmpge_epu16_mask(row, few_rows) == 0) {
#pragma GCC unroll 2
      for (size_t v = 0; v < kVectors; ++v) {
        const size_t at = i + v * kVector;
        const Found found =
            FindFew<false>(few, rows.row + at, _mm512_cvtepi32_epi16(states[v]), symbols->symbol + at, tails + at / 8);
        advance(v, _mm512_cvtepu16_epi32(found.freqs), _mm512_cvtepu16_epi32(found.rests), i);
      }
    } else {
#pragma GCC unroll 2
      for (size_t v = 0; v < kVectors; ++v) {
        const size_t at = i + v * kVector;
        const __m512i twice = _mm512_set4_epi32(0x0d0c0d0c, 0x09080908, 0x05040504, 0x01000100);
        alignas(64) uint32_t slots[kVector];
        _mm512_store_si512(slots, _mm512_shuffle_epi8(states[v], twice));
        asm("" : "+m"(slots));  // loads from memory are cheaper than the compilers' shuffles
        const __m512i found = FindAll(narrow, few, rows.row + at, slots, symbols->symbol + at);
        const __m512i ends = _mm512_srli_epi32(found, 16);
        const uint16_t tail = _mm512_testn_epi32_mask(ends, ends);
        std::memcpy(tails + at / 8, &tail, sizeof tail);
        advance(v, Low16(_mm512_sub_epi32(ends, found)), Low16(_mm512_sub_epi32(states[v], found)), i);
      }
    }
  }
  symbols->tails.bits[rows.count / 64] &= (uint64_t{1} << rows.count % 64) - 1;
  for (size_t v = 0; v < kVectors; ++v) _mm512_store_si512(reader->state + v * kVector, states[v]);
  reader->pos = pos;
}

NVC_AVX512 void DecodeAvx512(LaneReader* reader, const CdfTable& table, size_t first_row, ChunkRows* rows,
                             ChunkSymbols* symbols) noexcept {
  if (reader->lanes < kVector || table.narrow_rows() == nullptr) {
    return PortableKernels().decode(reader, table, first_row, rows, symbols);
  }
  std::memset(rows->row + rows->count, 0, kSlack * sizeof(uint16_t));
  reader->lanes == kVector ? DecodeVectors<1>(reader, table, first_row, *rows, symbols)
                           : DecodeVectors<2>(reader, table, first_row, *rows, symbols);
}

// values[rows], all below kByteRows.
NVC_AVX512 inline __m512i PerByteRow(const int8_t* values, __m512i rows) noexcept {
  return _mm512_permutex2var_epi8(_mm512_loadu_si512(values), rows, _mm512_loadu_si512(values + 64));
}

// Byte offsets of bins in the narrow rows.
NVC_AVX512 inline __m512i PlaceInRows(__m512i rows, __m256i bins) noexcept {
  return _mm512_slli_epi16(_mm512_add_epi16(_mm512_slli_epi16(rows, 5), _mm512_cvtepu8_epi16(bins)), 1);
}

// Byte offsets of the bins of 64 symbols in the narrow rows; returns a mask of the tails.
NVC_AVX512 inline __mmask64 LookUp64(const CdfTable& table, size_t first_row, const uint16_t* row,
                                     const int8_t* symbols, size_t left, uint16_t* place) noexcept {
  const __m512i low_rows = _mm512_loadu_si512(row);
  const __m512i high_rows = _mm512_loadu_si512(row + 32);
  const __m512i rows = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(low_rows)),
                                          _mm512_cvtepi16_epi8(high_rows), 1);
  const __m512i first = PerByteRow(table.first_symbols() + first_row, rows);
  const __m512i last = PerByteRow(table.last_symbols() + first_row, rows);
  const __m512i value = _mm512_maskz_loadu_epi8(FirstBits(left), symbols);
  const __mmask64 tails = _mm512_cmplt_epi8_mask(value, first) | _mm512_cmpgt_epi8_mask(value, last);
  constexpr char kTail = NarrowRow::kMaxBins;
  const __m512i bins = _mm512_mask_mov_epi8(
      _mm512_add_epi8(_mm512_sub_epi8(value, last), _mm512_set1_epi8(kTail - 1)), tails, _mm512_set1_epi8(kTail));
  _mm512_store_si512(place, PlaceInRows(low_rows, _mm512_castsi512_si256(bins)));
  _mm512_store_si512(place + 32, PlaceInRows(high_rows, _mm512_extracti64x4_epi64(bins, 1)));
  return tails & FirstBits(left);
}

NVC_AVX512 void LookUpAvx512(const CdfTable& table, size_t first_row, ChunkRows* rows, const int8_t* symbols,
                             uint32_t* bins, ChunkTails* tails) noexcept {
  if (table.narrow_rows() == nullptr || rows->last >= kByteRows) {
    return PortableKernels().look_up(table, first_row, rows, symbols, bins, tails);
  }
  std::memset(rows->row + rows->count, 0, kSlack * sizeof(uint16_t));
  const char* starts = reinterpret_cast<const char*>(table.narrow_rows() + first_row);
  alignas(64) uint16_t place[kChunkSymbols];
  for (size_t i = 0; i < rows->count; i += 64) {
    tails->bits[i / 64] = LookUp64(table, first_row, rows->row + i, symbols + i, rows->count - i, place + i);
  }
  // Scalar loads are faster than a gather, and with all places stored before, none of them stalls.
  const auto bin = [&](size_t at) {
    int32_t value;
    std::memcpy(&value, starts + place[at], sizeof value);
    return value;
  };
  size_t i = 0;
  for (; i + 4 <= rows->count; i += 4) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(bins + i), _mm_setr_epi32(bin(i), bin(i + 1), bin(i + 2), bin(i + 3)));
  }
  for (; i < rows->count; ++i) bins[i] = static_cast<uint32_t>(bin(i));
}

NVC_AVX512 size_t ListAvx512(const ChunkTails& tails, size_t count, uint16_t* places) noexcept {
  alignas(64) static constexpr auto kNumbers = [] {
    struct {
      uint8_t number[64] = {};
    } numbers;
    for (uint8_t i = 0; i < 64; ++i) numbers.number[i] = i;
    return numbers;
  }();
  const __m512i numbers = _mm512_load_si512(kNumbers.number);
  uint16_t* place = places;
  for (size_t base = 0; base < count; base += 64) {
    const uint64_t bits = tails.bits[base / 64];
    if (bits == 0) continue;
    const __m512i found = _mm512_maskz_compress_epi8(bits, numbers);
    const __m512i first = _mm512_set1_epi16(static_cast<int16_t>(base));
    const __m512i low = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(found));
    const __m512i high = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(found, 1));
    _mm512_storeu_si512(place, _mm512_add_epi16(low, first));
    _mm512_storeu_si512(place + 32, _mm512_add_epi16(high, first));
    place += _mm_popcnt_u64(bits);
  }
  return static_cast<size_t>(place - places);
}

// PutBin for 16 lanes. Only the lanes that are active write.
NVC_AVX512 inline __m512i PutBins(__m512i states, __m512i bins, __mmask16 active, uint8_t** pos) noexcept {
  constexpr int kDown = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;
  const __m512i freqs = Low16(_mm512_sub_epi32(_mm512_srli_epi32(bins, 16), bins));
  const __m512 reciprocals = _mm512_div_round_ps(_mm512_set1_ps(1), _mm512_cvtepi32_ps(freqs), kDown);
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
  // The quotient, below 2^15, from that of the state before it was written, which is there sooner: the exponent has
  // 8 less for each byte. Rounded down throughout, it is right or one too small.
  __m512i quotients = _mm512_castps_si512(
      _mm512_mul_round_ps(_mm512_cvt_roundepu32_ps(states, kDown), reciprocals, kDown));
  const __m512i eight = _mm512_set1_epi32(8 << 23);
  quotients = _mm512_mask_sub_epi32(quotients, one, quotients, eight);
  quotients = _mm512_mask_sub_epi32(quotients, two, quotients, eight);
  quotients = _mm512_cvttps_epi32(_mm512_castsi512_ps(quotients));
  __m512i rests = _mm512_mask_mov_epi32(states, one, shifted);
  rests = _mm512_mask_srli_epi32(rests, two, rests, 8);
  rests = _mm512_sub_epi32(rests, _mm512_mullo_epi32(quotients, freqs));
  const __m512i begin = _mm512_add_epi32(_mm512_slli_epi32(quotients, 16), Low16(bins));
  const __m512i gap = _mm512_sub_epi32(_mm512_set1_epi32(static_cast<int>(kTotal)), freqs);
  const __mmask16 small = _mm512_cmpge_epu32_mask(rests, freqs);
  __m512i next = _mm512_add_epi32(begin, rests);
  next = _mm512_mask_add_epi32(next, small, next, gap);
  return _mm512_mask_mov_epi32(states, active, next);
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
      states[v] = PutBins(states[v], bin, lanes, &pos);
    }
  }
  for (size_t v = 0; v < kVectors; ++v) _mm512_store_si512(writer->state + v * kVector, states[v]);
  writer->pos = pos;
}

NVC_AVX512 void EncodeAvx512(LaneWriter* writer, const uint32_t* bins, size_t count) noexcept {
  if (writer->lanes < kVector) return PortableKernels().encode(writer, bins, count);
  writer->lanes == kVector ? EncodeVectors<1>(writer, bins, count) : EncodeVectors<2>(writer, bins, count);
}

constexpr Kernels kAvx512{"avx512",     CompactAvx512, PickAvx512, SpreadAvx512,
                          DecodeAvx512, LookUpAvx512,  ListAvx512, EncodeAvx512};

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
