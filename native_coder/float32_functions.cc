// FFI handlers of the float32 kernels.
#include <utility>
#include <vector>

#include "float32.h"
#include "functions.h"

namespace nvc {
namespace {

namespace ffi = xla::ffi;
using float32::ConstRows;
using float32::Epilogue;
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
  const Kernel kernel = KernelOf(weights, bias, inputs);
  Epilogue epilogue;
  epilogue.wsilu = wsilu;
  ForEachItem(pool, rows, kMostRows, [&](size_t first, size_t count) noexcept {
    kernels()->multiply(kernel, {x.typed_data() + first * inputs, inputs}, count,
                        {y->typed_data() + first * outputs, outputs}, epilogue);
  });
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
  const float32::Taps filter{taps.typed_data(), taps_bias.typed_data(), c};
  const Kernel project = KernelOf(weights, bias, c), out = KernelOf(weights_out, bias_out, half);
  const Kernel in_first{weights_in.typed_data(), bias_in.typed_data(), c, half};
  const Kernel in_second{weights_in.typed_data() + part, bias_in.typed_data() + half, c, half};
  const Pictures<float> pictures = AsPictures<float>(a);
  const std::vector<float> zeros(pictures.width * c);
  ForEachItem(pool, numbers / c, kMostRows, [&](size_t first, size_t count) noexcept {
    float* const filtered = Scratch<float>(count * (2 * c + half));
    float* const projected = filtered + count * c;
    float* const middle = projected + count * c;
    const ConstRows input{x.typed_data() + first * c, c};
    FilterPositions(
        pictures, zeros.data(), first, count, filtered,
        [&](const Neighbourhood<float>& around, float* to) noexcept { kernels()->depthwise(filter, around, to); });
    kernels()->multiply(project, {filtered, c}, count, {projected, c}, {false, {input}});
    kernels()->multiply(in_first, {projected, c}, count, {middle, half}, {true, {}});
    kernels()->multiply(in_second, {projected, c}, count, {middle, half}, {true, {{middle, half}}});
    const Epilogue epilogue{false, {{projected, c}, shortcut ? input : ConstRows{}}};
    kernels()->multiply(out, {middle, half}, count, {y->typed_data() + first * c, c}, epilogue);
  });
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

XLA_FFI_DEFINE_HANDLER(kAffineAvx2, Affine<float32::Avx2Kernels>, BindAffine());
XLA_FFI_DEFINE_HANDLER(kConvolveAvx2, Convolve<float32::Avx2Kernels>, BindConvolve());
XLA_FFI_DEFINE_HANDLER(kRestAvx2, RestOfBlock<float32::Avx2Kernels>, BindRestOfBlock());
XLA_FFI_DEFINE_HANDLER(kAffineAvx512, Affine<float32::Avx512Kernels>, BindAffine());
XLA_FFI_DEFINE_HANDLER(kConvolveAvx512, Convolve<float32::Avx512Kernels>, BindConvolve());
XLA_FFI_DEFINE_HANDLER(kRestAvx512, RestOfBlock<float32::Avx512Kernels>, BindRestOfBlock());

}  // namespace

std::vector<Functions> Float32Functions() {
  std::vector<Functions> isas;
  if (float32::Avx512Kernels()) isas.push_back({"avx512", kAffineAvx512, kConvolveAvx512, kRestAvx512});
  if (float32::Avx2Kernels()) isas.push_back({"avx2", kAffineAvx2, kConvolveAvx2, kRestAvx2});
  return isas;
}

}  // namespace nvc
