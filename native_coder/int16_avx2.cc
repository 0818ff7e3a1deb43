// Convolutions of the int16 arithmetic with AVX2.
#include "int16.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstring>

#define NVC_AVX2 __attribute__((target("avx2")))
#define NVC_INLINE NVC_AVX2 __attribute__((always_inline)) inline

namespace nvc::int16 {
namespace {

constexpr size_t kRows = 6;  // of a tile: with kChannels its accumulators fill 12 of the 16 registers
constexpr size_t kChannels = 16;
static_assert(kPanel == 2 * kChannels);

using Sums = int32_t[kRows][kChannels];
using WsiluTable = std::array<int32_t, kWsiluEntries>;  // gathers read 32 bits

NVC_INLINE __m256i Load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
NVC_INLINE void Store(void* to, __m256i x) { _mm256_storeu_si256(static_cast<__m256i*>(to), x); }

// The largest magnitude of n numbers.
NVC_AVX2 int Peak(ConstRows x, size_t rows, size_t n) {
  __m256i vector = _mm256_setzero_si256();
  int peak = 0;
  for (size_t r = 0; r < rows; ++r) {
    const int16_t* row = x.data + r * x.stride;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) vector = _mm256_max_epu16(vector, _mm256_abs_epi16(Load(row + i)));
    for (; i < n; ++i) peak = std::max(peak, std::abs(int{row[i]}));
  }
  alignas(32) uint16_t parts[16];
  Store(parts, vector);
  return std::max<int>(peak, *std::max_element(parts, parts + 16));
}

NVC_INLINE __m256i AddProducts(__m256i sum, __m256i a, __m256i b) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}

// Accumulates pairs of inputs; the last may be half a pair. `step` is the stride of the weights from pair to pair.
template <size_t kCount>
NVC_AVX2 void Accumulate(const int16_t* weights, size_t step, ConstRows x, size_t from, size_t to, size_t inputs,
                         Sums& sums) {
  __m256i s[kCount][2] = {};
  const size_t whole = std::min(to, inputs / 2);
  const int16_t* row[(kCount + 2) / 3];  // every third: a pointer per row would spill
  for (size_t i = 0; i < (kCount + 2) / 3; ++i) row[i] = x.data + 3 * i * x.stride + 2 * from;
  const int16_t* w = weights + from * step;
  for (size_t k = from; k < whole; ++k) {
    const __m256i first = Load(w), second = Load(w + 16);
    for (size_t r = 0; r < kCount; ++r) {
      int32_t pair;
      std::memcpy(&pair, row[r / 3] + r % 3 * x.stride, sizeof pair);
      const __m256i both = _mm256_set1_epi32(pair);
      s[r][0] = AddProducts(s[r][0], both, first);
      s[r][1] = AddProducts(s[r][1], both, second);
    }
    for (const int16_t*& at : row) at += 2;
    w += step;
  }
  if (whole < to) {
    for (size_t r = 0; r < kCount; ++r) {
      const __m256i one = _mm256_set1_epi32(static_cast<uint16_t>(x.data[r * x.stride + inputs - 1]));
      s[r][0] = AddProducts(s[r][0], one, Load(w));
      s[r][1] = AddProducts(s[r][1], one, Load(w + 16));
    }
  }
  for (size_t r = 0; r < kCount; ++r) {
    Store(sums[r], s[r][0]);
    Store(sums[r] + 8, s[r][1]);
  }
}

NVC_INLINE __m256i Requantise32(const int32_t* sums, const int32_t* bias, const int32_t* bits) {
  const __m256i total = _mm256_add_epi32(Load(sums), Load(bias)), b = Load(bits), one = _mm256_set1_epi32(1);
  const __m256i half = _mm256_sllv_epi32(one, _mm256_sub_epi32(b, one));
  return _mm256_srav_epi32(_mm256_add_epi32(_mm256_add_epi32(total, half), _mm256_srai_epi32(total, 31)), b);
}

