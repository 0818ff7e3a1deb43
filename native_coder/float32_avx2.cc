// Convolutions of float32 networks with AVX2 and FMA.
#include "float32.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#include <immintrin.h>

#include <algorithm>

#define NVC_TARGET __attribute__((target("avx2,fma")))
#define NVC_INLINE NVC_TARGET __attribute__((always_inline)) inline

namespace nvc::float32 {
namespace {

using Vector = __m256;
constexpr size_t kLanes = 8;
constexpr size_t kRows = 6;

NVC_INLINE __m256i First(size_t n) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lanes);
}
NVC_INLINE Vector Set(float x) { return _mm256_set1_ps(x); }
NVC_INLINE Vector Load(const float* from) { return _mm256_loadu_ps(from); }
NVC_INLINE Vector LoadFirst(const float* from, size_t n) {
  return n == kLanes ? Load(from) : _mm256_maskload_ps(from, First(n));
}
NVC_INLINE void StoreFirst(float* to, Vector x, size_t n) {
  if (n == kLanes) {
    _mm256_storeu_ps(to, x);
  } else {
    _mm256_maskstore_ps(to, First(n), x);
  }
}
NVC_INLINE Vector Add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
NVC_INLINE Vector Sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
NVC_INLINE Vector Mul(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
NVC_INLINE Vector Div(Vector a, Vector b) { return _mm256_div_ps(a, b); }
NVC_INLINE Vector MulAdd(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
NVC_INLINE Vector Min(Vector a, Vector b) { return _mm256_min_ps(a, b); }
NVC_INLINE Vector Max(Vector a, Vector b) { return _mm256_max_ps(a, b); }
NVC_INLINE Vector Round(Vector x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
NVC_INLINE Vector TimesPower(Vector x, Vector whole) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(whole), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), exponent));
}

#include "float32_kernels.inl"

constexpr Kernels kAvx2{{Multiply, Depthwise}, AccumulateProducts, AccumulateTaps, Activate, Scale};

}  // namespace

const Kernels* Avx2Kernels() noexcept {
  static const bool usable = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return usable ? &kAvx2 : nullptr;
}

}  // namespace nvc::float32

#else

namespace nvc::float32 {
const Kernels* Avx2Kernels() noexcept { return nullptr; }
}  // namespace nvc::float32

#endif
