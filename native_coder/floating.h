// Convolutions of networks in floating point, in any precision: sums are of float32, whatever their numbers are.
#ifndef NVC_FLOATING_H_
#define NVC_FLOATING_H_

#include <cstddef>
#include <cstdint>

#include "demands.h"
#include "strided.h"

namespace nvc {

// The upper half of a float32.
struct Bfloat16 {
  uint16_t bits;
};

namespace floating {

constexpr size_t kPanel = 32;  // output channels of a panel

// Inputs whose products an instruction adds up: as many of one output channel lie together.
template <class Number>
constexpr size_t kGroup = sizeof(float) / sizeof(Number);

// A prepacked matrix of weights [inputs, outputs]: panels of kPanel output channels (the last may have kPanel / 2),
// each [groups of inputs, channels, kGroup]. Inputs and outputs are padded by zeros, inputs as the kernels demand.
template <class Number>
struct Kernel {
  const Number* weights;
  const Number* bias;  // [outputs]
  size_t inputs;
  size_t outputs;

  static size_t padded(size_t outputs) noexcept { return (outputs + kPanel / 2 - 1) / (kPanel / 2) * (kPanel / 2); }
};

// A depthwise 3x3 kernel.
template <class Number>
struct Taps {
  const Number* weights;  // [9, channels]
  const Number* bias;     // [channels]
  size_t channels;
};

// Applied to a sum before it is stored.
template <class Number>
struct Epilogue {
  bool wsilu = false;
  Strided<const Number> plus[2] = {};  // residuals, added last; null for none
};

// The kernels of one precision on one ISA.
template <class Number>
struct Kernels {
  // x times the kernel, for some rows.
  void (*multiply)(const Kernel<Number>& kernel, Strided<const Number> x, size_t rows, Strided<Number> out,
                   const Epilogue<Number>& epilogue);
  // Some columns of a row of a picture through the taps.
  void (*depthwise)(const Taps<Number>& taps, const Neighbourhood<Number>& x, Number* out);
  Demands demands = {kGroup<Number>};
};

}  // namespace floating
}  // namespace nvc

#endif  // NVC_FLOATING_H_
