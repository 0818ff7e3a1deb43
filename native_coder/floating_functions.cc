// FFI handlers of the kernels of float32 and bfloat16.
#include <algorithm>
#include <utility>

#include "bfloat16.h"
#include "float32.h"
#include "float32_training.h"
#include "floating_block.h"
#include "functions.h"

namespace nvc {
namespace {

namespace ffi = xla::ffi;

template <class Number>
constexpr ffi::DataType kType = ffi::DataType::F32;
template <>
constexpr ffi::DataType kType<Bfloat16> = ffi::DataType::BF16;

template <class Number>
using Numbers = ffi::Buffer<kType<Number>>;
using Float32 = Numbers<float>;
using Float32Result = ffi::Result<Float32>;

template <class Number>
const Number* Of(const Numbers<Number>& array) {
  return reinterpret_cast<const Number*>(array.typed_data());
}

template <class Number>
Number* Of(ffi::Result<Numbers<Number>>& array) {
  return reinterpret_cast<Number*>(array->typed_data());
}

// The handlers for networks: `kernels` selects the ISA, and they are registered only where the processor has it.
template <class Number, auto kernels>
struct Inference {
  using Kernel = floating::Kernel<Number>;
  using In = Numbers<Number>;
  using Out = ffi::Result<In>;

  static Kernel KernelOf(const In& weights, const In& bias, size_t inputs) {
    return {Of<Number>(weights), Of<Number>(bias), inputs, bias.element_count()};
  }

  static size_t Size(size_t inputs, size_t outputs) {
    return kernels()->demands.padded(inputs) * Kernel::padded(outputs);
  }

  static bool Fits(const In& weights, const In& bias, size_t inputs, size_t outputs) {
    return inputs > 0 && outputs > 0 && bias.element_count() == outputs &&
           weights.element_count() == Size(inputs, outputs);
  }

  // x [..., K] times a kernel [K, N] to y [..., N].
  static ffi::Error Affine(ffi::ThreadPool pool, In x, In weights, In bias, bool wsilu, Out y) {
    const size_t inputs = LastAxis(x), outputs = LastAxis(*y);
    if (!Fits(weights, bias, inputs, outputs)) return ShapeMismatch();
    const size_t rows = x.element_count() / inputs;
    if (y->element_count() != rows * outputs) return ShapeMismatch();
    floating::MultiplyAll<Number>(*kernels(), pool, KernelOf(weights, bias, inputs), Of<Number>(x), rows, wsilu,
                                  Of<Number>(y));
    return ffi::Error::Success();
  }

  // x [B, H, W, C] convolved with a kernel [9C, N] to y [B, H/stride, W/stride, N].
  static ffi::Error Convolve(ffi::ThreadPool pool, In x, In weights, In bias, int64_t stride, Out y) {
    const size_t inputs = 9 * LastAxis(x), outputs = LastAxis(*y);
    const auto convolution = ConvolutionOf<Number>(x, stride, *y);
    if (convolution.rows == 0 || !Fits(weights, bias, inputs, outputs)) return ShapeMismatch();
    const Kernel kernel = KernelOf(weights, bias, inputs);
    ForEachItem(pool, kernels()->demands, convolution.rows, kMostPatches, [&](size_t first, size_t count) noexcept {
      Number* const patches = Scratch<Number>(count * inputs);
      CopyPatches(convolution.pictures, convolution.stride, first, count, patches);
      kernels()->multiply(kernel, {patches, inputs}, count, {Of<Number>(y) + first * outputs, outputs}, {});
    });
    return ffi::Error::Success();
  }

