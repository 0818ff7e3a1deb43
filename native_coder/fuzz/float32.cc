// Runs each of the float32 kernels on arrays that are no longer than they have to be, so that the address sanitizer
// sees any access beyond, and compares the results with sums made one product after the other.
#include "float32.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

namespace {

using namespace nvc::float32;

std::mt19937 generator(1);

std::vector<float> Randoms(size_t n) {
  std::vector<float> values(n);
  for (float& value : values) value = std::normal_distribution<float>()(generator);
  return values;
}

float Wsilu(float x) { return static_cast<float>(x / (1.0 + std::exp(-4.0 * double{x}))); }

bool Near(float a, float b) { return std::abs(a - b) <= 1e-6F * std::abs(b) + 1e-30F; }

float Sum(const float* x, const float* weights, size_t inputs, size_t outputs, float bias) {
  float total = 0, sum = bias;
  for (size_t k = 0; k < inputs; ++k) {
    if (k > 0 && k % kSummed == 0) {
      total += sum;
      sum = 0;
    }
    sum = std::fma(x[k], weights[k * outputs], sum);
  }
  return total + sum;
}

// Weights [inputs, outputs] in panels.
std::vector<float> Packed(const std::vector<float>& weights, size_t inputs, size_t outputs) {
  std::vector<float> packed;
  const size_t padded = Kernel::padded(outputs);
  for (size_t first = 0; first < padded; first += kPanel) {
    for (size_t k = 0; k < inputs; ++k) {
      for (size_t n = first; n < std::min(first + kPanel, padded); ++n) {
        packed.push_back(n < outputs ? weights[k * outputs + n] : 0.0F);
      }
    }
  }
  return packed;
}

bool Multiplies(const Kernels& kernels, size_t inputs, size_t outputs, size_t rows) {
  const std::vector<float> x = Randoms(rows * inputs), weights = Randoms(inputs * outputs), bias = Randoms(outputs);
  const std::vector<float> packed = Packed(weights, inputs, outputs), first = Randoms(rows * outputs);
  const std::vector<float> second = Randoms(rows * outputs);
  const Kernel kernel{packed.data(), bias.data(), inputs, outputs};
  for (int way = 0; way < 4; ++way) {
    const bool wsilu = way % 2 == 1, plus = way / 2 == 1;
    const Finish finish = plus ? Finish{wsilu, {{first.data(), outputs}, {second.data(), outputs}}} : Finish{wsilu, {}};
    std::vector<float> out(rows * outputs);
    kernels.multiply(kernel, {x.data(), inputs}, rows, {out.data(), outputs}, finish);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t n = 0; n < outputs; ++n) {
        const float right = Sum(&x[r * inputs], &weights[n], inputs, outputs, bias[n]);
        const size_t at = r * outputs + n;
        if (wsilu) {
          if (!plus && !Near(out[at], Wsilu(right))) return false;
        } else if (out[at] != (plus ? right + first[at] + second[at] : right)) {
          return false;
        }
      }
    }
  }
  return true;
}

bool Filters(const Kernels& kernels, size_t width, size_t channels) {
  const std::vector<float> weights = Randoms(9 * channels), bias = Randoms(channels);
  std::vector<float> rows[3];
  for (auto& row : rows) row = Randoms(width * channels);
  const size_t first = generator() % width, count = 1 + generator() % (width - first);
  std::vector<float> out(count * channels);
  kernels.depthwise({weights.data(), bias.data(), channels},
                    {{rows[0].data(), rows[1].data(), rows[2].data()}, width, first, count}, out.data());
  for (size_t i = 0; i < count; ++i) {
    for (size_t c = 0; c < channels; ++c) {
      float right = bias[c];
      for (size_t t = 0; t < 9; ++t) {
        const size_t at = first + i + t % 3;  // one to the right
        const bool inside = at > 0 && at <= width;
        right = std::fma(inside ? rows[t / 3][(at - 1) * channels + c] : 0.0F, weights[t * channels + c], right);
      }
      if (out[i * channels + c] != right) return false;
    }
  }
  return true;
}

}  // namespace

int main() {
  int kinds = 0;
  for (const Kernels* kernels : {Avx2Kernels(), Avx512Kernels()}) {
    if (kernels == nullptr) continue;
    ++kinds;
    for (int i = 0; i < 300; ++i) {
      const size_t inputs = 1 + generator() % (i % 10 == 0 ? 800 : 80), outputs = 1 + generator() % 80,
                   rows = 1 + generator() % 30;
      if (!Multiplies(*kernels, inputs, outputs, rows) || !Filters(*kernels, 1 + generator() % 9, outputs)) {
        std::printf("wrong sums of %zu inputs, %zu outputs, %zu rows\n", inputs, outputs, rows);
        return 1;
      }
    }
  }
  std::printf("%d kinds of float32 kernels are right and keep within bounds\n", kinds);
}
