// Convolutions of the int16 arithmetic with AMX, as of Sapphire Rapids; everything but products is that of AVX-512.
//
// Activations are 256 upper + lower with a lower plane of 0..255, weights 256 upper + lower with one of -128..127. A
// weight's |lower| is at most its magnitude, and its |upper| at most a 128th of it. The magnitudes of a channel's
// weights sum to at most 2^22 (docs/INT16.md). So for any activations and any number of inputs the sum of products of
// upper planes is at most 128 * 2^15, that of lower ones 255 * 2^22, and that of upper with lower and lower with upper
// ones, in one accumulator, 128 * 2^22 + 255 * 2^15: all are below 2^31.
#include "int16.h"
#include "tiles.h"

#ifdef NVC_TILES

#include <algorithm>

#include "int16_avx512.h"
#include "scratch.h"

#define NVC_AMX __attribute__((target(NVC_AVX512_FEATURES "," NVC_TILE_FEATURES)))

namespace nvc::int16 {
namespace {

using tiles::kBytes;
using tiles::kRows;

constexpr size_t kChannels = 16;  // of a tile of sums
constexpr size_t kTile = kRows * kBytes;

// Splits rows into planes: for each kRows rows and kBytes inputs a tile of the upper plane and one of the lower.
// Inputs are padded by zeros. Returns the largest magnitude.
NVC_AVX512 int SplitRows(ConstRows x, size_t rows, size_t inputs, uint8_t* planes) {
  alignas(64) uint8_t bytes[kBytes];
  for (size_t i = 0; i < kBytes; ++i) bytes[i] = static_cast<uint8_t>(2 * i);
  __m512i peak = _mm512_setzero_si512();
  const __m512i even = _mm512_load_si512(bytes);
  const __m512i odd = _mm512_add_epi8(even, _mm512_set1_epi8(1));
  const size_t blocks = (inputs + kBytes - 1) / kBytes;
  for (size_t r = 0; r < rows; ++r) {
    const int16_t* const row = x.data + r * x.stride;
    uint8_t* to = planes + r / kRows * blocks * 2 * kTile + r % kRows * kBytes;
    for (size_t i = 0; i < inputs; i += kBytes, to += 2 * kTile) {
      const size_t left = inputs - i;
      const __mmask64 valid = left >= kBytes ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
      const __m512i a = _mm512_maskz_loadu_epi16(static_cast<__mmask32>(valid), row + i);
      const __m512i b = _mm512_maskz_loadu_epi16(static_cast<__mmask32>(valid >> 32), row + i + 32);
      peak = _mm512_max_epu16(peak, _mm512_max_epu16(_mm512_abs_epi16(a), _mm512_abs_epi16(b)));
      _mm512_storeu_si512(to, _mm512_permutex2var_epi8(a, odd, b));
      _mm512_storeu_si512(to + kTile, _mm512_permutex2var_epi8(a, even, b));
    }
  }
  alignas(64) uint16_t parts[32];
  _mm512_store_si512(parts, peak);
  return *std::max_element(parts, parts + 32);
}

// Sums of products of planes of kRows rows and kChannels channels: of upper planes, of upper with lower ones and lower
// with upper ones together, and of lower planes.
struct Sums {
  alignas(64) int32_t of[3][kRows][kChannels];
};

// Over `blocks` tiles of inputs, for which both sides have a tile of the upper plane and one of the lower.
NVC_AMX void Multiply(const uint8_t* planes, const uint8_t* weights, size_t blocks, Sums* sums) {
  tiles::Zero<0>();
  tiles::Zero<1>();
  tiles::Zero<2>();
  for (size_t i = 0; i < blocks; ++i, planes += 2 * kTile, weights += 2 * kTile) {
    tiles::Load<4>(planes, kBytes);
    tiles::Load<6>(weights, kBytes);
    tiles::AddSigned<0, 4, 6>();
    tiles::Load<7>(weights + kTile, kBytes);
    tiles::AddSigned<1, 4, 7>();
    tiles::Load<5>(planes + kTile, kBytes);
    tiles::AddUnsigned<2, 5, 7>();
    tiles::AddUnsigned<1, 5, 6>();
  }
  tiles::Store<0>(sums->of[0], kBytes);
  tiles::Store<1>(sums->of[1], kBytes);
  tiles::Store<2>(sums->of[2], kBytes);
}

// The total of the sums of a row, requantised.
NVC_INLINE __m256i Narrow(const Sums& sums, size_t row, __m512i bias, __m512i half, __m512i bits) {
  const __m512i upper = _mm512_slli_epi32(_mm512_load_si512(sums.of[0][row]), 16);
  const __m512i middle = _mm512_slli_epi32(_mm512_load_si512(sums.of[1][row]), 8);
  const __m512i total = _mm512_add_epi32(_mm512_add_epi32(upper, middle), _mm512_load_si512(sums.of[2][row]));
  return Requantise32(total, bias, half, bits);
}

NVC_INLINE __m512i Widen(const int32_t* x) {
  return _mm512_cvtepi32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
}

// The same in 64 bits.
NVC_INLINE __m256i Wide(const Sums& sums, size_t row, const int32_t* bias, const int32_t* bits) {
  __m128i parts[2];
  for (size_t i = 0; i < 2; ++i) {
    const size_t first = 8 * i;
    const __m512i upper = _mm512_slli_epi64(Widen(sums.of[0][row] + first), 16);
    const __m512i middle = _mm512_slli_epi64(Widen(sums.of[1][row] + first), 8);
    const __m512i total = _mm512_add_epi64(_mm512_add_epi64(upper, middle), Widen(sums.of[2][row] + first));
    parts[i] = Requantise64(total, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bias + first)),
                            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bits + first)));
  }
  return _mm256_set_m128i(parts[1], parts[0]);
}

