// Convolutions of the int16 arithmetic (docs/INT16.md): exact sums, requantised.
//
// Accumulators have 32 bits wherever the activations at hand allow it, which is nearly everywhere, and 64 elsewhere.
#ifndef NVC_INT16_H_
#define NVC_INT16_H_

#include <cstddef>
#include <cstdint>

#include "demands.h"
#include "strided.h"

namespace nvc::int16 {

constexpr size_t kPanel = 32;  // output channels that are computed together
constexpr size_t kWsiluEntries = 1024;

// A prepacked matrix of weights [inputs, outputs]: panels of kPanel output channels (the last may have kPanel / 2),
// each [pairs of inputs][channels][2]. For AMX tiles of 64 inputs of 16 output channels, [outputs / 16][inputs / 64]
// [plane][groups of 4 inputs][channels][4], of two planes of bytes, 256 upper + lower with a lower one of -128..127.
// Inputs and outputs are padded by zeros, inputs as the kernels demand.
struct Kernel {
  const int16_t* weights;
  const int32_t* ends;  // [panels, blocks]: ends of the blocks of pairs whose sums fit 32 bits for any activations
  const int32_t* sums;  // [panels]: largest sum of the magnitudes of a channel's weights
  const int32_t* bias;  // [padded outputs], in units of the products
  const int32_t* bits;  // [padded outputs]: products are in 1 / 2^bits of the results
  size_t blocks;
  size_t inputs;
  size_t outputs;

  size_t pairs() const noexcept { return (inputs + 1) / 2; }
  size_t padded_outputs() const noexcept { return (outputs + 15) / 16 * 16; }
};

// A depthwise 3x3 kernel.
struct Taps {
  const int16_t* weights;  // [9, channels]
  const int32_t* sums;     // [channels]: sum of the magnitudes of the weights
  const int32_t* bias;     // [channels]
  const int32_t* bits;     // [channels]
  size_t channels;
};

using Rows = Strided<int16_t>;
using ConstRows = Strided<const int16_t>;
using Around = Neighbourhood<int16_t>;

// The kernels of one ISA.
struct Kernels {
  // x times the kernel, for some rows; through WSiLU unless its LUT `wsilu`, |x| - |x| sigmoid(4 |x|), is null.
  void (*multiply)(const Kernel& kernel, ConstRows x, size_t rows, Rows out, const uint8_t* wsilu);
  // Some columns of a row of a picture through the taps.
  void (*depthwise)(const Taps& taps, const Around& x, int16_t* out);
  // out = saturate(a + b), n numbers.
  void (*add)(const int16_t* a, const int16_t* b, int16_t* out, size_t n);
  Demands demands = {2};
};

// Null where the processor lacks the ISA.
const Kernels* Avx2Kernels() noexcept;
const Kernels* Avx512Kernels() noexcept;
const Kernels* AmxKernels() noexcept;

// True if sums, bias and rounding of a panel, or of some channels, fit 32 bits with activations up to `peak`.
bool FitsNarrow(const Kernel& kernel, size_t panel, int peak) noexcept;
bool FitsNarrow(const Taps& taps, size_t first, size_t end, int peak) noexcept;

// Requantises a sum in 1 / 2^bits: rounded half away from zero and saturated.
int16_t Requantise(int64_t sum, int32_t bits) noexcept;

// Kernels::depthwise for some channels, with accumulators of 64 bits.
void DepthwiseWide(const Taps& taps, const Around& x, size_t first, size_t end, int16_t* out) noexcept;

}  // namespace nvc::int16

#endif  // NVC_INT16_H_
