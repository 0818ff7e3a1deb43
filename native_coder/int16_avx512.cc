// Convolutions of the int16 arithmetic with AVX-512 as of Ice Lake and Zen 4.
#include "int16.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#include <algorithm>
#include <cstring>

#include "int16_avx512.h"

namespace nvc::int16 {
namespace {

constexpr size_t kRows = 12;  // of a tile: with kPanel channels its accumulators fill 24 of the 32 registers

// The largest magnitude of n numbers.
NVC_AVX512 int Peak(ConstRows x, size_t rows, size_t n) {
  __m512i peak = _mm512_setzero_si512();
  for (size_t r = 0; r < rows; ++r) {
    const int16_t* row = x.data + r * x.stride;
    for (size_t i = 0; i < n; i += 32) {
      const __mmask32 valid = i + 32 <= n ? ~__mmask32{0} : (__mmask32{1} << (n - i)) - 1;
      peak = _mm512_max_epu16(peak, _mm512_abs_epi16(_mm512_maskz_loadu_epi16(valid, row + i)));
    }
  }
  alignas(64) uint16_t parts[32];
  _mm512_store_si512(parts, peak);
  return *std::max_element(parts, parts + 32);
}

// sum += products of pairs. With the intrinsic GCC copies every accumulator, which doubles the time.
NVC_INLINE __m512i AddProducts(__m512i sum, __m512i a, __m512i b) {
  asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  return sum;
}

// Accumulates pairs of inputs.
template <size_t kVectors, size_t kCount>
NVC_INLINE void Accumulate(const int16_t* weights, ConstRows x, size_t from, size_t to,
                           __m512i (&sums)[kCount][kVectors]) {
  const int16_t* row[(kCount + 2) / 3];  // every third: a pointer per row would spill
  for (size_t i = 0; i < (kCount + 2) / 3; ++i) row[i] = x.data + 3 * i * x.stride + 2 * from;
  const int16_t* w = weights + from * kVectors * 32;
  for (size_t k = from; k < to; ++k) {
    __m512i vectors[kVectors];
    for (size_t v = 0; v < kVectors; ++v) vectors[v] = _mm512_loadu_si512(w + v * 32);
    for (size_t r = 0; r < kCount; ++r) {
      int32_t pair;
      std::memcpy(&pair, row[r / 3] + r % 3 * x.stride, sizeof pair);
      const __m512i both = _mm512_set1_epi32(pair);
      for (size_t v = 0; v < kVectors; ++v) sums[r][v] = AddProducts(sums[r][v], both, vectors[v]);
    }
    for (const int16_t*& at : row) at += 2;
    w += kVectors * 32;
  }
}

// The last of an odd number of inputs.
template <size_t kVectors, size_t kCount>
NVC_INLINE void AccumulateLast(const int16_t* weights, ConstRows x, size_t k, __m512i (&sums)[kCount][kVectors]) {
  for (size_t r = 0; r < kCount; ++r) {
    const __m512i one = _mm512_set1_epi32(static_cast<uint16_t>(x.data[r * x.stride + 2 * k]));
    for (size_t v = 0; v < kVectors; ++v) {
      sums[r][v] = AddProducts(sums[r][v], one, _mm512_loadu_si512(weights + (k * kVectors + v) * 32));
    }
  }
}

// kCount rows of a panel of 16 * kVectors channels.
template <size_t kVectors, size_t kCount>
NVC_AVX512 void Tile(const Kernel& kernel, const int16_t* weights, const int32_t* ends, bool narrow, ConstRows x,
                     const int32_t* bias, const int32_t* bits, const uint8_t* wsilu, size_t valid, int16_t* out,
                     size_t out_stride) {
  const size_t pairs = kernel.pairs(), whole = kernel.inputs / 2;
  __m512i result[kCount + kCount % 2];
  __m512i sums[kCount][kVectors] = {};
  if (narrow) {
    Accumulate<kVectors, kCount>(weights, x, 0, whole, sums);
    if (whole < pairs) AccumulateLast<kVectors, kCount>(weights, x, whole, sums);
    __m256i parts[kCount][2] = {};
    for (size_t v = 0; v < kVectors; ++v) {
      const __m512i b = _mm512_loadu_si512(bits + 16 * v), one = _mm512_set1_epi32(1);
      const __m512i half = _mm512_sllv_epi32(one, _mm512_sub_epi32(b, one));
      const __m512i start = _mm512_loadu_si512(bias + 16 * v);
      for (size_t r = 0; r < kCount; ++r) parts[r][v] = Requantise32(sums[r][v], start, half, b);
    }
    for (size_t r = 0; r < kCount; ++r) result[r] = Halves(parts[r][0], parts[r][1]);
  } else {
    __m512i totals[kCount][kVectors][2] = {};
    size_t from = 0;
    for (size_t block = 0; from < pairs; ++block) {
      const size_t to = static_cast<size_t>(ends[block]);
      Accumulate<kVectors, kCount>(weights, x, from, std::min(to, whole), sums);
      if (whole < to) AccumulateLast<kVectors, kCount>(weights, x, whole, sums);
      for (size_t r = 0; r < kCount; ++r) {
        for (size_t v = 0; v < kVectors; ++v) {
          const __m512i s = sums[r][v];
          __m512i(&t)[2] = totals[r][v];
          t[0] = _mm512_add_epi64(t[0], _mm512_cvtepi32_epi64(_mm512_castsi512_si256(s)));
          t[1] = _mm512_add_epi64(t[1], _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(s, 1)));
          sums[r][v] = _mm512_setzero_si512();
        }
      }
      from = to;
    }
    for (size_t r = 0; r < kCount; ++r) {
      __m128i parts[4] = {};
      for (size_t v = 0; v < kVectors; ++v) {
        for (size_t half = 0; half < 2; ++half) {
          const size_t first = 16 * v + 8 * half;
          parts[2 * v + half] =
              Requantise64(totals[r][v][half], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bias + first)),
                           _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bits + first)));
        }
      }
      result[r] = Halves(_mm256_set_m128i(parts[1], parts[0]), _mm256_set_m128i(parts[3], parts[2]));
    }
  }
  if (wsilu != nullptr) {
    if constexpr (kCount % 2 != 0) result[kCount] = _mm512_setzero_si512();
    for (size_t r = 0; r < kCount; r += 2) Wsilu(wsilu, &result[r], &result[r + 1]);
  }
  const __mmask32 stored = valid >= 32 ? ~__mmask32{0} : (__mmask32{1} << valid) - 1;
  for (size_t r = 0; r < kCount; ++r) _mm512_mask_storeu_epi16(out + r * out_stride, stored, result[r]);
}

