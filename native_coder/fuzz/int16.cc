// Runs each of the int16 kernels on arrays that are no longer than required, so that the address sanitizer sees
// any access beyond, and compares the results with sums in 64 bits.
#include "int16.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <utility>
#include <vector>

namespace {

using namespace nvc::int16;

constexpr int kLargest = 1 << 15;  // magnitude of an activation

std::mt19937 generator(1);

int32_t Random(int32_t largest) { return std::uniform_int_distribution<int32_t>(-largest, largest)(generator); }

template <class T>
std::vector<T> Randoms(size_t n, int32_t largest) {
  std::vector<T> values(n);
  for (T& value : values) value = static_cast<T>(std::min<int32_t>(Random(largest), std::numeric_limits<T>::max()));
  return values;
}

int16_t Through(const std::vector<uint8_t>& deficits, int16_t x) {
  const size_t index = std::min<size_t>(static_cast<size_t>(std::abs(int{x})), kWsiluEntries - 1);
  return static_cast<int16_t>(std::max<int>(x, 0) - deficits[index]);
}

// A matrix, plain and packed, with blocks as short as the worst activations require.
struct Matrix {
  Matrix(size_t inputs, size_t outputs, std::vector<int16_t> numbers)
      : weights(std::move(numbers)),
        bias(Randoms<int32_t>((outputs + 15) / 16 * 16, 1 << 28)) {
    kernel.inputs = inputs;
    kernel.outputs = outputs;
    const size_t padded = kernel.padded_outputs();
    for (size_t n = 0; n < padded; ++n) bits.push_back(9 + static_cast<int32_t>(generator() % 12));
    std::vector<std::vector<int32_t>> blocks;
    for (size_t first = 0; first < padded; first += kPanel) {
      const size_t channels = std::min(kPanel, padded - first);
      std::vector<int64_t> sum(channels), block(channels);
      blocks.emplace_back();
      for (size_t k = 0; k < kernel.pairs(); ++k) {
        bool full = false;
        for (size_t n = 0; n < channels; ++n) {
          int64_t cost = 0;
          for (size_t i = 2 * k; i < 2 * k + 2; ++i) {
            const bool inside = i < inputs && first + n < outputs;
            const int16_t w = inside ? weights[i * outputs + first + n] : int16_t{0};
            packed.push_back(w);
            cost += std::abs(int{w});
          }
          sum[n] += cost;
          block[n] += cost;
          full = full || block[n] * kLargest > INT32_MAX;
        }
        if (full) {
          blocks.back().push_back(static_cast<int32_t>(k));
          std::fill(block.begin(), block.end(), 0);
          for (size_t n = 0; n < channels; ++n) {
            for (size_t i = 0; i < 2; ++i) block[n] += std::abs(int{packed[packed.size() - 2 * channels + 2 * n + i]});
          }
        }
      }
      blocks.back().push_back(static_cast<int32_t>(kernel.pairs()));
      sums.push_back(static_cast<int32_t>(*std::max_element(sum.begin(), sum.end())));
    }
    for (const auto& one : blocks) kernel.blocks = std::max(kernel.blocks, one.size());
    for (const auto& one : blocks) {
      ends.insert(ends.end(), one.begin(), one.end());
      ends.insert(ends.end(), kernel.blocks - one.size(), one.back());
    }
    kernel.weights = packed.data();
    kernel.ends = ends.data();
    kernel.sums = sums.data();
    kernel.bias = bias.data();
    kernel.bits = bits.data();
  }

  std::vector<int16_t> weights, packed;
  std::vector<int32_t> bias, bits, sums, ends;
  Kernel kernel{};
};

// The weights as AMX takes them.
std::vector<int16_t> InTiles(const Matrix& matrix, size_t padded_inputs) {
  const size_t inputs = matrix.kernel.inputs, outputs = matrix.kernel.outputs, padded = matrix.kernel.padded_outputs();
  constexpr size_t kChannels = 16, kInputs = 64;
  std::vector<uint8_t> bytes;
  for (size_t tile = 0; tile < padded / kChannels * (padded_inputs / kInputs); ++tile) {
    const size_t channel = tile / (padded_inputs / kInputs) * kChannels;
    const size_t input = tile % (padded_inputs / kInputs) * kInputs;
    for (const bool is_upper : {true, false}) {
      for (size_t k = input; k < input + kInputs; k += 4) {
        for (size_t n = channel; n < channel + kChannels; ++n) {
          for (size_t i = k; i < k + 4; ++i) {
            const int w = i < inputs && n < outputs ? matrix.weights[i * outputs + n] : 0;
            bytes.push_back(static_cast<uint8_t>(is_upper ? (w + 128) >> 8 : w));
          }
        }
      }
    }
  }
  std::vector<int16_t> planes(bytes.size() / 2);
  std::memcpy(planes.data(), bytes.data(), bytes.size());
  return planes;
}

bool Multiplies(const Kernels& kernels, const Matrix& matrix, const std::vector<int16_t>& x) {
  const size_t inputs = matrix.kernel.inputs, outputs = matrix.kernel.outputs, rows = x.size() / inputs;
  const std::vector<uint8_t> deficits = Randoms<uint8_t>(kWsiluEntries, 60);
  Kernel kernel = matrix.kernel;
  std::vector<int16_t> planes;
  if (kernels.demands.inputs != 2) {
    planes = InTiles(matrix, kernels.demands.padded(inputs));
    kernel.weights = planes.data();
  }
  const nvc::Session session(kernels.demands);
  for (const bool wsilu : {false, true}) {
    std::vector<int16_t> out(rows * outputs);
    kernels.multiply(kernel, {x.data(), inputs}, rows, {out.data(), outputs}, wsilu ? deficits.data() : nullptr);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t n = 0; n < outputs; ++n) {
        int64_t sum = matrix.bias[n];
        for (size_t k = 0; k < inputs; ++k) sum += int64_t{x[r * inputs + k]} * matrix.weights[k * outputs + n];
        const int16_t right = Requantise(sum, matrix.bits[n]);
        if (out[r * outputs + n] != (wsilu ? Through(deficits, right) : right)) return false;
      }
    }
  }
  return true;
}

