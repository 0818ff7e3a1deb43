// The convolutions of float32 networks. Every kind of processor gives the same numbers: products are added one after
// the other, each with one rounding, and the sums of kSummed of them likewise.
#ifndef NVC_FLOAT32_H_
#define NVC_FLOAT32_H_

#include <cstddef>

#include "strided.h"

namespace nvc::float32 {

constexpr size_t kSummed = 256;  // longer sums would lose more to rounding
constexpr size_t kPanel = 32;    // output channels that lie together

// A matrix of weights [inputs, outputs], packed: panels of kPanel output channels, one after the other (the last one
// may have kPanel / 2), each [inputs, channels]. Outputs are padded by zeros.
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

// What is done with a sum before it is stored.
struct Finish {
  bool wsilu = false;
  ConstRows plus[2] = {};  // then these are added, unless null
};

// The kernels of one kind of processor.
struct Kernels {
  // x times the kernel, for some rows.
  void (*multiply)(const Kernel& kernel, ConstRows x, size_t rows, Rows out, const Finish& finish);
  // Some columns of a row of a picture through the taps.
  void (*depthwise)(const Taps& taps, const Around& x, float* out);
};

// Null where the processor cannot run them.
const Kernels* Avx2Kernels() noexcept;
const Kernels* Avx512Kernels() noexcept;

}  // namespace nvc::float32

#endif  // NVC_FLOAT32_H_
