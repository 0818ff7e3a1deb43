// Convolutions of float32 networks. Every ISA gives the same bits: fused multiply-adds accumulate kSummed products one
// after the other, and these partial sums are added in order.
#ifndef NVC_FLOAT32_H_
#define NVC_FLOAT32_H_

#include <cstddef>

#include "floating.h"

namespace nvc::float32 {

using floating::kPanel;

constexpr size_t kSummed = 256;  // longer sums would lose more to rounding
constexpr size_t kGroup = floating::kGroup<float>;

using Number = float;
using Kernel = floating::Kernel<float>;
using Taps = floating::Taps<float>;
using Epilogue = floating::Epilogue<float>;
using Rows = Strided<float>;
using ConstRows = Strided<const float>;
using Around = Neighbourhood<float>;

// The kernels of one ISA; those that it adds are for gradients.
struct Kernels : floating::Kernels<float> {
  // Adds x^T y, of x [rows, inputs] and y [rows, outputs], to `sums` [inputs, outputs].
  void (*accumulate)(ConstRows x, size_t inputs, ConstRows y, size_t outputs, size_t rows, Rows sums);
  // Adds the products of y with the number of x under each tap to `sums` [9, channels].
  void (*accumulate_taps)(const Around& x, const float* y, size_t channels, float* sums);
  // WSiLU of x to `value`, or added to it, and its derivative to `slope`; null for what is not needed.
  void (*activate)(const float* x, size_t count, bool add, float* value, float* slope);
  // x *= y
  void (*scale)(float* x, const float* y, size_t count);
};

// Null where the processor lacks the ISA.
const Kernels* Avx2Kernels() noexcept;
const Kernels* Avx512Kernels() noexcept;

}  // namespace nvc::float32

#endif  // NVC_FLOAT32_H_
