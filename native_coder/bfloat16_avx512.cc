// Convolutions of bfloat16 networks with AVX512-BF16, as of Cooper Lake and Zen 4.
#include "bfloat16.h"

#if defined(__x86_64__) && (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 10))

#include <algorithm>
#include <cstring>

#include "bfloat16_avx512.h"

namespace nvc::bfloat16 {
namespace {

constexpr size_t kRows = 12;
constexpr size_t kSummed = SIZE_MAX / 2;  // the roundings of numbers are larger than those of any sum

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