NVC_INLINE __m256i Wsilu(const WsiluTable& table, __m256i x) {
  const __m256i index = _mm256_min_epu16(_mm256_abs_epi16(x), _mm256_set1_epi16(kWsiluEntries - 1));
  const __m256i low = _mm256_i32gather_epi32(table.data(), _mm256_cvtepu16_epi32(_mm256_castsi256_si128(index)), 4);
  const __m256i high =
      _mm256_i32gather_epi32(table.data(), _mm256_cvtepu16_epi32(_mm256_extracti128_si256(index, 1)), 4);
  const __m256i deficit = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xD8);
  return _mm256_sub_epi16(_mm256_max_epi16(x, _mm256_setzero_si256()), deficit);
}

// kCount rows of kChannels channels.
template <size_t kCount>
NVC_AVX2 void Tile(const Kernel& kernel, const int16_t* weights, size_t step, const int32_t* ends, bool narrow,
                   size_t first, ConstRows x, Rows out, const WsiluTable* wsilu) {
  alignas(32) Sums sums;
  alignas(32) int16_t result[kChannels];
  alignas(32) int64_t totals[kCount][kChannels];
  const int32_t *bias = kernel.bias + first, *bits = kernel.bits + first;
  if (narrow) {
    Accumulate<kCount>(weights, step, x, 0, kernel.pairs(), kernel.inputs, sums);
  } else {
    for (size_t r = 0; r < kCount; ++r) std::copy_n(bias, kChannels, totals[r]);
    for (size_t from = 0; from < kernel.pairs(); from = static_cast<size_t>(*ends++)) {
      Accumulate<kCount>(weights, step, x, from, static_cast<size_t>(*ends), kernel.inputs, sums);
      for (size_t r = 0; r < kCount; ++r) {
        for (size_t n = 0; n < kChannels; ++n) totals[r][n] += sums[r][n];
      }
    }
  }
  const size_t valid = std::min(kChannels, kernel.outputs - first);
  for (size_t r = 0; r < kCount; ++r) {
    if (narrow) {
      const __m256i both =
          _mm256_packs_epi32(Requantise32(sums[r], bias, bits), Requantise32(sums[r] + 8, bias + 8, bits + 8));
      Store(result, _mm256_permute4x64_epi64(both, 0xD8));
    } else {
      for (size_t n = 0; n < kChannels; ++n) result[n] = Requantise(totals[r][n], bits[n]);
    }
    if (wsilu != nullptr) Store(result, Wsilu(*wsilu, Load(result)));
    std::copy_n(result, valid, out.data + r * out.stride + first);
  }
}

NVC_AVX2 void Multiply(const Kernel& kernel, ConstRows x, size_t rows, Rows out, const uint8_t* wsilu) {
  WsiluTable table;
  if (wsilu != nullptr) std::copy_n(wsilu, kWsiluEntries, table.begin());
  const WsiluTable* const through = wsilu == nullptr ? nullptr : &table;
  const int peak = Peak(x, rows, kernel.inputs);
  const int16_t* panel = kernel.weights;
  for (size_t first = 0; first < kernel.outputs; first += kChannels) {
    const size_t number = first / kPanel, offset = first % kPanel;
    const size_t channels = std::min(kPanel, kernel.padded_outputs() - number * kPanel);
    const int16_t* const weights = panel + 2 * offset;
    const int32_t* const ends = kernel.ends + number * kernel.blocks;
    const bool narrow = FitsNarrow(kernel, number, peak);
    for (size_t row = 0; row < rows;) {
      const ConstRows in{x.data + row * x.stride, x.stride};
      const Rows to{out.data + row * out.stride, out.stride};
      if (row + kRows <= rows) {
        Tile<kRows>(kernel, weights, 2 * channels, ends, narrow, first, in, to, through);
        row += kRows;
      } else {
        Tile<1>(kernel, weights, 2 * channels, ends, narrow, first, in, to, through);
        row += 1;
      }
    }
    if (offset + kChannels == channels) panel += kernel.pairs() * channels * 2;
  }
}

NVC_INLINE void Unpack(__m256i a, __m256i b, __m256i (&pair)[2]) {
  pair[0] = _mm256_unpacklo_epi16(a, b);
  pair[1] = _mm256_unpackhi_epi16(a, b);
}

