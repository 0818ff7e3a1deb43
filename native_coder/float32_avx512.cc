// Convolutions of float32 networks with AVX-512.
#include "float32.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // in GCC's own header
#endif
#include <immintrin.h>

#include <algorithm>

#define NVC_TARGET __attribute__((target("avx512f")))
#define NVC_INLINE NVC_TARGET __attribute__((always_inline)) inline

namespace nvc::float32 {
namespace {

using Vector = __m512;
constexpr size_t kLanes = 16;
constexpr size_t kRows = 12;

NVC_INLINE __mmask16 First(size_t n) { return static_cast<__mmask16>((1U << n) - 1); }
NVC_INLINE Vector Set(float x) { return _mm512_set1_ps(x); }
NVC_INLINE Vector Load(const float* from) { return _mm512_loadu_ps(from); }
NVC_INLINE Vector LoadFirst(const float* from, size_t n) { return _mm512_maskz_loadu_ps(First(n), from); }
NVC_INLINE void StoreFirst(float* to, Vector x, size_t n) { _mm512_mask_storeu_ps(to, First(n), x); }
NVC_INLINE Vector Add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
NVC_INLINE Vector Sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
NVC_INLINE Vector Mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
NVC_INLINE Vector Div(Vector a, Vector b) { return _mm512_div_ps(a, b); }
NVC_INLINE Vector MulAdd(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
NVC_INLINE Vector Min(Vector a, Vector b) { return _mm512_min_ps(a, b); }
NVC_INLINE Vector Max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
NVC_INLINE Vector Round(Vector x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
NVC_INLINE Vector TimesPower(Vector x, Vector whole) { return _mm512_scalef_ps(x, whole); }

#include "float32_kernels.inl"

constexpr Kernels kAvx512{{Multiply, Depthwise}, AccumulateProducts, AccumulateTaps, Activate, Scale};

}  // namespace

const Kernels* Avx512Kernels() noexcept {
  static const bool usable = __builtin_cpu_supports("avx512f");
  return usable ? &kAvx512 : nullptr;
}

}  // namespace nvc::float32

#else

namespace nvc::float32 {
const Kernels* Avx512Kernels() noexcept { return nullptr; }
}  // namespace nvc::float32

#endif