  // A DC block from a, the output of its first 1x1 convolution, and x, its input, both [B, H, W, C]. bias_in has the
  // channels of the FFN's middle; the kernel into it is packed in two parts, one for each half.
  static ffi::Error RestOfBlock(ffi::ThreadPool pool, In a, In x, In taps, In taps_bias, In weights, In bias,
                                In weights_in, In bias_in, In weights_out, In bias_out, bool shortcut, Out y) {
    const size_t c = LastAxis(x), numbers = x.element_count(), half = bias_in.element_count() / 2;
    const size_t part = Size(c, half);
    if (!SameShape(a, x, *y) || taps.element_count() != 9 * c || taps_bias.element_count() != c ||
        !Fits(weights, bias, c, c) || bias_in.element_count() != 2 * half || weights_in.element_count() != 2 * part ||
        !Fits(weights_out, bias_out, half, c)) {
      return ShapeMismatch();
    }
    const floating::BlockLayers<Number> block{
        {},
        {Of<Number>(taps), Of<Number>(taps_bias), c},
        KernelOf(weights, bias, c),
        {{Of<Number>(weights_in), Of<Number>(bias_in), c, half},
         {Of<Number>(weights_in) + part, Of<Number>(bias_in) + half, c, half}},
        KernelOf(weights_out, bias_out, half)};
    floating::RestOfBlock<Number>(*kernels(), pool, block, AsPictures<Number>(a), Of<Number>(x), numbers / c, shortcut,
                                  Of<Number>(y));
    return ffi::Error::Success();
  }

  static auto Bind() { return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().template Arg<In>(); }

  // Appends weights and a bias.
  template <class Binding>
  static auto WithKernel(Binding&& binding) {
    return std::move(binding).template Arg<In>().template Arg<In>();
  }

