// Runs each of the bfloat16 kernels on arrays that are no longer than required, so that the address sanitizer sees any
// access beyond, and compares the results with sums of double precision. Numbers are of all magnitudes.
#include "bfloat16.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace {

using namespace nvc;
using namespace nvc::bfloat16;

std::mt19937 generator(1);

double Wide(Bfloat16 x) {
  const uint32_t bits = uint32_t{x.bits} << 16;
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return double{number};
}

// Powers of two up to `spread` make numbers larger or smaller.
std::vector<Bfloat16> Randoms(size_t n, int spread) {
  std::vector<Bfloat16> values(n);
  for (Bfloat16& value : values) {
    const float exponent = std::uniform_real_distribution<float>(-1, 1)(generator) * static_cast<float>(spread);
    const float number = std::normal_distribution<float>()(generator) * std::exp2(exponent);
    uint32_t bits;
    std::memcpy(&bits, &number, sizeof bits);
    value.bits = static_cast<uint16_t>(bits >> 16);
  }
  return values;
}

double Wsilu(double x) { return x / (1.0 + std::exp(-4.0 * x)); }

// Within a rounding to bfloat16, those of float32 sums of numbers of this magnitude, and numbers taken for zero.
bool Near(Bfloat16 found, double right, double magnitude) {
  return std::abs(Wide(found) - right) <= std::ldexp(std::abs(right), -8) + std::ldexp(magnitude, -18) + 0x1p-121;
}

// Weights [inputs, outputs] in panels of pairs of inputs, which are padded.
std::vector<Bfloat16> Packed(const std::vector<Bfloat16>& weights, size_t inputs, size_t outputs,
                             size_t padded_inputs) {
  std::vector<Bfloat16> packed;
  const size_t padded = Kernel::padded(outputs);
  for (size_t first = 0; first < padded; first += kPanel) {
    for (size_t k = 0; k < padded_inputs; k += kGroup) {
      for (size_t n = first; n < std::min(first + kPanel, padded); ++n) {
        for (size_t i = k; i < k + kGroup; ++i) {
          packed.push_back(n < outputs && i < inputs ? weights[i * outputs + n] : Bfloat16{0});
        }
      }
    }
  }
  return packed;
}

bool Multiplies(const Kernels& kernels, size_t inputs, size_t outputs, size_t rows, int spread) {
  const auto x = Randoms(rows * inputs, spread), weights = Randoms(inputs * outputs, spread);
  const auto bias = Randoms(outputs, spread);
  const auto packed = Packed(weights, inputs, outputs, kernels.demands.padded(inputs));
  const auto first = Randoms(rows * outputs, spread), second = Randoms(rows * outputs, spread);
  const Kernel kernel{packed.data(), bias.data(), inputs, outputs};
  const Session session(kernels.demands);
  for (int way = 0; way < 4; ++way) {
    const bool wsilu = way % 2 == 1, plus = way / 2 == 1;
    std::vector<Bfloat16> out = plus ? first : std::vector<Bfloat16>(rows * outputs);  // it may be added to
    const Epilogue epilogue =
        plus ? Epilogue{wsilu, {{out.data(), outputs}, {second.data(), outputs}}} : Epilogue{wsilu, {}};
    kernels.multiply(kernel, {x.data(), inputs}, rows, {out.data(), outputs}, epilogue);
    for (size_t at = 0; at < rows * outputs; ++at) {
      const size_t n = at % outputs;
      double sum = Wide(bias[n]), magnitude = std::abs(sum);
      for (size_t k = 0; k < inputs; ++k) {
        const double product = Wide(x[at / outputs * inputs + k]) * Wide(weights[k * outputs + n]);
        sum += product;
        magnitude += std::abs(product);
      }
      double right = wsilu ? Wsilu(sum) : sum;
      if (wsilu) magnitude += 128.0 * std::abs(right);  // WSiLU is right to a relative 2^-12
      if (plus) {
        right += Wide(first[at]) + Wide(second[at]);
        magnitude += std::abs(Wide(first[at])) + std::abs(Wide(second[at]));
      }
      if (!Near(out[at], right, magnitude)) return false;
    }
  }
  return true;
}