// Weights whose magnitudes sum to as much as is allowed, or nearly, and activations whose planes are the largest.
bool MultipliesLargest(const Kernels& kernels) {
  for (const int weight : {127, 128, 1000, 32639}) {
    const size_t inputs = (size_t{1} << 22) / static_cast<size_t>(weight), rows = 3;
    for (const int sign : {1, -1}) {
      const Matrix matrix(inputs, 1, std::vector<int16_t>(inputs, static_cast<int16_t>(sign * weight)));
      std::vector<int16_t> x(rows * inputs);
      for (size_t i = 0; i < x.size(); ++i) x[i] = std::array<int16_t, 3>{INT16_MIN, -1, INT16_MAX}[i / inputs];
      if (!Multiplies(kernels, matrix, x)) return false;
    }
  }
  return true;
}

bool Filters(const Kernels& kernels, size_t width, size_t channels, int32_t largest, int32_t peak) {
  const std::vector<int16_t> weights = Randoms<int16_t>(9 * channels, largest);
  const std::vector<int32_t> bias = Randoms<int32_t>(channels, 1 << 28);
  std::vector<int32_t> bits(channels), sums(channels);
  for (size_t c = 0; c < channels; ++c) {
    bits[c] = 9 + static_cast<int32_t>(generator() % 12);
    for (size_t t = 0; t < 9; ++t) sums[c] += std::abs(int{weights[t * channels + c]});
  }
  const Taps taps{weights.data(), sums.data(), bias.data(), bits.data(), channels};
  std::vector<int16_t> rows[3];
  for (auto& row : rows) row = Randoms<int16_t>(width * channels, peak);
  const size_t first = generator() % width, count = 1 + generator() % (width - first);
  const Around x{{rows[0].data(), rows[1].data(), rows[2].data()}, width, first, count};
  std::vector<int16_t> out(count * channels), right(count * channels), sum(width * channels);
  kernels.depthwise(taps, x, out.data());
  DepthwiseWide(taps, x, 0, channels, right.data());
  kernels.add(rows[0].data(), rows[1].data(), sum.data(), sum.size());
  for (size_t i = 0; i < sum.size(); ++i) {
    if (sum[i] != std::clamp(rows[0][i] + rows[1][i], INT16_MIN, INT16_MAX)) return false;
  }
  return out == right;
}

}  // namespace

int main() {
  int isas = 0;
  for (const Kernels* kernels : {Avx2Kernels(), Avx512Kernels(), AmxKernels()}) {
    if (kernels == nullptr) continue;
    ++isas;
    if (!MultipliesLargest(*kernels)) {
      std::printf("wrong sums of the largest numbers\n");
      return 1;
    }
    for (int i = 0; i < 300; ++i) {
      const size_t inputs = 1 + generator() % 80, outputs = 1 + generator() % 80, rows = 1 + generator() % 30;
      const int32_t largest = i % 2 == 0 ? 32639 : 300, peak = i % 3 == 0 ? kLargest : 200;
      const Matrix matrix(inputs, outputs, Randoms<int16_t>(inputs * outputs, largest));
      if (!Multiplies(*kernels, matrix, Randoms<int16_t>(rows * inputs, peak)) ||
          !Filters(*kernels, 1 + generator() % 9, outputs, largest, peak)) {
        std::printf("wrong sums of %zu inputs, %zu outputs, %zu rows\n", inputs, outputs, rows);
        return 1;
      }
    }
  }
  std::printf("int16 kernels of %d ISAs are exact and keep within bounds\n", isas);
}
