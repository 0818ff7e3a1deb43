// Runs each of the float32 kernels on arrays that are no longer than required, so that the address sanitizer
// sees any access beyond, and compares the results with sums made one product after the other.
#include "float32.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

namespace {

using namespace nvc;
using namespace nvc::float32;

std::mt19937 generator(1);

std::vector<float> Randoms(size_t n) {
  std::vector<float> values(n);
  for (float& value : values) value = std::normal_distribution<float>()(generator);
  return values;
}

float Wsilu(float x) { return static_cast<float>(x / (1.0 + std::exp(-4.0 * double{x}))); }

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
    std::vector<float> out = plus ? first : std::vector<float>(rows * outputs);  // it may be added to
    const Epilogue epilogue =
        plus ? Epilogue{wsilu, {{out.data(), outputs}, {second.data(), outputs}}} : Epilogue{wsilu, {}};
    kernels.multiply(kernel, {x.data(), inputs}, rows, {out.data(), outputs}, epilogue);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t n = 0; n < outputs; ++n) {
        const float sum = Sum(&x[r * inputs], &weights[n], inputs, outputs, bias[n]);
        const size_t at = r * outputs + n;
        const float result = wsilu ? Wsilu(sum) : sum, right = plus ? result + first[at] + second[at] : result;
        const float largest = std::abs(result) + (plus ? std::abs(first[at]) + std::abs(second[at]) : 0.0F);
        const float tolerance = wsilu ? 1e-6F * largest + 1e-30F : 0.0F;
        if (std::abs(out[at] - right) > tolerance) return false;
      }
    }
  }
  return true;
}

// Pictures [pictures, height, width, channels] that can be read beyond their edges, where they are zero.
struct Source {
  std::vector<float> numbers;
  Pictures<float> pictures;

  float At(size_t picture, size_t row, size_t column, size_t channel) const {  // both one down and to the right
    const bool inside = row > 0 && row <= pictures.height && column > 0 && column <= pictures.width;
    const size_t line = (picture * pictures.height + row - 1) * pictures.width + column - 1;
    return inside ? numbers[line * pictures.channels + channel] : 0.0F;
  }
};

bool Filters(const Kernels& kernels, const Source& source) {
  const auto [data, height, width, channels] = source.pictures;
  const std::vector<float> weights = Randoms(9 * channels), bias = Randoms(channels), zeros(width * channels);
  const size_t positions = source.numbers.size() / channels;
  const size_t first = generator() % positions, count = 1 + generator() % (positions - first);
  const Taps taps{weights.data(), bias.data(), channels};
  std::vector<float> out(count * channels);
  FilterPositions(source.pictures, zeros.data(), first, count, out.data(),
                  [&](const Neighbourhood<float>& around, float* to) { kernels.depthwise(taps, around, to); });
  for (size_t i = 0; i < count; ++i) {
    const size_t row = (first + i) / width;
    for (size_t c = 0; c < channels; ++c) {
      float right = bias[c];
      for (size_t t = 0; t < 9; ++t) {
        const float number = source.At(row / height, row % height + t / 3, (first + i) % width + t % 3, c);
        right = std::fma(number, weights[t * channels + c], right);
      }
      if (out[i * channels + c] != right) return false;
    }
  }
  return true;
}

bool Near(float found, double right, double largest) { return std::abs(found - right) <= 1e-5 * largest + 1e-6; }

bool AddsProducts(const Kernels& kernels, size_t inputs, size_t outputs, size_t rows) {
  const std::vector<float> x = Randoms(rows * inputs), y = Randoms(rows * outputs), before = Randoms(inputs * outputs);
  std::vector<float> sums = before;
  kernels.accumulate({x.data(), inputs}, inputs, {y.data(), outputs}, outputs, rows, {sums.data(), outputs});
  for (size_t i = 0; i < inputs * outputs; ++i) {
    double sum = double{before[i]}, largest = std::abs(sum);
    for (size_t r = 0; r < rows; ++r) {
      const double product = double{x[r * inputs + i / outputs]} * double{y[r * outputs + i % outputs]};
      sum += product;
      largest += std::abs(product);
    }
    if (!Near(sums[i], sum, largest)) return false;
  }
  return true;
}

