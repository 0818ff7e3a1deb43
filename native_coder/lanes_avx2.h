// Shared by the AVX2 and the AVX-512 kernels, and only for their files.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tables.h"

#define NVC_AVX2 __attribute__((target("avx2,popcnt")))

namespace nvc {

// Starts of a NarrowRow that are not above any slot if the row has few bins.
constexpr int kNeverAbove = static_cast<int>(sizeof(NarrowRow::start) - sizeof(FewBins::start)) / 2;

// Operands of DropBin for 16 slots: frequencies of the bins, and distances of the slots from their starts.
struct Found {
  __m256i freqs;
  __m256i rests;
};

NVC_AVX2 inline __m256i LoadPair(const FewBins* low, const FewBins* high) noexcept {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(low))),
                                 _mm_load_si128(reinterpret_cast<const __m128i*>(high)), 1);
}

// Finds the bins of 16 slots, each in its own row; stores their symbols, and a bit for each tail. kPacked: slots and
// results are in the order 0-3, 8-11, 4-7, 12-15, in which AVX2 packs 32-bit numbers.
template <bool kPacked>
NVC_AVX2 inline Found FindFew(const FewBins* rows, const uint16_t* row, __m256i slots, int8_t* symbols,
                              uint8_t* tails) noexcept {
  // Transposed, each vector has one start of all rows. This does not wait for the slots.
  __m256i x[8];
  __m256i y[8];
  for (size_t i = 0; i < 8; ++i) {
    const size_t at = kPacked ? i + (i & 4) : i;
    x[i] = LoadPair(rows + row[at], rows + row[at + (kPacked ? 4 : 8)]);
  }
  for (size_t i = 0; i < 8; i += 2) {
    y[i] = _mm256_unpacklo_epi16(x[i], x[i + 1]);
    y[i + 1] = _mm256_unpackhi_epi16(x[i], x[i + 1]);
  }
  for (size_t i = 0; i < 8; i += 4) {
    x[i] = _mm256_unpacklo_epi32(y[i], y[i + 2]);
    x[i + 1] = _mm256_unpackhi_epi32(y[i], y[i + 2]);
    x[i + 2] = _mm256_unpacklo_epi32(y[i + 1], y[i + 3]);
    x[i + 3] = _mm256_unpackhi_epi32(y[i + 1], y[i + 3]);
  }
  for (size_t i = 0; i < 4; ++i) {
    y[2 * i] = _mm256_unpacklo_epi64(x[i], x[i + 4]);
    y[2 * i + 1] = _mm256_unpackhi_epi64(x[i], x[i + 4]);
  }
  // Modulo 2^16, the nearest start at or below a slot has the least distance to it, the nearest above has the most.
  const __m256i signed_slots = _mm256_xor_si256(slots, _mm256_set1_epi16(INT16_MIN));
  __m256i least[8];
  __m256i most[8];
  __m256i above[8];
  least[0] = most[0] = slots;
  above[0] = _mm256_setzero_si256();
  for (size_t i = 1; i < 8; ++i) {
    least[i] = most[i] = _mm256_sub_epi16(signed_slots, y[i]);
    above[i] = _mm256_cmpgt_epi16(y[i], signed_slots);
  }
  for (size_t step = 4; step > 0; step /= 2) {
    for (size_t i = 0; i < step; ++i) {
      least[i] = _mm256_min_epu16(least[i], least[i + step]);
      most[i] = _mm256_max_epu16(most[i], most[i + step]);
      above[i] = _mm256_add_epi16(above[i], above[i + step]);  // minus how many starts are above the slot
    }
  }
  const __m256i values = _mm256_add_epi16(_mm256_add_epi16(y[0], _mm256_set1_epi16(7)), above[0]);
  const __m256i is_tail = _mm256_cmpeq_epi16(above[0], _mm256_setzero_si256());
  __m256i packed = _mm256_packs_epi16(values, is_tail);
  packed = kPacked ? _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
                   : _mm256_permute4x64_epi64(packed, _MM_SHUFFLE(3, 1, 2, 0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(symbols), _mm256_castsi256_si128(packed));
  const uint16_t bits = static_cast<uint16_t>(_mm_movemask_epi8(_mm256_extracti128_si256(packed, 1)));
  std::memcpy(tails, &bits, sizeof bits);
  return {_mm256_sub_epi16(least[0], most[0]), least[0]};
}

}  // namespace nvc