template <size_t kVectors>
NVC_AVX512 void Panel(const Kernel& kernel, size_t panel, const int16_t* weights, bool narrow, ConstRows x, size_t rows,
                      Rows out, const uint8_t* wsilu) {
  const size_t first = panel * kPanel, valid = std::min(kernel.outputs - first, 16 * kVectors);
  const int32_t *ends = kernel.ends + panel * kernel.blocks, *bias = kernel.bias + first, *bits = kernel.bits + first;
  for (size_t row = 0; row < rows;) {
    const size_t count = std::min(kRows, rows - row);
    const ConstRows in{x.data + row * x.stride, x.stride};
    int16_t* to = out.data + row * out.stride + first;
    if (count == kRows) {
      Tile<kVectors, kRows>(kernel, weights, ends, narrow, in, bias, bits, wsilu, valid, to, out.stride);
      row += kRows;
    } else if (count >= 4) {
      Tile<kVectors, 4>(kernel, weights, ends, narrow, in, bias, bits, wsilu, valid, to, out.stride);
      row += 4;
    } else {
      Tile<kVectors, 1>(kernel, weights, ends, narrow, in, bias, bits, wsilu, valid, to, out.stride);
      row += 1;
    }
  }
}

NVC_AVX512 void Multiply(const Kernel& kernel, ConstRows x, size_t rows, Rows out, const uint8_t* wsilu) {
  const int peak = Peak(x, rows, kernel.inputs);
  const int16_t* weights = kernel.weights;
  for (size_t panel = 0, left = kernel.padded_outputs(); left > 0; ++panel) {
    const size_t channels = std::min(left, kPanel);
    const bool narrow = FitsNarrow(kernel, panel, peak);
    if (channels == kPanel) {
      Panel<2>(kernel, panel, weights, narrow, x, rows, out, wsilu);
    } else {
      Panel<1>(kernel, panel, weights, narrow, x, rows, out, wsilu);
    }
    weights += kernel.pairs() * channels * 2;
    left -= channels;
  }
}

// One row of 32 channels or fewer whose sums fit 32 bits. Products are made of vertical pairs of taps, and of pairs of
// the lower row; `low` and `high` are the channels as unpacking orders them.
struct DepthwiseGroup {
  __m512i upper[3][2], lower[2][2];  // weights: [column][low, high], [pair of columns][low, high]
  __m512i bias[2], half[2], bits[2];
};

NVC_INLINE void Unpack(__m512i a, __m512i b, __m512i (&pair)[2]) {
  pair[0] = _mm512_unpacklo_epi16(a, b);
  pair[1] = _mm512_unpackhi_epi16(a, b);
}

NVC_INLINE void InUnpackedOrder(const int32_t* values, __mmask16 first, __mmask16 second, __m512i (&parts)[2]) {
  const __m512i a = _mm512_maskz_loadu_epi32(first, values), b = _mm512_maskz_loadu_epi32(second, values + 16);
  parts[0] =
      _mm512_permutex2var_epi32(a, _mm512_setr_epi32(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27), b);
  parts[1] =
      _mm512_permutex2var_epi32(a, _mm512_setr_epi32(4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31), b);
}

