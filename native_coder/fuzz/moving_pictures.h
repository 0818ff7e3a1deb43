// Pictures of blocks for tests of block motion, and moving their pixels one by one.
#ifndef NVC_FUZZ_MOVING_PICTURES_H_
#define NVC_FUZZ_MOVING_PICTURES_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <type_traits>
#include <vector>

#include "motion.h"

namespace nvc::motion {

inline std::mt19937 generator(1);

inline int Random(int first, int last) { return std::uniform_int_distribution<int>(first, last)(generator); }

using Field = std::vector<Vector>;

// A picture [height, width, 3] whose borders extend.
template <class Number>
struct Picture {
  Shape shape;
  std::vector<Number> numbers;

  Number at(int y, int x, size_t channel) const {
    const auto row = static_cast<size_t>(std::clamp(y, 0, static_cast<int>(shape.height) - 1));
    const auto column = static_cast<size_t>(std::clamp(x, 0, static_cast<int>(shape.width) - 1));
    return numbers[(row * shape.width + column) * kChannels + channel];
  }
};

// Of integers up to `white`.
template <class Number>
Number Moved(const Picture<Number>& picture, int y, int x, Vector vector, size_t channel, int white) {
  y += Whole(vector.y);
  x += Whole(vector.x);
  int total = 0;
  for (int i = 0; i < 6; ++i) {
    if (kWeights[Phase(vector.y)][i] == 0) continue;
    for (int j = 0; j < 6; ++j) {
      if (kWeights[Phase(vector.x)][j] == 0) continue;
      total += kWeights[Phase(vector.y)][i] * kWeights[Phase(vector.x)][j] * picture.at(y + i - 2, x + j - 2, channel);
    }
  }
  return static_cast<Number>(std::clamp((total + 2048) >> 12, 0, white));
}

inline int16_t Moved(const Picture<int16_t>& picture, int y, int x, Vector vector, size_t channel) {
  return Moved(picture, y, x, vector, channel, kScale);
}

inline uint16_t Moved(const Picture<uint16_t>& picture, int y, int x, Vector vector, size_t channel) {
  return Moved(picture, y, x, vector, channel, kFineScale);
}

template <class Get>
float Filtered(int phase, const Get& get) {
  float sum = get(1) * (static_cast<float>(kWeights[phase][1]) / 64);
  for (const int k : {0, 2, 3, 4, 5}) sum = std::fma(get(k), static_cast<float>(kWeights[phase][k]) / 64, sum);
  return sum;
}

inline float Moved(const Picture<float>& picture, int y, int x, Vector vector, size_t channel) {
  const float sum = Filtered(Phase(vector.x), [&](int j) {
    return Filtered(Phase(vector.y), [&](int i) {
      return picture.at(y + Whole(vector.y) + i - 2, x + Whole(vector.x) + j - 2, channel);
    });
  });
  return std::clamp(sum, 0.0F, 1.0F);
}

// Noise of `levels` levels up to `contrast` in squares of `square` pixels.
inline Picture<int16_t> Noise(const Shape& shape, size_t square, int levels, int contrast) {
  Picture<int16_t> picture{shape, std::vector<int16_t>(shape.height * shape.width * kChannels)};
  const size_t columns = shape.width / square + 1;
  std::vector<int16_t> values((shape.height / square + 1) * columns * kChannels);
  for (int16_t& value : values)
    value = static_cast<int16_t>(Random(0, levels - 1) * contrast / std::max(levels - 1, 1));
  for (size_t i = 0; i < picture.numbers.size(); ++i) {
    const size_t pixel = i / kChannels, at = pixel / shape.width / square * columns + pixel % shape.width / square;
    picture.numbers[i] = values[at * kChannels + i % kChannels];
  }
  return picture;
}

// The picture with a part of its blocks moved, and noise.
inline Picture<int16_t> Changed(const Picture<int16_t>& picture, int still, int reach, int noise) {
  Picture<int16_t> changed = picture;
  const size_t columns = picture.shape.columns();
  Field vectors(picture.shape.rows() * columns);
  const Vector common{static_cast<int8_t>(Random(-reach, reach)), static_cast<int8_t>(Random(-reach, reach))};
  for (Vector& vector : vectors) {
    if (Random(0, 9) >= still) vector = common;
  }
  for (size_t i = 0; i < changed.numbers.size(); ++i) {
    const size_t pixel = i / kChannels, y = pixel / picture.shape.width, x = pixel % picture.shape.width;
    const Vector vector = vectors[y / kBlock * columns + x / kBlock];
    const int moved = Moved(picture, static_cast<int>(y), static_cast<int>(x), vector, i % kChannels);
    changed.numbers[i] = static_cast<int16_t>(std::clamp(moved + Random(-noise, noise), 0, kScale));
  }
  return changed;
}

inline Picture<uint16_t> Fine(const Picture<int16_t>& picture) {
  Picture<uint16_t> fine{picture.shape, {}};
  for (const int16_t x : picture.numbers) {
    fine.numbers.push_back(static_cast<uint16_t>(std::clamp(kFineScale / kScale * x + Random(-3, 3), 0, kFineScale)));
  }
  return fine;
}

inline Picture<float> Real(const Picture<int16_t>& picture) {
  Picture<float> real{picture.shape, {}};
  for (const int16_t x : picture.numbers) real.numbers.push_back(static_cast<float>(x) / kScale);
  return real;
}

inline Field RandomField(const Shape& shape) {
  Field vectors(shape.rows() * shape.columns());
  for (Vector& vector : vectors) {
    vector = {static_cast<int8_t>(Random(-128, 127)), static_cast<int8_t>(Random(-128, 127))};
  }
  return vectors;
}

inline Picture<float> RandomReal(const Shape& shape) {
  Picture<float> real{shape, std::vector<float>(shape.height * shape.width * kChannels)};
  for (float& x : real.numbers) x = std::uniform_real_distribution<float>(0, 1)(generator);
  return real;
}

template <class Number>
Pixels PixelsOf(const Picture<Number>& picture) {
  Pixels pixels;
  if constexpr (std::is_same_v<Number, float>) {
    pixels.float32 = picture.numbers.data();
  } else {
    pixels.int16 = picture.numbers.data();
  }
  return pixels;
}

}  // namespace nvc::motion

#endif  // NVC_FUZZ_MOVING_PICTURES_H_
