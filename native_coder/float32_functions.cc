// FFI handlers of the float32 kernels.
#include <algorithm>
#include <utility>

#include "float32.h"
#include "float32_block.h"
#include "float32_training.h"
#include "functions.h"

namespace nvc {
namespace {

namespace ffi = xla::ffi;
using float32::Kernel;
using float32::Kernels;
using Float32 = ffi::Buffer<ffi::F32>;
using Float32Result = ffi::Result<Float32>;

// Selects the ISA of a handler; handlers are registered only where the processor has it.
using Choice = const Kernels* (*)() noexcept;

Kernel KernelOf(const Float32& weights, const Float32& bias, size_t inputs) {
  return {weights.typed_data(), bias.typed_data(), inputs, bias.element_count()};
}

bool Fits(const Float32& weights, const Float32& bias, size_t inputs, size_t outputs) {
  return inputs > 0 && outputs > 0 && bias.element_count() == outputs &&
         weights.element_count() == inputs * Kernel::padded(outputs);
}

// x [..., K] times a kernel [K, N] to y [..., N].
template <Choice kernels>
ffi::Error Affine(ffi::ThreadPool pool, Float32 x, Float32 weights, Float32 bias, bool wsilu, Float32Result y) {
  const size_t inputs = LastAxis(x), outputs = LastAxis(*y);
  if (!Fits(weights, bias, inputs, outputs)) return ShapeMismatch();
  const size_t rows = x.element_count() / inputs;
  if (y->element_count() != rows * outputs) return ShapeMismatch();
  float32::MultiplyAll(*kernels(), pool, KernelOf(weights, bias, inputs), x.typed_data(), rows, wsilu, y->typed_data());
  return ffi::Error::Success();
}

// x [B, H, W, C] convolved with a kernel [9C, N] to y [B, H/stride, W/stride, N].
template <Choice kernels>
ffi::Error Convolve(ffi::ThreadPool pool, Float32 x, Float32 weights, Float32 bias, int64_t stride, Float32Result y) {
  const size_t inputs = 9 * LastAxis(x), outputs = LastAxis(*y);
  const auto convolution = ConvolutionOf<float>(x, stride, *y);
  if (convolution.rows == 0 || !Fits(weights, bias, inputs, outputs)) return ShapeMismatch();
  const Kernel kernel = KernelOf(weights, bias, inputs);
  ForEachItem(pool, convolution.rows, kMostPatches, [&](size_t first, size_t count) noexcept {
    float* const patches = Scratch<float>(count * inputs);
    CopyPatches(convolution.pictures, convolution.stride, first, count, patches);
    kernels()->multiply(kernel, {patches, inputs}, count, {y->typed_data() + first * outputs, outputs}, {});
  });
  return ffi::Error::Success();
}

// A DC block from a, the output of its first 1x1 convolution, and x, its input, both [B, H, W, C]. bias_in has the
// channels of the FFN's middle; the kernel into it is packed in two parts, one for each half.
template <Choice kernels>
ffi::Error RestOfBlock(ffi::ThreadPool pool, Float32 a, Float32 x, Float32 taps, Float32 taps_bias, Float32 weights,
                       Float32 bias, Float32 weights_in, Float32 bias_in, Float32 weights_out, Float32 bias_out,
                       bool shortcut, Float32Result y) {
  const size_t c = LastAxis(x), numbers = x.element_count(), half = bias_in.element_count() / 2;
  const size_t part = c * Kernel::padded(half);
  if (!SameShape(a, x, *y) || taps.element_count() != 9 * c || taps_bias.element_count() != c ||
      !Fits(weights, bias, c, c) || bias_in.element_count() != 2 * half || weights_in.element_count() != 2 * part ||
      !Fits(weights_out, bias_out, half, c)) {
    return ShapeMismatch();
  }
  const float32::BlockLayers block{
      {},
      {taps.typed_data(), taps_bias.typed_data(), c},
      KernelOf(weights, bias, c),
      {{weights_in.typed_data(), bias_in.typed_data(), c, half},
       {weights_in.typed_data() + part, bias_in.typed_data() + half, c, half}},
      KernelOf(weights_out, bias_out, half)};
  float32::RestOfBlock(*kernels(), pool, block, AsPictures<float>(a), x.typed_data(), numbers / c, shortcut,
                       y->typed_data());
  return ffi::Error::Success();
}

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

auto Bind() { return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Float32>(); }

// Appends weights and a bias.
template <class Binding>
auto WithKernel(Binding&& binding) {
  return std::move(binding).template Arg<Float32>().template Arg<Float32>();
}

auto BindAffine() { return WithKernel(Bind()).Attr<bool>("wsilu").Ret<Float32>(); }
auto BindConvolve() { return WithKernel(Bind()).Attr<int64_t>("stride").Ret<Float32>(); }
auto BindRestOfBlock() {
  return WithKernel(WithKernel(WithKernel(WithKernel(Bind().Arg<Float32>())))).Attr<bool>("shortcut").Ret<Float32>();
}
auto BindBlock() {
  auto binding = Bind().Arg<Float32>().Attr<int64_t>("middle").Attr<bool>("shortcut").Attr<bool>("keep");
  return std::move(binding).Ret<Float32>().Ret<Float32>();
}
auto BindBlockGradient() {
  auto binding = WithKernel(Bind().Arg<Float32>()).Attr<int64_t>("middle").Attr<bool>("shortcut");
  return std::move(binding).Ret<Float32>().Ret<Float32>().Ret<Float32>();
}

XLA_FFI_DEFINE_HANDLER(kAffineAvx2, Affine<float32::Avx2Kernels>, BindAffine());
XLA_FFI_DEFINE_HANDLER(kConvolveAvx2, Convolve<float32::Avx2Kernels>, BindConvolve());
XLA_FFI_DEFINE_HANDLER(kRestAvx2, RestOfBlock<float32::Avx2Kernels>, BindRestOfBlock());
XLA_FFI_DEFINE_HANDLER(kBlockAvx2, Block<float32::Avx2Kernels>, BindBlock());
XLA_FFI_DEFINE_HANDLER(kGradientAvx2, BlockGradient<float32::Avx2Kernels>, BindBlockGradient());
XLA_FFI_DEFINE_HANDLER(kAffineAvx512, Affine<float32::Avx512Kernels>, BindAffine());
XLA_FFI_DEFINE_HANDLER(kConvolveAvx512, Convolve<float32::Avx512Kernels>, BindConvolve());
XLA_FFI_DEFINE_HANDLER(kRestAvx512, RestOfBlock<float32::Avx512Kernels>, BindRestOfBlock());
XLA_FFI_DEFINE_HANDLER(kBlockAvx512, Block<float32::Avx512Kernels>, BindBlock());
XLA_FFI_DEFINE_HANDLER(kGradientAvx512, BlockGradient<float32::Avx512Kernels>, BindBlockGradient());

}  // namespace

std::vector<Functions> Float32Functions() {
  std::vector<Functions> isas;
  if (float32::Avx512Kernels()) {
    isas.push_back({"avx512", kAffineAvx512, kConvolveAvx512, kRestAvx512, kBlockAvx512, kGradientAvx512});
  }
  if (float32::Avx2Kernels()) {
    isas.push_back({"avx2", kAffineAvx2, kConvolveAvx2, kRestAvx2, kBlockAvx2, kGradientAvx2});
  }
  return isas;
}

}  // namespace nvc
