// Deblocking with AVX2, for which the compiler vectorises loops over the lines across an edge.
#include "deblocking.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#include <algorithm>
#include <cmath>
#include <cstdlib>

#define NVC_TARGET __attribute__((target("avx2,fma")))
#define NVC_INLINE NVC_TARGET __attribute__((always_inline)) inline

namespace nvc::deblocking {
namespace {

constexpr size_t kHalf = kBlock / 2;
constexpr size_t kLines = 4;  // that share a class
constexpr size_t kClasses = 5;
constexpr int kBounds[kClasses - 1] = {10, 26, 64, 128};
constexpr int kCaps[kClasses] = {128, 128, 96, 77, 51};
constexpr int kEnds[kClasses] = {384, 384, 288, 512, 1024};
constexpr int kRamps[kClasses][kHalf] = {{14, 18, 24, 29, 35, 45, 59, 74},
                                         {6, 8, 10, 13, 17, 26, 44, 68},
                                         {3, 3, 3, 3, 5, 6, 24, 60},
                                         {0, 0, 0, 0, 3, 0, 11, 49},
                                         {0, 0, 0, 0, 0, 1, -3, 13}};
constexpr int kSizeBits = 10;

// x / 2^bits; integers are rounded, halves up.
template <int kBits>
NVC_INLINE int32_t Divided(int32_t x) {
  return (x + (1 << (kBits - 1))) >> kBits;
}
template <int kBits>
NVC_INLINE float Divided(float x) {
  return x / (1 << kBits);
}

NVC_INLINE int32_t Magnitude(int32_t x) { return std::abs(x); }
NVC_INLINE float Magnitude(float x) { return std::abs(x); }

// 9 a - 3 b, with the roundings of XLA on CPU, where LLVM fuses multiply-adds.
NVC_INLINE int32_t Excess(int32_t a, int32_t b) { return 9 * a - 3 * b; }
NVC_INLINE float Excess(float a, float b) { return __builtin_fmaf(9, a, -(3 * b)); }

// Smooths 16 lines; those of p7..p0, q0..q7 lie together.
template <int kLargest, class Number>
NVC_INLINE void SmoothLines(Number (&x)[kBlock][kBlock], Number size) {
  const auto &p2 = x[kHalf - 3], &p1 = x[kHalf - 2], &p0 = x[kHalf - 1];
  const auto &q0 = x[kHalf], &q1 = x[kHalf + 1], &q2 = x[kHalf + 2];
  Number curvature[kBlock], cap[kBlock], end[kBlock], ramps[kHalf][kBlock], step[kBlock];
  for (size_t i = 0; i < kBlock; ++i) {
    curvature[i] = Magnitude(p2[i] - 2 * p1[i] + p0[i]) + Magnitude(q2[i] - 2 * q1[i] + q0[i]);
  }
  for (size_t first = 0; first < kBlock; first += kLines) {
    const Number* const four = curvature + first;
    const Number scaled = (four[0] + four[1] + four[2] + four[3]) * ((1 << kSizeBits) / kLines);
    size_t class_ = 0;
    for (const int bound : kBounds) class_ += scaled >= static_cast<Number>(bound) * size ? 1 : 0;
    const Number own_cap = Divided<kSizeBits>(static_cast<Number>(kCaps[class_]) * size);
    const Number own_end = Divided<kSizeBits>(static_cast<Number>(kEnds[class_]) * size);
    std::fill_n(cap + first, kLines, own_cap);
    std::fill_n(end + first, kLines, own_end);
    for (size_t k = 0; k < kHalf; ++k) std::fill_n(ramps[k] + first, kLines, static_cast<Number>(kRamps[class_][k]));
  }
  for (size_t i = 0; i < kBlock; ++i) {
    const Number excess = Divided<4>(Excess(q0[i] - p0[i], q1[i] - p1[i])), magnitude = Magnitude(excess);
    const Number corrected = std::min(std::max(end[i] - magnitude, Number{0}), std::min(magnitude, cap[i]));
    step[i] = excess < 0 ? -corrected : corrected;
  }
  for (size_t k = 0; k < kHalf; ++k) {
    auto &p = x[k], &q = x[kBlock - 1 - k];
    for (size_t i = 0; i < kBlock; ++i) {
      const Number correction = Divided<6>(ramps[k][i] * step[i]);
      p[i] = std::min(std::max(p[i] + correction, Number{0}), Number{kLargest});
      q[i] = std::min(std::max(q[i] - correction, Number{0}), Number{kLargest});
    }
  }
}

// Smooths the upper edge of a block, or the left one.
template <int kLargest, bool kUpper, class Number, class Size>
NVC_INLINE void SmoothEdge(Strided<Number> block, Size size) {
  Number* const first = block.data - kHalf * (kUpper ? block.stride : kChannels);
  Size lines[kChannels][kBlock][kBlock];
  for (size_t row = 0; row < kBlock; ++row) {
    for (size_t column = 0; column < kBlock; ++column) {
      for (size_t c = 0; c < kChannels; ++c) {
        const Number sample = first[row * block.stride + column * kChannels + c];
        (kUpper ? lines[c][row][column] : lines[c][column][row]) = sample;
      }
    }
  }
  for (auto& channel : lines) SmoothLines<kLargest>(channel, size);
  for (size_t row = 0; row < kBlock; ++row) {
    for (size_t column = 0; column < kBlock; ++column) {
      for (size_t c = 0; c < kChannels; ++c) {
        const Size sample = kUpper ? lines[c][row][column] : lines[c][column][row];
        first[row * block.stride + column * kChannels + c] = static_cast<Number>(sample);
      }
    }
  }
}

NVC_TARGET void LeftInt16(Strided<int16_t> block, int32_t size) { SmoothEdge<kScale, false>(block, size); }
NVC_TARGET void UpperInt16(Strided<int16_t> block, int32_t size) { SmoothEdge<kScale, true>(block, size); }
NVC_TARGET void LeftUint16(Strided<uint16_t> block, int32_t size) { SmoothEdge<kFineScale, false>(block, size); }
NVC_TARGET void UpperUint16(Strided<uint16_t> block, int32_t size) { SmoothEdge<kFineScale, true>(block, size); }
NVC_TARGET void LeftFloat32(Strided<float> block, float size) { SmoothEdge<1, false>(block, size); }
NVC_TARGET void UpperFloat32(Strided<float> block, float size) { SmoothEdge<1, true>(block, size); }

constexpr Int16Kernels kInt16{LeftInt16, UpperInt16};
constexpr Uint16Kernels kUint16{LeftUint16, UpperUint16};
constexpr Float32Kernels kFloat32{LeftFloat32, UpperFloat32};

bool Usable() noexcept {
  static const bool usable = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return usable;
}

}  // namespace

const Int16Kernels* Avx2Int16Kernels() noexcept { return Usable() ? &kInt16 : nullptr; }
const Uint16Kernels* Avx2Uint16Kernels() noexcept { return Usable() ? &kUint16 : nullptr; }
const Float32Kernels* Avx2Float32Kernels() noexcept { return Usable() ? &kFloat32 : nullptr; }

}  // namespace nvc::deblocking

#else

namespace nvc::deblocking {
const Int16Kernels* Avx2Int16Kernels() noexcept { return nullptr; }
const Uint16Kernels* Avx2Uint16Kernels() noexcept { return nullptr; }
const Float32Kernels* Avx2Float32Kernels() noexcept { return nullptr; }
}  // namespace nvc::deblocking

#endif