bool AddsTaps(const Kernels& kernels, const Source& source) {
  const auto [data, height, width, channels] = source.pictures;
  const size_t positions = source.numbers.size() / channels;
  const size_t first = generator() % positions, count = 1 + generator() % (positions - first);
  const std::vector<float> zeros(width * channels);
  std::vector<float> y = Randoms(count * channels), sums(9 * channels, 1.0F);
  FilterPositions(source.pictures, zeros.data(), first, count, y.data(),
                  [&, channels = channels](const Neighbourhood<float>& around, const float* gradient) {
                    kernels.accumulate_taps(around, gradient, channels, sums.data());
                  });
  for (size_t i = 0; i < sums.size(); ++i) {
    const size_t t = i / channels, c = i % channels;
    double sum = 1.0, largest = 1.0;
    for (size_t p = 0; p < count; ++p) {
      const size_t row = (first + p) / width, column = (first + p) % width;
      const double number = double{source.At(row / height, row % height + t / 3, column + t % 3, c)};
      sum += number * double{y[p * channels + c]};
      largest += std::abs(number * double{y[p * channels + c]});
    }
    if (!Near(sums[i], sum, largest)) return false;
  }
  return true;
}

bool Activates(const Kernels& kernels, size_t count) {
  const std::vector<float> x = Randoms(count), before = Randoms(count), factors = Randoms(count);
  std::vector<float> value = before, alone(count), slope(count);
  kernels.activate(x.data(), count, true, value.data(), slope.data());
  kernels.activate(x.data(), count, false, alone.data(), nullptr);
  std::vector<float> scaled = slope;
  kernels.scale(scaled.data(), factors.data(), count);
  for (size_t i = 0; i < count; ++i) {
    const double sigmoid = 1.0 / (1.0 + std::exp(-4.0 * double{x[i]})), right = double{x[i]} * sigmoid;
    if (!Near(alone[i], right, 1.0) || !Near(value[i], right + double{before[i]}, 4.0)) return false;
    if (!Near(slope[i], sigmoid * (1.0 + 4.0 * double{x[i]} * (1.0 - sigmoid)), 2.0)) return false;
    if (scaled[i] != slope[i] * factors[i]) return false;
  }
  return true;
}

bool Copies(const Source& source, size_t stride) {
  const size_t height = source.pictures.height / stride, width = source.pictures.width / stride;
  const size_t channels = source.pictures.channels;
  const size_t positions = source.numbers.size() / channels / (stride * stride);
  const size_t first = generator() % positions, count = 1 + generator() % (positions - first);
  std::vector<float> out(count * 9 * channels);
  CopyPatches(source.pictures, stride, first, count, out.data());
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t position = first + i / (9 * channels), tap = i / channels % 9;
    const size_t row = position / width % height * stride, column = position % width * stride;
    if (out[i] != source.At(position / (height * width), row + tap / 3, column + tap % 3, i % channels)) return false;
  }
  return true;
}

}  // namespace

int main() {
  int isas = 0;
  for (const Kernels* kernels : {Avx2Kernels(), Avx512Kernels()}) {
    if (kernels == nullptr) continue;
    ++isas;
    for (int i = 0; i < 300; ++i) {
      const size_t inputs = 1 + generator() % (i % 10 == 0 ? 800 : 80), outputs = 1 + generator() % 80,
                   rows = 1 + generator() % 30;
      const size_t stride = 1 + generator() % 2, height = stride * (1 + generator() % 4);
      const size_t width = stride * (1 + generator() % 9), pictures = 1 + generator() % 3;
      Source source{Randoms(pictures * height * width * outputs), {nullptr, height, width, outputs}};
      source.pictures.data = source.numbers.data();
      if (!Multiplies(*kernels, inputs, outputs, rows) || !Filters(*kernels, source) || !Copies(source, stride) ||
          !AddsProducts(*kernels, inputs, outputs, rows * 5) || !AddsTaps(*kernels, source) ||
          !Activates(*kernels, inputs)) {
        std::printf("wrong sums of %zu inputs, %zu outputs, %zu rows\n", inputs, outputs, rows);
        return 1;
      }
    }
  }
  std::printf("float32 kernels of %d ISAs are right and keep within bounds\n", isas);
}