float Narrow(Bfloat16 x) { return static_cast<float>(Wide(x)); }

float Flushed(float x) { return std::abs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0F, x) : x; }

Bfloat16 Rounded(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return {static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}

// AMX adds up in the order that Intel specifies: 32 inputs at a time, even ones and odd ones apart.
bool MultipliesInOrder(const Kernels& amx, size_t inputs, size_t outputs, size_t rows, int spread) {
  const auto x = Randoms(rows * inputs, spread), weights = Randoms(inputs * outputs, spread);
  const auto bias = Randoms(outputs, spread);
  const auto packed = Packed(weights, inputs, outputs, amx.demands.padded(inputs));
  std::vector<Bfloat16> out(rows * outputs);
  const Session session(amx.demands);
  amx.multiply({packed.data(), bias.data(), inputs, outputs}, {x.data(), inputs}, rows, {out.data(), outputs}, {});
  for (size_t at = 0; at < out.size(); ++at) {
    float sum = Flushed(Narrow(bias[at % outputs]));
    for (size_t first = 0; first < inputs; first += 32) {
      float parts[2] = {};
      for (size_t k = first; k < std::min(first + 32, inputs); ++k) {
        const float a = Narrow(x[at / outputs * inputs + k]), b = Narrow(weights[k * outputs + at % outputs]);
        parts[k % 2] = Flushed(std::fma(Flushed(a), Flushed(b), parts[k % 2]));
      }
      sum = Flushed(sum + Flushed(parts[0] + parts[1]));
    }
    if (out[at].bits != Rounded(sum).bits) return false;
  }
  return true;
}

bool Filters(const Kernels& kernels, size_t height, size_t width, size_t channels, int spread) {
  const size_t positions = 2 * height * width;  // two pictures
  const auto numbers = Randoms(positions * channels, spread), weights = Randoms(9 * channels, spread);
  const auto bias = Randoms(channels, spread);
  const std::vector<Bfloat16> zeros(width * channels);
  const size_t first = generator() % positions, count = 1 + generator() % (positions - first);
  const Taps taps{weights.data(), bias.data(), channels};
  std::vector<Bfloat16> out(count * channels);
  FilterPositions(Pictures<Bfloat16>{numbers.data(), height, width, channels}, zeros.data(), first, count, out.data(),
                  [&](const Around& around, Bfloat16* to) { kernels.depthwise(taps, around, to); });
  for (size_t i = 0; i < count * channels; ++i) {
    const size_t line = (first + i / channels) / width, column = (first + i / channels) % width, c = i % channels;
    double sum = Wide(bias[c]), magnitude = std::abs(sum);
    for (size_t t = 0; t < 9; ++t) {
      const size_t down = line % height + t / 3, right = column + t % 3;  // both one further
      if (down == 0 || down > height || right == 0 || right > width) continue;
      const size_t at = ((line - line % height + down - 1) * width + right - 1) * channels + c;
      const double product = Wide(numbers[at]) * Wide(weights[t * channels + c]);
      sum += product;
      magnitude += std::abs(product);
    }
    if (!Near(out[i], sum, magnitude)) return false;
  }
  return true;
}

}  // namespace

int main() {
  int isas = 0;
  for (const Kernels* kernels : {Avx512Bf16Kernels(), AmxKernels()}) {
    if (kernels == nullptr) continue;
    ++isas;
    for (int i = 0; i < 300; ++i) {
      const size_t inputs = 1 + generator() % (i % 10 == 0 ? 800 : 80), outputs = 1 + generator() % 80,
                   rows = 1 + generator() % 30;
      const int spread = i % 3 * 25;
      if (!Multiplies(*kernels, inputs, outputs, rows, spread) ||
          (kernels == AmxKernels() && !MultipliesInOrder(*kernels, inputs, outputs, rows, spread)) ||
          !Filters(*kernels, 1 + generator() % 4, 1 + generator() % 9, outputs, spread)) {
        std::printf("wrong sums of %zu inputs, %zu outputs, %zu rows\n", inputs, outputs, rows);
        return 1;
      }
    }
  }
  std::printf("bfloat16 kernels of %d ISAs are right and keep within bounds\n", isas);
}