  static auto BindAffine() { return WithKernel(Bind()).template Attr<bool>("wsilu").template Ret<In>(); }
  static auto BindConvolve() { return WithKernel(Bind()).template Attr<int64_t>("stride").template Ret<In>(); }
  static auto BindRestOfBlock() {
    auto taps = WithKernel(Bind().template Arg<In>());
    return WithKernel(WithKernel(WithKernel(std::move(taps)))).template Attr<bool>("shortcut").template Ret<In>();
  }
};

// Selects the ISA of a handler for training.
using Choice = const float32::Kernels* (*)() noexcept;

// Size of `Kept`, in numbers.
size_t KeptSize(const float32::BlockShape& shape, size_t rows, bool all) {
  return rows * (all ? 3 * shape.channels + 2 * shape.half : shape.channels);
}

// A DC block of x [B, H, W, C], with its parameters in one vector (float32_training.h), to y and what its gradients need.
template <Choice kernels>
ffi::Error Block(ffi::ThreadPool pool, Float32 x, Float32 parameters, int64_t middle, bool shortcut, bool keep,
                 Float32Result y, Float32Result kept) {
  const size_t c = LastAxis(x), rows = x.element_count() / std::max<size_t>(c, 1);
  const float32::BlockShape shape{c, static_cast<size_t>(middle) / 2};
  if (!SameShape(x, x, *y) || parameters.element_count() != shape.size() ||
      kept->element_count() != KeptSize(shape, rows, keep)) {
    return ShapeMismatch();
  }
  float32::ForwardBlock(*kernels(), pool, shape, parameters.typed_data(), AsPictures<float>(x), rows, shortcut,
                        y->typed_data(), {kept->typed_data(), shape, rows, keep});
  return ffi::Error::Success();
}

// The gradients of x and the parameters of that block from g, the gradient of its output. `work` is scratch memory.
template <Choice kernels>
ffi::Error BlockGradient(ffi::ThreadPool pool, Float32 x, Float32 parameters, Float32 kept, Float32 g, int64_t middle,
                         bool shortcut, Float32Result of_x, Float32Result of_parameters, Float32Result work) {
  const size_t c = LastAxis(x), rows = x.element_count() / std::max<size_t>(c, 1);
  const float32::BlockShape shape{c, static_cast<size_t>(middle) / 2};
  if (!SameShape(x, g, *of_x) || !SameShape(x, x, *work) || parameters.element_count() != shape.size() ||
      of_parameters->element_count() != shape.size() || kept.element_count() != KeptSize(shape, rows, true)) {
    return ShapeMismatch();
  }
  float32::BackwardBlock(*kernels(), pool, shape, parameters.typed_data(), AsPictures<float>(x),
                         {kept.typed_data(), shape, rows, true}, rows, g.typed_data(), shortcut, of_x->typed_data(),
                         of_parameters->typed_data(), work->typed_data());
  return ffi::Error::Success();
}

auto Bind() { return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Float32>().Arg<Float32>(); }
auto BindBlock() {
  auto binding = Bind().Attr<int64_t>("middle").Attr<bool>("shortcut").Attr<bool>("keep");
  return std::move(binding).Ret<Float32>().Ret<Float32>();
}
auto BindBlockGradient() {
  auto binding = Bind().Arg<Float32>().Arg<Float32>().Attr<int64_t>("middle").Attr<bool>("shortcut");
  return std::move(binding).Ret<Float32>().Ret<Float32>().Ret<Float32>();
}

using OnAvx2 = Inference<float, float32::Avx2Kernels>;
using OnAvx512 = Inference<float, float32::Avx512Kernels>;
using OnAvx512Bf16 = Inference<Bfloat16, bfloat16::Avx512Bf16Kernels>;
using OnAmx = Inference<Bfloat16, bfloat16::AmxKernels>;

XLA_FFI_DEFINE_HANDLER(kAffineAvx2, OnAvx2::Affine, OnAvx2::BindAffine());
XLA_FFI_DEFINE_HANDLER(kConvolveAvx2, OnAvx2::Convolve, OnAvx2::BindConvolve());
XLA_FFI_DEFINE_HANDLER(kRestAvx2, OnAvx2::RestOfBlock, OnAvx2::BindRestOfBlock());
XLA_FFI_DEFINE_HANDLER(kBlockAvx2, Block<float32::Avx2Kernels>, BindBlock());
XLA_FFI_DEFINE_HANDLER(kGradientAvx2, BlockGradient<float32::Avx2Kernels>, BindBlockGradient());
XLA_FFI_DEFINE_HANDLER(kAffineAvx512, OnAvx512::Affine, OnAvx512::BindAffine());
XLA_FFI_DEFINE_HANDLER(kConvolveAvx512, OnAvx512::Convolve, OnAvx512::BindConvolve());
XLA_FFI_DEFINE_HANDLER(kRestAvx512, OnAvx512::RestOfBlock, OnAvx512::BindRestOfBlock());
XLA_FFI_DEFINE_HANDLER(kBlockAvx512, Block<float32::Avx512Kernels>, BindBlock());
XLA_FFI_DEFINE_HANDLER(kGradientAvx512, BlockGradient<float32::Avx512Kernels>, BindBlockGradient());
XLA_FFI_DEFINE_HANDLER(kAffineBf16, OnAvx512Bf16::Affine, OnAvx512Bf16::BindAffine());
XLA_FFI_DEFINE_HANDLER(kConvolveBf16, OnAvx512Bf16::Convolve, OnAvx512Bf16::BindConvolve());
XLA_FFI_DEFINE_HANDLER(kRestBf16, OnAvx512Bf16::RestOfBlock, OnAvx512Bf16::BindRestOfBlock());
XLA_FFI_DEFINE_HANDLER(kAffineAmx, OnAmx::Affine, OnAmx::BindAffine());
XLA_FFI_DEFINE_HANDLER(kConvolveAmx, OnAmx::Convolve, OnAmx::BindConvolve());
XLA_FFI_DEFINE_HANDLER(kRestAmx, OnAmx::RestOfBlock, OnAmx::BindRestOfBlock());

}  // namespace

Functions Float32OnAvx2() { return {kAffineAvx2, kConvolveAvx2, kRestAvx2, kBlockAvx2, kGradientAvx2}; }
Functions Float32OnAvx512() { return {kAffineAvx512, kConvolveAvx512, kRestAvx512, kBlockAvx512, kGradientAvx512}; }
Functions Bfloat16OnAvx512Bf16() { return {kAffineBf16, kConvolveBf16, kRestBf16}; }
Functions Bfloat16OnAmx() { return {kAffineAmx, kConvolveAmx, kRestAmx}; }

}  // namespace nvc
