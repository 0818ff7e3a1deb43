// Block motion with AVX2.
#include "motion.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#define NVC_TARGET __attribute__((target("avx2,fma")))
#define NVC_INLINE NVC_TARGET __attribute__((always_inline)) inline

namespace nvc::motion {
namespace {

constexpr int kSumBits = 12;  // of the taps in both directions
constexpr int kTapBits = kSumBits / 2;

NVC_INLINE __m256i Load(const int16_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
NVC_INLINE __m256i Load(const int32_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
NVC_INLINE void Store(int16_t* to, __m256i x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), x); }
NVC_INLINE __m256i Difference(__m256i a, __m256i b) { return _mm256_abs_epi16(_mm256_sub_epi16(a, b)); }
NVC_INLINE __m256i Pairs(__m256i x) { return _mm256_madd_epi16(x, _mm256_set1_epi16(1)); }

NVC_INLINE int32_t Sum(__m256i x) {
  const __m128i half = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  const __m128i quarter = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(quarter, _mm_shuffle_epi32(quarter, 0xb1)));
}

// The first of every three numbers of three vectors is in another lane in each.
NVC_TARGET void LumaOfInt16(const int16_t* pixels, size_t count, int16_t* luma) {
  const __m128i order = _mm_setr_epi8(0, 1, 6, 7, 12, 13, 2, 3, 8, 9, 14, 15, 4, 5, 10, 11);
  for (size_t i = 0; i < count; i += 8) {
    const auto* const from = reinterpret_cast<const __m128i*>(pixels + kChannels * i);
    const __m128i first = _mm_blend_epi16(_mm_loadu_si128(from), _mm_loadu_si128(from + 1), 0x92);
    const __m128i x = _mm_shuffle_epi8(_mm_blend_epi16(first, _mm_loadu_si128(from + 2), 0x24), order);
    const __m128i clamped = _mm_min_epi16(_mm_max_epi16(x, _mm_setzero_si128()), _mm_set1_epi16(kScale));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(luma + i), _mm_sub_epi16(clamped, _mm_set1_epi16(kMiddle)));
  }
}

NVC_TARGET void LumaOfFloat32(const float* pixels, size_t count, int16_t* luma) {
  const __m256i order = _mm256_setr_epi32(0, 3, 6, 1, 4, 7, 2, 5);
  for (size_t i = 0; i < count; i += 8) {
    const float* const from = pixels + kChannels * i;
    const __m256 first = _mm256_blend_ps(_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8), 0x92);
    __m256 x = _mm256_permutevar8x32_ps(_mm256_blend_ps(first, _mm256_loadu_ps(from + 16), 0x24), order);
    x = _mm256_max_ps(_mm256_mul_ps(x, _mm256_set1_ps(kScale)), _mm256_setzero_ps());
    const __m256i whole = _mm256_cvtps_epi32(_mm256_min_ps(x, _mm256_set1_ps(kScale)));
    const __m256i shifted = _mm256_sub_epi32(whole, _mm256_set1_epi32(kMiddle));
    const __m128i narrow = _mm_packs_epi32(_mm256_castsi256_si128(shifted), _mm256_extracti128_si256(shifted, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(luma + i), narrow);
  }
}

NVC_TARGET void Shrink(ConstRows luma, size_t count, int16_t* out) {
  for (size_t i = 0; i < count; i += 4) {
    const int16_t* const from = luma.data + kCoarse * i;
    const __m256i upper = _mm256_add_epi16(Load(from), Load(from + luma.stride));
    const __m256i lower = _mm256_add_epi16(Load(from + 2 * luma.stride), Load(from + 3 * luma.stride));
    const __m256i pairs = Pairs(_mm256_add_epi16(upper, lower));
    const __m128i sums = _mm_hadd_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out + i), _mm_packs_epi32(sums, sums));
  }
}

// The differences of four small blocks: two numbers each. Sums of two rows fit 16 bits.
NVC_INLINE __m256i OfFour(ConstRows blocks, ConstRows moved, size_t first) {
  __m256i all = _mm256_setzero_si256();
  for (size_t row = 0; row < 4; row += 2) {
    const int16_t* const a = blocks.data + row * blocks.stride + first;
    const int16_t* const b = moved.data + row * moved.stride + first;
    const __m256i sum =
        _mm256_add_epi16(Difference(Load(a), Load(b)), Difference(Load(a + blocks.stride), Load(b + moved.stride)));
    all = _mm256_add_epi32(all, Pairs(sum));
  }
  return all;
}