NVC_AVX512 void DepthwiseNarrow(const Taps& taps, const Around& x, size_t first, __mmask32 valid, int16_t* out) {
  const size_t channels = taps.channels;
  const __m512i zero = _mm512_setzero_si512();
  DepthwiseGroup g;
  __m512i w[9];
  for (size_t t = 0; t < 9; ++t) w[t] = _mm512_maskz_loadu_epi16(valid, taps.weights + t * channels + first);
  for (size_t c = 0; c < 3; ++c) Unpack(w[c], w[3 + c], g.upper[c]);
  Unpack(w[6], w[7], g.lower[0]);
  Unpack(w[8], zero, g.lower[1]);
  const auto low = static_cast<__mmask16>(valid), high = static_cast<__mmask16>(valid >> 16);
  InUnpackedOrder(taps.bias + first, low, high, g.bias);
  InUnpackedOrder(taps.bits + first, low, high, g.bits);
  for (size_t i = 0; i < 2; ++i) {
    const __m512i one = _mm512_set1_epi32(1);
    g.half[i] = _mm512_sllv_epi32(one, _mm512_sub_epi32(g.bits[i], one));
  }
  // The pairs of three columns, and their lower row.
  __m512i left[2] = {zero, zero}, middle[2], right[2], lower_left = zero, lower_middle, lower_right;
  const size_t before = (x.first - x.begin()) * channels;  // none at the left edge
  const int16_t* at[3];
  for (size_t row = 0; row < 3; ++row) at[row] = x.rows[row] + x.first * channels + first;
  if (before != 0) {
    Unpack(_mm512_maskz_loadu_epi16(valid, at[0] - before), _mm512_maskz_loadu_epi16(valid, at[1] - before), left);
    lower_left = _mm512_maskz_loadu_epi16(valid, at[2] - before);
  }
  Unpack(_mm512_maskz_loadu_epi16(valid, at[0]), _mm512_maskz_loadu_epi16(valid, at[1]), middle);
  lower_middle = _mm512_maskz_loadu_epi16(valid, at[2]);
  for (size_t column = 0; column < x.count; ++column) {
    right[0] = right[1] = lower_right = zero;
    if (x.first + column + 1 < x.width) {
      for (const int16_t*& row : at) row += channels;
      Unpack(_mm512_maskz_loadu_epi16(valid, at[0]), _mm512_maskz_loadu_epi16(valid, at[1]), right);
      lower_right = _mm512_maskz_loadu_epi16(valid, at[2]);
    }
    __m512i pair[2], last[2], parts[2];
    Unpack(lower_left, lower_middle, pair);
    Unpack(lower_right, zero, last);
    for (size_t i = 0; i < 2; ++i) {
      __m512i sum = _mm512_dpwssd_epi32(g.bias[i], left[i], g.upper[0][i]);
      __m512i other = _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(zero, middle[i], g.upper[1][i]), last[i], g.lower[1][i]);
      sum = _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(sum, right[i], g.upper[2][i]), pair[i], g.lower[0][i]);
      sum = _mm512_add_epi32(sum, other);
      sum = _mm512_add_epi32(_mm512_add_epi32(sum, g.half[i]), _mm512_srai_epi32(sum, 31));
      parts[i] = _mm512_srav_epi32(sum, g.bits[i]);
      left[i] = middle[i];
      middle[i] = right[i];
    }
    lower_left = lower_middle;
    lower_middle = lower_right;
    _mm512_mask_storeu_epi16(out + column * channels + first, valid, _mm512_packs_epi32(parts[0], parts[1]));
  }
}

NVC_AVX512 void Depthwise(const Taps& taps, const Around& x, int16_t* out) {
  const size_t channels = taps.channels;
  int peak = 0;
  for (const int16_t* row : x.rows) {
    peak = std::max(peak, Peak({row + x.begin() * channels, 0}, 1, (x.end() - x.begin()) * channels));
  }
  for (size_t first = 0; first < channels; first += 32) {
    const size_t count = std::min<size_t>(32, channels - first);
    if (FitsNarrow(taps, first, first + count, peak)) {
      DepthwiseNarrow(taps, x, first, count == 32 ? ~__mmask32{0} : (__mmask32{1} << count) - 1, out);
    } else {
      DepthwiseWide(taps, x, first, first + count, out);
    }
  }
}

NVC_AVX512 void Add(const int16_t* a, const int16_t* b, int16_t* out, size_t n) {
  for (size_t i = 0; i < n; i += 32) {
    const __mmask32 valid = i + 32 <= n ? ~__mmask32{0} : (__mmask32{1} << (n - i)) - 1;
    const __m512i sum =
        _mm512_adds_epi16(_mm512_maskz_loadu_epi16(valid, a + i), _mm512_maskz_loadu_epi16(valid, b + i));
    _mm512_mask_storeu_epi16(out + i, valid, sum);
  }
}

constexpr Kernels kAvx512{Multiply, Depthwise, Add};

}  // namespace

const Kernels* Avx512Kernels() noexcept {
  static const bool usable = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                             __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
  return usable ? &kAvx512 : nullptr;
}

}  // namespace nvc::int16

#else

namespace nvc::int16 {
const Kernels* Avx512Kernels() noexcept { return nullptr; }
}  // namespace nvc::int16

#endif
