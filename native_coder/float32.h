// Convolutions of float32 networks. Every ISA gives the same bits: fused multiply-adds accumulate kSummed products one
// after the other, and these partial sums are added in order.
#ifndef NVC_FLOAT32_H_
#define NVC_FLOAT32_H_

#include <cstddef>

#include "strided.h"

namespace nvc::float32 {

constexpr size_t kSummed = 256;  // longer sums would lose more to rounding
constexpr size_t kPanel = 32;    // output channels of a panel

// A prepacked matrix of weights [inputs, outputs]: panels of kPanel output channels (the last may have kPanel / 2),
// each [inputs, channels]. Outputs are padded by zeros.
struct Kernel {
  const float* weights;
  const float* bias;  // [outputs]
  size_t inputs;
  size_t outputs;

  static size_t padded(size_t outputs) noexcept { return (outputs + kPanel / 2 - 1) / (kPanel / 2) * (kPanel / 2); }
};

// A depthwise 3x3 kernel.
struct Taps {
  const float* weights;  // [9, channels]
  const float* bias;     // [channels]
  size_t channels;
};

using Rows = Strided<float>;
using ConstRows = Strided<const float>;
using Around = Neighbourhood<float>;

// Applied to a sum before it is stored.
struct Epilogue {
  bool wsilu = false;
  ConstRows plus[2] = {};  // residuals, added last; null for none
};

// The kernels of one ISA; the last four are for gradients.
struct Kernels {
  // x times the kernel, for some rows.
  void (*multiply)(const Kernel& kernel, ConstRows x, size_t rows, Rows out, const Epilogue& epilogue);
  // Some columns of a row of a picture through the taps.
  void (*depthwise)(const Taps& taps, const Around& x, float* out);
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