NVC_TARGET void CoarseDifferences(ConstRows blocks, ConstRows moved, size_t count, int32_t* out) {
  for (size_t i = 0; i < count; i += 8) {
    const __m256i sums = _mm256_hadd_epi32(OfFour(blocks, moved, 4 * i), OfFour(blocks, moved, 4 * i + 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_permute4x64_epi64(sums, 0xd8));
  }
}

NVC_TARGET void Improve(const Differences& differences, size_t count, int32_t price, int32_t vector, int32_t* costs,
                        int32_t* vectors) {
  for (size_t i = 0; i < count; i += 8) {
    const int32_t* const here = differences.here + i;
    const __m256i vertical = _mm256_add_epi32(Load(differences.above + i), Load(differences.below + i));
    const __m256i around = _mm256_add_epi32(vertical, _mm256_add_epi32(Load(here - 1), Load(here + 1)));
    const __m256i own = _mm256_add_epi32(_mm256_slli_epi32(Load(here), 2), _mm256_set1_epi32(price));
    const __m256i cost = _mm256_add_epi32(around, own), best = Load(costs + i);
    const __m256i less = _mm256_cmpgt_epi32(best, cost);
    const __m256i chosen = _mm256_blendv_epi8(Load(vectors + i), _mm256_set1_epi32(vector), less);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(costs + i), _mm256_min_epi32(best, cost));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(vectors + i), chosen);
  }
}

NVC_TARGET int32_t BlockDifference(const int16_t* block, ConstRows moved) {
  __m256i sum = _mm256_setzero_si256();
  for (size_t row = 0; row < kBlock; ++row) {
    sum = _mm256_add_epi16(sum, Difference(Load(block + row * kBlock), Load(moved.data + row * moved.stride)));
  }
  return Sum(Pairs(sum));
}

NVC_TARGET void BlockDifferences(const int16_t* block, ConstRows moved, int32_t* out) {
  __m256i sums[kWhole];
  for (__m256i& sum : sums) sum = _mm256_setzero_si256();
  for (size_t row = 0; row < kBlock; ++row) {
    const __m256i pixels = Load(block + row * kBlock);
    const int16_t* const from = moved.data + row * moved.stride;
    for (size_t i = 0; i < kWhole; ++i) sums[i] = _mm256_add_epi16(sums[i], Difference(pixels, Load(from + i)));
  }
  for (size_t i = 0; i < kWhole; ++i) out[i] = Sum(Pairs(sums[i]));
}

// Filters 16 numbers, `step` apart.
NVC_INLINE __m256i Filtered(const int16_t* from, size_t step, const __m256i* weights) {
  __m256i sum = _mm256_set1_epi16(1 << (kTapBits - 1));
  for (size_t k = 0; k < kTaps; ++k) {
    sum = _mm256_add_epi16(sum, _mm256_mullo_epi16(Load(from + k * step), weights[k]));
  }
  return sum;
}

NVC_INLINE void SetWeights(int phase, __m256i* weights) {
  for (size_t k = 0; k < kTaps; ++k) weights[k] = _mm256_set1_epi16(kWeights[phase][k]);
}

NVC_TARGET void FilterRows(ConstRows luma, int phase, size_t rows, int16_t* filtered) {
  if (phase == 0) {
    const __m256i half = _mm256_set1_epi16(1 << (kTapBits - 1));
    for (size_t row = 0; row < rows; ++row) {
      const __m256i scaled = _mm256_slli_epi16(Load(luma.data + row * luma.stride), kTapBits);
      Store(filtered + row * kBlock, _mm256_add_epi16(scaled, half));
    }
    return;
  }
  __m256i weights[kTaps];
  SetWeights(phase, weights);
  for (size_t row = 0; row < rows; ++row) {
    Store(filtered + row * kBlock, Filtered(luma.data + row * luma.stride - kBefore, 1, weights));
  }
}

struct Interleaved {
  __m256i low;
  __m256i high;
};

NVC_INLINE Interleaved Interleave(const int16_t* from, size_t stride) {
  const __m256i a = Load(from), b = Load(from + stride);
  return {_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)};
}

NVC_INLINE __m256i Clamped(__m256i x) {
  return _mm256_max_epi16(_mm256_min_epi16(x, _mm256_set1_epi16(kMiddle)), _mm256_set1_epi16(-kMiddle));
}

