// Shared by the bfloat16 kernels of AVX-512 and AMX; included where the compiler can make them.
#ifndef NVC_BFLOAT16_AVX512_H_
#define NVC_BFLOAT16_AVX512_H_

#ifndef __clang__
#pragma GCC diagnostic ignored "-Wuninitialized"  // in GCC's own header
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "bfloat16.h"

#define NVC_AVX512_FEATURES "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"
#define NVC_TARGET __attribute__((target(NVC_AVX512_FEATURES)))
#define NVC_INLINE NVC_TARGET __attribute__((always_inline)) inline

namespace nvc::bfloat16 {

using Vector = __m512;
constexpr size_t kLanes = 16;

NVC_INLINE Vector Set(float x) { return _mm512_set1_ps(x); }
NVC_INLINE Vector Add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
NVC_INLINE Vector MulAdd(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }

NVC_INLINE Vector LoadFirst(const Bfloat16* from, size_t n) {
  const auto* const numbers = reinterpret_cast<const __m256i*>(from);
  const auto first = static_cast<__mmask16>((1U << n) - 1);
  const __m256i upper = n == kLanes ? _mm256_loadu_si256(numbers) : _mm256_maskz_loadu_epi16(first, numbers);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(upper), 16));
}

NVC_INLINE void StoreFirst(Bfloat16* to, Vector x, size_t n) {
  const __m256i upper = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
  if (n == kLanes) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), upper);
  } else {
    _mm256_mask_storeu_epi16(to, static_cast<__mmask16>((1U << n) - 1), upper);
  }
}

// 2^f on 0..1, to a relative 2^-13.
constexpr float kExp2[] = {0.9999252F, 0.69583356F, 0.22606716F, 0.07802452F};

// x sigmoid(4x) = x / (1 + 2^t) with t = -4 log2(e) x, to a relative 2^-12. At the limits of t 2^t is zero or infinite.
NVC_INLINE Vector Wsilu(Vector x) {
  const Vector t = _mm512_min_ps(_mm512_max_ps(_mm512_mul_ps(x, Set(-5.77078016F)), Set(-200.0F)), Set(200.0F));
  const Vector f = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  Vector p = Set(kExp2[3]);
  for (size_t i = 3; i-- > 0;) p = MulAdd(p, f, Set(kExp2[i]));
  return _mm512_mul_ps(x, _mm512_rcp14_ps(Add(Set(1.0F), _mm512_scalef_ps(p, t))));  // it takes the whole part of t
}

}  // namespace nvc::bfloat16

#endif  // NVC_BFLOAT16_AVX512_H_
