// Convolutions of bfloat16 networks: bfloat16 in memory, products in pairs, and all sums, depthwise convolutions and
// epilogues in float32. Numbers below 2^-126 are taken for zero.
#ifndef NVC_BFLOAT16_H_
#define NVC_BFLOAT16_H_

#include "floating.h"

namespace nvc::bfloat16 {

using floating::kPanel;

constexpr size_t kGroup = floating::kGroup<Bfloat16>;

using Number = Bfloat16;
using Kernel = floating::Kernel<Number>;
using Taps = floating::Taps<Number>;
using Epilogue = floating::Epilogue<Number>;
using Rows = Strided<Number>;
using ConstRows = Strided<const Number>;
using Around = Neighbourhood<Number>;
using Kernels = floating::Kernels<Number>;

// Null where the processor lacks the ISA.
const Kernels* Avx512Bf16Kernels() noexcept;
const Kernels* AmxKernels() noexcept;

}  // namespace nvc::bfloat16

#endif  // NVC_BFLOAT16_H_