NVC_INLINE void InUnpackedOrder(const int32_t* values, __m256i (&parts)[2]) {
  parts[0] = _mm256_permute2x128_si256(Load(values), Load(values + 8), 0x20);
  parts[1] = _mm256_permute2x128_si256(Load(values), Load(values + 8), 0x31);
}

// kChannels channels whose sums fit 32 bits. Products are made of vertical pairs of taps, and of pairs of the lower
// row.
NVC_AVX2 void DepthwiseNarrow(const Taps& taps, const Around& x, size_t first, int16_t* out) {
  const size_t channels = taps.channels;
  const __m256i zero = _mm256_setzero_si256(), one = _mm256_set1_epi32(1);
  __m256i w[9], upper[3][2], lower[2][2], bias[2], bits[2], half[2];
  for (size_t t = 0; t < 9; ++t) w[t] = Load(taps.weights + t * channels + first);
  for (size_t c = 0; c < 3; ++c) Unpack(w[c], w[3 + c], upper[c]);
  Unpack(w[6], w[7], lower[0]);
  Unpack(w[8], zero, lower[1]);
  InUnpackedOrder(taps.bias + first, bias);
  InUnpackedOrder(taps.bits + first, bits);
  for (size_t i = 0; i < 2; ++i) half[i] = _mm256_sllv_epi32(one, _mm256_sub_epi32(bits[i], one));
  for (size_t i = 0; i < x.count; ++i) {
    __m256i in[3][3];
    for (size_t row = 0; row < 3; ++row) {
      for (size_t c = 0; c < 3; ++c) {
        const size_t at = x.first + i + c;  // one to the right
        in[row][c] = at == 0 || at > x.width ? zero : Load(x.rows[row] + (at - 1) * channels + first);
      }
    }
    __m256i sums[2] = {bias[0], bias[1]}, pair[2];
    for (size_t c = 0; c < 3; ++c) {
      Unpack(in[0][c], in[1][c], pair);
      for (size_t h = 0; h < 2; ++h) sums[h] = AddProducts(sums[h], pair[h], upper[c][h]);
    }
    for (size_t c = 0; c < 2; ++c) {
      Unpack(in[2][2 * c], c == 0 ? in[2][1] : zero, pair);
      for (size_t h = 0; h < 2; ++h) sums[h] = AddProducts(sums[h], pair[h], lower[c][h]);
    }
    for (size_t h = 0; h < 2; ++h) {
      const __m256i nudged = _mm256_add_epi32(_mm256_add_epi32(sums[h], half[h]), _mm256_srai_epi32(sums[h], 31));
      sums[h] = _mm256_srav_epi32(nudged, bits[h]);
    }
    Store(out + i * channels + first, _mm256_packs_epi32(sums[0], sums[1]));
  }
}

NVC_AVX2 void Depthwise(const Taps& taps, const Around& x, int16_t* out) {
  const size_t channels = taps.channels;
  int peak = 0;
  for (const int16_t* row : x.rows) {
    peak = std::max(peak, Peak({row + x.begin() * channels, 0}, 1, (x.end() - x.begin()) * channels));
  }
  for (size_t first = 0; first < channels; first += kChannels) {
    const size_t end = std::min(first + kChannels, channels);
    if (end - first == kChannels && FitsNarrow(taps, first, end, peak)) {
      DepthwiseNarrow(taps, x, first, out);
    } else {
      DepthwiseWide(taps, x, first, end, out);
    }
  }
}

NVC_AVX2 void Add(const int16_t* a, const int16_t* b, int16_t* out, size_t n) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) Store(out + i, _mm256_adds_epi16(Load(a + i), Load(b + i)));
  for (; i < n; ++i) out[i] = static_cast<int16_t>(std::clamp(a[i] + b[i], INT16_MIN, INT16_MAX));
}

constexpr Kernels kAvx2{Multiply, Depthwise, Add};

}  // namespace

const Kernels* Avx2Kernels() noexcept {
  static const bool usable = __builtin_cpu_supports("avx2");
  return usable ? &kAvx2 : nullptr;
}

}  // namespace nvc::int16

#else

namespace nvc::int16 {
const Kernels* Avx2Kernels() noexcept { return nullptr; }
}  // namespace nvc::int16

#endif