// Filters columns of rows that are filtered, and calls use(row, numbers) for 16 rows: numbers in 1/512, less kMiddle.
template <class Use>
NVC_INLINE void FilterColumns(const int16_t* filtered, size_t stride, int phase, const Use& use) {
  if (phase == 0) {
    for (size_t row = 0; row < kBlock; ++row) {
      use(row, Clamped(_mm256_srai_epi16(Load(filtered + row * stride), kTapBits)));
    }
    return;
  }
  __m256i weights[kTaps / 2];
  for (size_t k = 0; k < kTaps / 2; ++k) {
    int32_t pair;
    std::memcpy(&pair, &kWeights[phase][2 * k], sizeof pair);
    weights[k] = _mm256_set1_epi32(pair);
  }
  const auto sum = [&](__m256i first, __m256i second, __m256i third) NVC_TARGET {
    const __m256i all =
        _mm256_add_epi32(_mm256_add_epi32(_mm256_madd_epi16(first, weights[0]), _mm256_madd_epi16(second, weights[1])),
                         _mm256_madd_epi16(third, weights[2]));
    return _mm256_srai_epi32(all, kSumBits);
  };
  for (size_t parity = 0; parity < 2; ++parity) {
    Interleaved first = Interleave(filtered + parity * stride, stride);
    Interleaved second = Interleave(filtered + (parity + 2) * stride, stride);
    for (size_t row = parity; row < kBlock; row += 2) {
      const Interleaved third = Interleave(filtered + (row + 4) * stride, stride);
      use(row,
          Clamped(_mm256_packs_epi32(sum(first.low, second.low, third.low), sum(first.high, second.high, third.high))));
      first = second;
      second = third;
    }
  }
}

NVC_TARGET int32_t DifferenceBetween(const int16_t* block, const int16_t* filtered, int phase) {
  __m256i sum = _mm256_setzero_si256();
  FilterColumns(filtered, kBlock, phase, [&](size_t row, __m256i moved) NVC_TARGET {
    sum = _mm256_add_epi16(sum, Difference(Load(block + row * kBlock), moved));
  });
  return Sum(Pairs(sum));
}

// Moves interleaved channels: first along rows, as `FilterRows` does.
NVC_TARGET void MoveInt16(Strided<const int16_t> window, int phase_y, int phase_x, Strided<int16_t> out) {
  constexpr size_t kLine = kBlock * kChannels, kLanes = 16;
  const size_t first = phase_y == 0 ? kBefore : 0, rows = phase_y == 0 ? kBlock : kWindow;
  const int16_t* const from = window.data + first * window.stride;
  alignas(64) int16_t filtered[kWindow * kLine];
  __m256i weights[kTaps];
  SetWeights(phase_x, weights);
  const __m256i middle = _mm256_set1_epi16(kMiddle << kTapBits);  // sums wrap around where they must
  for (size_t row = 0; row < rows; ++row) {
    for (size_t i = 0; i < kLine; i += kLanes) {
      const __m256i sum = Filtered(from + row * window.stride + i, kChannels, weights);
      Store(filtered + row * kLine + i, _mm256_sub_epi16(sum, middle));
    }
  }
  for (size_t i = 0; i < kLine; i += kLanes) {
    FilterColumns(filtered + i, kLine, phase_y, [&](size_t row, __m256i moved) NVC_TARGET {
      Store(out.data + row * out.stride + i, _mm256_add_epi16(moved, _mm256_set1_epi16(kMiddle)));
    });
  }
}

// The same for larger samples: 32 bits for the compiler to vectorise.
NVC_TARGET void MoveUint16(Strided<const uint16_t> window, int phase_y, int phase_x, Strided<uint16_t> out) {
  constexpr size_t kLine = kBlock * kChannels;
  alignas(64) int32_t filtered[kWindow * kLine];
  const int16_t *const vertical = kWeights[phase_y], *const horizontal = kWeights[phase_x];
  if (phase_y == 0 && phase_x == 0) {
    for (size_t row = 0; row < kBlock; ++row) {
      const uint16_t* const from = window.data + (kBefore + row) * window.stride + kBefore * kChannels;
      for (size_t i = 0; i < kLine; ++i) out.data[row * out.stride + i] = std::min<uint16_t>(from[i], kFineScale);
    }
    return;
  }
  const size_t first = phase_y == 0 ? kBefore : 0, rows = phase_y == 0 ? kBlock : kWindow;
  for (size_t row = 0; row < rows; ++row) {
    const uint16_t* const from = window.data + (first + row) * window.stride;
    int32_t* const line = filtered + row * kLine;
    if (phase_x == 0) {
      for (size_t i = 0; i < kLine; ++i) line[i] = from[i + kBefore * kChannels] << kTapBits;
      continue;
    }
    for (size_t i = 0; i < kLine; ++i) {
      int32_t sum = 0;
      for (size_t k = 0; k < kTaps; ++k) sum += horizontal[k] * from[i + k * kChannels];
      line[i] = sum;
    }
  }
  for (size_t row = 0; row < kBlock; ++row) {
    const int32_t* const line = filtered + row * kLine;
    uint16_t* const to = out.data + row * out.stride;
    for (size_t i = 0; i < kLine; ++i) {
      int32_t sum = 0;
      if (phase_y == 0) {
        sum = line[i] * (1 << kTapBits);
      } else {
        for (size_t k = 0; k < kTaps; ++k) sum += vertical[k] * line[i + k * kLine];
      }
      const int32_t moved = (sum + (1 << (kSumBits - 1))) >> kSumBits;
      to[i] = static_cast<uint16_t>(std::min(std::max(moved, 0), kFineScale));
    }
  }
}

