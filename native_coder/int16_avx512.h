// Shared by the int16 kernels of AVX-512 and AMX; included where the compiler can make them.
#ifndef NVC_INT16_AVX512_H_
#define NVC_INT16_AVX512_H_

#ifndef __clang__
#pragma GCC diagnostic ignored "-Wuninitialized"  // in GCC's own header
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "int16.h"

#define NVC_AVX512_FEATURES "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni"
#define NVC_AVX512 __attribute__((target(NVC_AVX512_FEATURES)))
#define NVC_INLINE NVC_AVX512 __attribute__((always_inline)) inline

namespace nvc::int16 {

NVC_INLINE __m512i Halves(__m256i low, __m256i high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// Looks up 64 bytes in a LUT of 128, by 7 bits.
NVC_INLINE __m512i Bytes(const uint8_t* table, __m512i indexes) {
  return _mm512_permutex2var_epi8(_mm512_loadu_si512(table), indexes, _mm512_loadu_si512(table + 64));
}

// Two rows of 32 numbers through WSiLU: 64 indexes of 10 bits into a LUT of 1024 bytes.
NVC_INLINE void Wsilu(const uint8_t* deficits, __m512i* a, __m512i* b) {
  const __m512i last = _mm512_set1_epi16(kWsiluEntries - 1), low_bits = _mm512_set1_epi16(127);
  const __m512i ia = _mm512_min_epu16(_mm512_abs_epi16(*a), last), ib = _mm512_min_epu16(_mm512_abs_epi16(*b), last);
  const __m512i low = _mm512_packus_epi16(_mm512_and_si512(ia, low_bits), _mm512_and_si512(ib, low_bits));
  const __m512i high = _mm512_packus_epi16(_mm512_srli_epi16(ia, 7), _mm512_srli_epi16(ib, 7));
  const __mmask64 bit0 = _mm512_test_epi8_mask(high, _mm512_set1_epi8(1));
  const __mmask64 bit1 = _mm512_test_epi8_mask(high, _mm512_set1_epi8(2));
  const __mmask64 bit2 = _mm512_test_epi8_mask(high, _mm512_set1_epi8(4));
  const __m512i low_half = _mm512_mask_blend_epi8(
      bit1, _mm512_mask_blend_epi8(bit0, Bytes(deficits + 128 * 0, low), Bytes(deficits + 128 * 1, low)),
      _mm512_mask_blend_epi8(bit0, Bytes(deficits + 128 * 2, low), Bytes(deficits + 128 * 3, low)));
  const __m512i high_half = _mm512_mask_blend_epi8(
      bit1, _mm512_mask_blend_epi8(bit0, Bytes(deficits + 128 * 4, low), Bytes(deficits + 128 * 5, low)),
      _mm512_mask_blend_epi8(bit0, Bytes(deficits + 128 * 6, low), Bytes(deficits + 128 * 7, low)));
  const __m512i deficit = _mm512_mask_blend_epi8(bit2, low_half, high_half), zero = _mm512_setzero_si512();
  *a = _mm512_sub_epi16(_mm512_max_epi16(*a, zero), _mm512_unpacklo_epi8(deficit, zero));
  *b = _mm512_sub_epi16(_mm512_max_epi16(*b, zero), _mm512_unpackhi_epi8(deficit, zero));
}

NVC_INLINE __m256i Requantise32(__m512i sum, __m512i bias, __m512i half, __m512i bits) {
  const __m512i total = _mm512_add_epi32(sum, bias);
  const __m512i nudged = _mm512_add_epi32(_mm512_add_epi32(total, half), _mm512_srai_epi32(total, 31));
  return _mm512_cvtsepi32_epi16(_mm512_srav_epi32(nudged, bits));
}

NVC_INLINE __m128i Requantise64(__m512i sum, __m256i bias, __m256i bits) {
  const __m512i total = _mm512_add_epi64(sum, _mm512_cvtepi32_epi64(bias)), wide = _mm512_cvtepi32_epi64(bits);
  const __m512i one = _mm512_set1_epi64(1);
  const __m512i half = _mm512_sllv_epi64(one, _mm512_sub_epi64(wide, one));
  const __m512i nudged = _mm512_add_epi64(_mm512_add_epi64(total, half), _mm512_srai_epi64(total, 63));
  return _mm512_cvtsepi64_epi16(_mm512_srav_epi64(nudged, wide));
}

}  // namespace nvc::int16

#endif  // NVC_INT16_AVX512_H_