// The first `rows` rows of the results of a tile, `valid` channels.
NVC_AVX512 void Finish(const Sums& sums, bool narrow, const int32_t* bias, const int32_t* bits, const uint8_t* wsilu,
                       size_t rows, size_t valid, Rows out) {
  const __m512i b = _mm512_loadu_si512(bits), start = _mm512_loadu_si512(bias), one = _mm512_set1_epi32(1);
  const __m512i half = _mm512_sllv_epi32(one, _mm512_sub_epi32(b, one));
  const auto stored = static_cast<__mmask16>((1U << valid) - 1);
  for (size_t first = 0; first < rows; first += 4) {  // the last may be rows that no one asked for
    __m256i results[4];
    for (size_t r = 0; r < 4; ++r) {
      results[r] = narrow ? Narrow(sums, first + r, start, half, b) : Wide(sums, first + r, bias, bits);
    }
    if (wsilu != nullptr) {
      __m512i pairs[2] = {Halves(results[0], results[1]), Halves(results[2], results[3])};
      Wsilu(wsilu, &pairs[0], &pairs[1]);
      for (size_t r = 0; r < 4; ++r) {
        results[r] = r % 2 == 0 ? _mm512_castsi512_si256(pairs[r / 2]) : _mm512_extracti64x4_epi64(pairs[r / 2], 1);
      }
    }
    for (size_t r = 0; r < 4 && first + r < rows; ++r) {
      _mm256_mask_storeu_epi16(out.data + (first + r) * out.stride, stored, results[r]);
    }
  }
}

void MultiplyRows(const Kernel& kernel, ConstRows x, size_t rows, Rows out, const uint8_t* wsilu) {
  const size_t blocks = (kernel.inputs + kBytes - 1) / kBytes, tile_rows = (rows + kRows - 1) / kRows;
  const size_t strip = blocks * 2 * kTile;  // bytes of planes of kRows rows, or of weights of kChannels channels
  uint8_t* const planes = Scratch<uint8_t, struct Planes>(tile_rows * strip);
  const int peak = SplitRows(x, rows, kernel.inputs, planes);
  const auto* weights = reinterpret_cast<const uint8_t*>(kernel.weights);
  for (size_t channel = 0; channel < kernel.outputs; channel += kChannels, weights += strip) {
    const size_t valid = std::min(kChannels, kernel.outputs - channel);
    const bool narrow = FitsNarrow(kernel, channel / kPanel, peak);
    for (size_t row = 0; row < rows; row += kRows) {
      Sums sums;
      Multiply(planes + row / kRows * strip, weights, blocks, &sums);
      Finish(sums, narrow, kernel.bias + channel, kernel.bits + channel, wsilu, std::min(kRows, rows - row), valid,
             {out.data + row * out.stride + channel, out.stride});
    }
  }
}

}  // namespace

const Kernels* AmxKernels() noexcept {
  const Kernels* const others = Avx512Kernels();
  static const bool usable = others != nullptr && tiles::Usable();
  if (!usable) return nullptr;
  static const Kernels amx{
      MultiplyRows, others->depthwise, others->add, {kBytes, kRows, tiles::Configure, tiles::Release}};
  return &amx;
}

}  // namespace nvc::int16

#else

namespace nvc::int16 {
const Kernels* AmxKernels() noexcept { return nullptr; }
}  // namespace nvc::int16

#endif