// Filters eight numbers, `step` apart, with the roundings of XLA on CPU, where LLVM fuses multiply-adds: the second
// product is rounded, the first is added to it.
NVC_INLINE __m256 Filtered(const float* from, size_t step, const __m256* weights) {
  __m256 sum = _mm256_mul_ps(_mm256_loadu_ps(from + step), weights[1]);
  for (const size_t k : {0U, 2U, 3U, 4U, 5U}) sum = _mm256_fmadd_ps(_mm256_loadu_ps(from + k * step), weights[k], sum);
  return sum;
}

NVC_INLINE void SetWeights(int phase, __m256* weights) {
  for (size_t k = 0; k < kTaps; ++k) {
    weights[k] = _mm256_set1_ps(static_cast<float>(kWeights[phase][k]) / (1 << kTapBits));
  }
}

// First along columns. Sums are rounded, so that the order matters.
NVC_TARGET void MoveFloat32(Strided<const float> window, int phase_y, int phase_x, Strided<float> out) {
  constexpr size_t kLine = kBlock * kChannels, kWide = kWindow * kChannels, kLanes = 8;
  alignas(64) float filtered[kBlock * kWide];
  __m256 weights[kTaps];
  Strided<const float> lines{window.data + kBefore * window.stride, window.stride};
  if (phase_y != 0) {
    SetWeights(phase_y, weights);
    for (size_t row = 0; row < kBlock; ++row) {
      for (size_t i = 0; i < kWide; i += kLanes) {
        const size_t at = std::min(i, kWide - kLanes);  // the last ones overlap
        _mm256_storeu_ps(filtered + row * kWide + at,
                         Filtered(window.data + row * window.stride + at, window.stride, weights));
      }
    }
    lines = {filtered, kWide};
  }
  SetWeights(phase_x, weights);
  for (size_t row = 0; row < kBlock; ++row) {
    const float* const line = lines.data + row * lines.stride;
    for (size_t i = 0; i < kLine; i += kLanes) {
      const __m256 sum =
          phase_x == 0 ? _mm256_loadu_ps(line + kBefore * kChannels + i) : Filtered(line + i, kChannels, weights);
      const __m256 clamped = _mm256_min_ps(_mm256_max_ps(sum, _mm256_setzero_ps()), _mm256_set1_ps(1));
      _mm256_storeu_ps(out.data + row * out.stride + i, clamped);
    }
  }
}

NVC_INLINE __m256i Rounded(const float* from) {
  const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(from), _mm256_set1_ps(kScale));
  const __m256 low = _mm256_max_ps(scaled, _mm256_set1_ps(INT16_MIN));
  return _mm256_cvtps_epi32(_mm256_min_ps(low, _mm256_set1_ps(INT16_MAX)));
}

NVC_TARGET void ToInt16(const float* samples, size_t count, int16_t* out) {
  for (size_t i = 0; i < count; i += 16) {
    const __m256i narrow = _mm256_packs_epi32(Rounded(samples + i), Rounded(samples + i + 8));
    Store(out + i, _mm256_permute4x64_epi64(narrow, 0xd8));
  }
}

NVC_TARGET int32_t SquaredError(const int16_t* block, const int16_t* moved) {
  constexpr size_t kLine = kBlock * kChannels, kLanes = 16;
  alignas(32) int16_t weights[kLine];
  for (size_t i = 0; i < kLine; ++i) weights[i] = kErrorWeights[i % kChannels];
  __m256i sum = _mm256_setzero_si256();
  for (size_t i = 0; i < kLine; i += kLanes) {
    const __m256i weight = Load(weights + i);
    for (size_t row = 0; row < kBlock; ++row) {
      const __m256i difference = _mm256_sub_epi16(Load(block + row * kLine + i), Load(moved + row * kLine + i));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(difference, _mm256_mullo_epi16(difference, weight)));
    }
  }
  return Sum(sum);
}

constexpr Kernels kAvx2{LumaOfInt16,     LumaOfFloat32,    Shrink,      CoarseDifferences, Improve,
                        BlockDifference, BlockDifferences, FilterRows,  DifferenceBetween, MoveInt16,
                        MoveUint16,      MoveFloat32,      ToInt16,     SquaredError};

}  // namespace

const Kernels* Avx2Kernels() noexcept {
  static const bool usable = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return usable ? &kAvx2 : nullptr;
}

}  // namespace nvc::motion

#else

namespace nvc::motion {
const Kernels* Avx2Kernels() noexcept { return nullptr; }
}  // namespace nvc::motion

#endif
