// FFI handlers of the convolutions: XLA's arrays, split into work items.
#ifndef NVC_FUNCTIONS_H_
#define NVC_FUNCTIONS_H_

#include <string_view>
#include <vector>

#include "strided.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace nvc {

// FFI handlers of one precision on one ISA. Their operands are described at their definitions.
struct Functions {
  XLA_FFI_Handler* affine;         // x [..., K] times a kernel
  XLA_FFI_Handler* convolve;       // a full 3x3 convolution of x [B, H, W, C]
  XLA_FFI_Handler* rest_of_block;  // a DC block from its depthwise convolution on
  XLA_FFI_Handler* block = nullptr;  // a whole one in training, and its gradients; null where there are none
  XLA_FFI_Handler* block_gradient = nullptr;
};

Functions Float32OnAvx512();
Functions Float32OnAvx2();
Functions Bfloat16OnAmx();
Functions Bfloat16OnAvx512Bf16();
Functions Int16OnAmx();
Functions Int16OnAvx512();
Functions Int16OnAvx2();

struct NamedFunctions {
  const char* isa;
  Functions functions;
};

// The ISAs of this processor that have handlers of a precision, the fastest first (functions_table.cc).
std::vector<NamedFunctions> FunctionsOf(std::string_view precision);

// The same for block motion.
struct MotionFunctions {
  const char* isa;
  XLA_FFI_Handler* estimate;    // vectors of blocks
  XLA_FFI_Handler* compensate;  // blocks of pictures, moved
  XLA_FFI_Handler* compensate_gradient;
  XLA_FFI_Handler* refine;  // vectors, for the coder
};

std::vector<MotionFunctions> AllMotionFunctions();

// The same for deblocking.
struct DeblockingFunctions {
  const char* isa;
  XLA_FFI_Handler* deblock;
};

std::vector<DeblockingFunctions> AllDeblockingFunctions();

inline xla::ffi::Error ShapeMismatch() {
  return xla::ffi::Error::InvalidArgument("shape mismatch: the kernel was packed for other activations");
}

template <class Buffer>
size_t LastAxis(const Buffer& x) {
  return x.dimensions().size() == 0 ? 0 : static_cast<size_t>(x.dimensions().back());
}

// x [B, H, W, C].
template <class Number, class Buffer>
Pictures<Number> AsPictures(const Buffer& x) {
  const auto sides = x.dimensions();
  const auto* const numbers = reinterpret_cast<const Number*>(x.typed_data());
  return {numbers, static_cast<size_t>(sides[1]), static_cast<size_t>(sides[2]), LastAxis(x)};
}

// True if the activations of a DC block are all [B, H, W, C].
template <class Buffer>
bool SameShape(const Buffer& a, const Buffer& x, const Buffer& y) {
  return a.dimensions().size() == 4 && a.element_count() > 0 && LastAxis(a) == LastAxis(x) &&
         a.element_count() == x.element_count() && y.element_count() == x.element_count();
}

// A full 3x3 convolution, without its kernel.
template <class Number>
struct Convolution {
  Pictures<Number> pictures;
  size_t stride;
  size_t rows;  // positions of the result; 0 for a shape mismatch
};

template <class Number, class Buffer>
Convolution<Number> ConvolutionOf(const Buffer& x, int64_t stride, const Buffer& y) {
  if (x.dimensions().size() != 4 || x.element_count() == 0 || stride < 1 || stride > x.dimensions()[1]) return {};
  const auto step = static_cast<size_t>(stride);
  const Pictures<Number> pictures = AsPictures<Number>(x);
  const size_t rows = x.element_count() / pictures.channels / (step * step);
  const bool fits =
      pictures.height % step == 0 && pictures.width % step == 0 && y.element_count() == rows * LastAxis(y);
  return {pictures, step, fits ? rows : 0};
}

}  // namespace nvc

#endif  // NVC_FUNCTIONS_H_
