// Convolutions of bfloat16 networks with AVX512-BF16, as of Cooper Lake and Zen 4.
#include "bfloat16.h"

#if defined(__x86_64__) && (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 10))

#ifndef __clang__
#pragma GCC diagnostic ignored "-Wuninitialized"  // in GCC's own header
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#define NVC_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define NVC_INLINE NVC_TARGET __attribute__((always_inline)) inline

namespace nvc::bfloat16 {
namespace {

using Vector = __m512;
constexpr size_t kLanes = 16;
constexpr size_t kRows = 12;
constexpr size_t kSummed = SIZE_MAX / 2;  // the roundings of numbers are larger than those of any sum

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

// sum += products of pairs. With the intrinsic GCC copies every accumulator, which doubles the time.
NVC_INLINE Vector AddPairs(Vector sum, __m512i a, __m512i b) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  return sum;
}

// One or both of the inputs of a pair; of every third row, `row` has the pointer, as a pointer per row would spill.
template <size_t kInputs, size_t kVectors, size_t kCount>
NVC_INLINE void AddPairsOfRows(const Bfloat16* const (&row)[(kCount + 2) / 3], size_t stride, const Bfloat16* weights,
                               Vector (&sums)[kCount][kVectors]) {
  __m512i vectors[kVectors];
  for (size_t v = 0; v < kVectors; ++v) vectors[v] = _mm512_loadu_si512(weights + v * kLanes * kGroup);
  for (size_t r = 0; r < kCount; ++r) {
    int32_t pair = 0;
    std::memcpy(&pair, row[r / 3] + r % 3 * stride, kInputs * sizeof(Bfloat16));
    const __m512i both = _mm512_set1_epi32(pair);
    for (size_t v = 0; v < kVectors; ++v) sums[r][v] = AddPairs(sums[r][v], both, vectors[v]);
  }
}

template <size_t kVectors, size_t kCount>
NVC_INLINE void AddProducts(ConstRows x, const Bfloat16* weights, size_t step, size_t count,
                            Vector (&sums)[kCount][kVectors]) {
  const Bfloat16* row[(kCount + 2) / 3];
  for (size_t i = 0; i < (kCount + 2) / 3; ++i) row[i] = x.data + 3 * i * x.stride;
  for (size_t k = 0; k + kGroup <= count; k += kGroup) {
    AddPairsOfRows<kGroup>(row, x.stride, weights, sums);
    for (const Bfloat16*& next : row) next += kGroup;
    weights += step * kGroup;
  }
  if (count % kGroup != 0) AddPairsOfRows<1>(row, x.stride, weights, sums);
}

#include "floating_kernels.inl"

constexpr Kernels kAvx512Bf16{Multiply, Depthwise};

}  // namespace

const Kernels* Avx512Bf16Kernels() noexcept {
  static const bool usable = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                             __builtin_cpu_supports("avx512bf16");
  return usable ? &kAvx512Bf16 : nullptr;
}

}  // namespace nvc::bfloat16

#else

namespace nvc::bfloat16 {
const Kernels* Avx512Bf16Kernels() noexcept { return nullptr; }
}  // namespace nvc::bfloat16

#endif
