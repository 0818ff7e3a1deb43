#include "int16.h"

#include <algorithm>
#include <cstdlib>

namespace nvc::int16 {
namespace {

int64_t Half(int32_t bits) { return int64_t{1} << (bits - 1); }

}  // namespace

bool FitsNarrow(const Kernel& kernel, size_t panel, int peak) noexcept {
  const size_t first = panel * kPanel, end = std::min(first + kPanel, kernel.padded_outputs());
  int64_t bias = 0, half = 0;
  for (size_t i = first; i < end; ++i) {
    bias = std::max(bias, std::abs(int64_t{kernel.bias[i]}));
    half = std::max(half, Half(kernel.bits[i]));
  }
  return int64_t{peak} * kernel.sums[panel] + bias + half <= INT32_MAX;
}

bool FitsNarrow(const Taps& taps, size_t first, size_t end, int peak) noexcept {
  int64_t largest = 0;
  for (size_t c = first; c < end; ++c) {
    largest = std::max(largest, int64_t{taps.sums[c]} * peak + std::abs(int64_t{taps.bias[c]}) + Half(taps.bits[c]));
  }
  return largest <= INT32_MAX;
}

int16_t Requantise(int64_t sum, int32_t bits) noexcept {
  return static_cast<int16_t>(std::clamp<int64_t>((sum + Half(bits) - (sum < 0)) >> bits, INT16_MIN, INT16_MAX));
}

void DepthwiseWide(const Taps& taps, const Around& x, size_t first, size_t end, int16_t* out) noexcept {
  const size_t channels = taps.channels;
  for (size_t i = 0; i < x.count; ++i) {
    for (size_t c = first; c < end; ++c) {
      int64_t sum = taps.bias[c];
      for (size_t t = 0; t < 9; ++t) {
        const size_t at = x.first + i + t % 3;  // one to the right
        if (at == 0 || at > x.width) continue;
        sum += int64_t{x.rows[t / 3][(at - 1) * channels + c]} * taps.weights[t * channels + c];
      }
      out[i * channels + c] = Requantise(sum, taps.bits[c]);
    }
  }
}

}  // namespace nvc::int16
