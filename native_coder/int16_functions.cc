// FFI handlers of the int16 kernels.
#include <algorithm>
#include <utility>
#include <vector>

#include "functions.h"
#include "int16.h"

namespace nvc {
namespace {

namespace ffi = xla::ffi;
using int16::Kernel;
using int16::Kernels;
using int16::kPanel;
using int16::kWsiluEntries;
using Int16 = ffi::Buffer<ffi::S16>;
using Int32 = ffi::Buffer<ffi::S32>;
using Uint8 = ffi::Buffer<ffi::U8>;
using Int16Result = ffi::Result<Int16>;

// Selects the ISA of a handler; handlers are registered only where the processor has it.
using Choice = const Kernels* (*)() noexcept;

// A kernel from XLA's arrays; its bias [outputs] is padded here.
template <Choice kernels>
class PackedKernel {
 public:
  PackedKernel(const Int16& weights, const Int32& sums, const Int32& ends, const Int32& bits, const Int32& bias,
               size_t inputs)
      : bias_(bits.element_count()) {
    kernel_ = {weights.typed_data(), ends.typed_data(), sums.typed_data(), bias_.data(), bits.typed_data(), 0, inputs,
               bias.element_count()};
    const size_t panels = (kernel_.outputs + kPanel - 1) / kPanel;
    fits_ = inputs > 0 && kernel_.outputs > 0 && sums.element_count() == panels && ends.dimensions().size() == 2 &&
            static_cast<size_t>(ends.dimensions()[0]) == panels && ends.dimensions()[1] > 0 &&
            bits.element_count() == kernel_.padded_outputs() &&
            weights.element_count() == kernels()->demands.padded(inputs) * kernel_.padded_outputs();
    if (!fits_) return;
    kernel_.blocks = static_cast<size_t>(ends.dimensions()[1]);
    // The padding may hide the number of inputs, the end of the last block does not.
    fits_ = static_cast<size_t>(kernel_.ends[kernel_.blocks - 1]) == kernel_.pairs();
    std::copy_n(bias.typed_data(), kernel_.outputs, bias_.data());
  }
  PackedKernel(const PackedKernel&) = delete;
  PackedKernel& operator=(const PackedKernel&) = delete;

  const Kernel& operator*() const noexcept { return kernel_; }
  // True if the arrays agree with each other and with the number of outputs.
  bool gives(size_t outputs) const noexcept { return fits_ && kernel_.outputs == outputs; }

 private:
  std::vector<int32_t> bias_;
  Kernel kernel_{};
  bool fits_ = false;
};

// x [..., K] times a kernel [K, N] to y [..., N]; through WSiLU unless its LUT `deficits` (int16.h) is empty.
template <Choice kernels>
ffi::Error Affine(ffi::ThreadPool pool, Int16 x, Int16 weights, Int32 sums, Int32 ends, Int32 bits, Int32 bias,
                  Uint8 deficits, Int16Result y) {
  const size_t inputs = LastAxis(x), outputs = LastAxis(*y);
  const PackedKernel<kernels> kernel(weights, sums, ends, bits, bias, inputs);
  const size_t entries = deficits.element_count();
  if (!kernel.gives(outputs) || (entries != 0 && entries != kWsiluEntries)) return ShapeMismatch();
  const size_t rows = x.element_count() / inputs;
  if (y->element_count() != rows * outputs) return ShapeMismatch();
  const uint8_t* const wsilu = entries == 0 ? nullptr : deficits.typed_data();
  ForEachItem(pool, kernels()->demands, rows, kMostRows, [&](size_t first, size_t count) noexcept {
    kernels()->multiply(*kernel, {x.typed_data() + first * inputs, inputs}, count,
                        {y->typed_data() + first * outputs, outputs}, wsilu);
  });
  return ffi::Error::Success();
}

// x [B, H, W, C] convolved with a kernel [9C, N] to y [B, H/stride, W/stride, N].
template <Choice kernels>
ffi::Error Convolve(ffi::ThreadPool pool, Int16 x, Int16 weights, Int32 sums, Int32 ends, Int32 bits, Int32 bias,
                    int64_t stride, Int16Result y) {
  const size_t inputs = 9 * LastAxis(x), outputs = LastAxis(*y);
  const PackedKernel<kernels> kernel(weights, sums, ends, bits, bias, inputs);
  if (!kernel.gives(outputs)) return ShapeMismatch();
  const auto convolution = ConvolutionOf<int16_t>(x, stride, *y);
  if (convolution.rows == 0) return ShapeMismatch();
  ForEachItem(pool, kernels()->demands, convolution.rows, kMostPatches, [&](size_t first, size_t count) noexcept {
    int16_t* const patches = Scratch<int16_t>(count * inputs);
    CopyPatches(convolution.pictures, convolution.stride, first, count, patches);
    kernels()->multiply(*kernel, {patches, inputs}, count, {y->typed_data() + first * outputs, outputs}, nullptr);
  });
  return ffi::Error::Success();
}

// A DC block from a, the output of its first 1x1 convolution, and x, its input, both [B, H, W, C]. bias_in has the
// channels of the FFN's middle.
template <Choice kernels>
ffi::Error RestOfBlock(ffi::ThreadPool pool, Int16 a, Int16 x, Int16 taps, Int32 taps_sums, Int32 taps_bits,
                       Int32 taps_bias, Int16 weights, Int32 sums, Int32 ends, Int32 bits, Int32 bias, Int16 weights_in,
                       Int32 sums_in, Int32 ends_in, Int32 bits_in, Int32 bias_in, Int16 weights_out, Int32 sums_out,
                       Int32 ends_out, Int32 bits_out, Int32 bias_out, Uint8 deficits, bool shortcut, Int16Result y) {
  const size_t c = LastAxis(x), numbers = x.element_count(), half = bias_in.element_count() / 2, wide = 2 * half;
  const PackedKernel<kernels> project(weights, sums, ends, bits, bias, c);
  const PackedKernel<kernels> in(weights_in, sums_in, ends_in, bits_in, bias_in, c);
  const PackedKernel<kernels> out(weights_out, sums_out, ends_out, bits_out, bias_out, half);
  if (!SameShape(a, x, *y) || taps.element_count() != 9 * c || taps_sums.element_count() != c ||
      taps_bits.element_count() != c || taps_bias.element_count() != c || !project.gives(c) || !in.gives(wide) ||
      !out.gives(c) || deficits.element_count() != kWsiluEntries) {
    return ShapeMismatch();
  }
  const int16::Taps filter{taps.typed_data(), taps_sums.typed_data(), taps_bias.typed_data(), taps_bits.typed_data(),
                           c};
  const Pictures<int16_t> pictures = AsPictures<int16_t>(a);
  const std::vector<int16_t> zeros(pictures.width * c);
  ForEachItem(pool, kernels()->demands, numbers / c, kMostRows, [&](size_t first, size_t count) noexcept {
    const size_t size = count * c;
    int16_t* const projected = Scratch<int16_t>(2 * size + count * wide);
    int16_t* const added = projected + size;  // first the output of the depthwise convolution
    int16_t* const middle = added + size;
    const int16_t* const input = x.typed_data() + first * c;
    int16_t* const result = y->typed_data() + first * c;
    FilterPositions(
        pictures, zeros.data(), first, count, added,
        [&](const Neighbourhood<int16_t>& around, int16_t* to) noexcept { kernels()->depthwise(filter, around, to); });
    kernels()->multiply(*project, {added, c}, count, {projected, c}, nullptr);
    kernels()->add(projected, input, projected, size);
    kernels()->multiply(*in, {projected, c}, count, {middle, wide}, deficits.typed_data());
    for (size_t row = 0; row < count; ++row) {
      int16_t* const m = middle + row * wide;
      kernels()->add(m, m + half, m, half);
    }
    kernels()->multiply(*out, {middle, wide}, count, {added, c}, nullptr);
    kernels()->add(projected, added, result, size);
    if (shortcut) kernels()->add(result, input, result, size);
  });
  return ffi::Error::Success();
}

// Appends the operands of a PackedKernel.
template <class Binding>
auto WithKernel(Binding&& binding) {
  return std::move(binding)
      .template Arg<Int16>()
      .template Arg<Int32>()
      .template Arg<Int32>()
      .template Arg<Int32>()
      .template Arg<Int32>();
}

auto Bind() { return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Int16>(); }

auto BindAffine() { return WithKernel(Bind()).Arg<Uint8>().Ret<Int16>(); }

auto BindConvolve() { return WithKernel(Bind()).Attr<int64_t>("stride").Ret<Int16>(); }

auto BindRestOfBlock() {
  auto taps = Bind().Arg<Int16>().Arg<Int16>().Arg<Int32>().Arg<Int32>().Arg<Int32>();
  return WithKernel(WithKernel(WithKernel(std::move(taps)))).Arg<Uint8>().Attr<bool>("shortcut").Ret<Int16>();
}

XLA_FFI_DEFINE_HANDLER(kAffineAvx2, Affine<int16::Avx2Kernels>, BindAffine());
XLA_FFI_DEFINE_HANDLER(kConvolveAvx2, Convolve<int16::Avx2Kernels>, BindConvolve());
XLA_FFI_DEFINE_HANDLER(kRestAvx2, RestOfBlock<int16::Avx2Kernels>, BindRestOfBlock());
XLA_FFI_DEFINE_HANDLER(kAffineAvx512, Affine<int16::Avx512Kernels>, BindAffine());
XLA_FFI_DEFINE_HANDLER(kConvolveAvx512, Convolve<int16::Avx512Kernels>, BindConvolve());
XLA_FFI_DEFINE_HANDLER(kRestAvx512, RestOfBlock<int16::Avx512Kernels>, BindRestOfBlock());
XLA_FFI_DEFINE_HANDLER(kAffineAmx, Affine<int16::AmxKernels>, BindAffine());
XLA_FFI_DEFINE_HANDLER(kConvolveAmx, Convolve<int16::AmxKernels>, BindConvolve());
XLA_FFI_DEFINE_HANDLER(kRestAmx, RestOfBlock<int16::AmxKernels>, BindRestOfBlock());

}  // namespace

Functions Int16OnAvx2() { return {kAffineAvx2, kConvolveAvx2, kRestAvx2}; }
Functions Int16OnAvx512() { return {kAffineAvx512, kConvolveAvx512, kRestAvx512}; }
Functions Int16OnAmx() { return {kAffineAmx, kConvolveAmx, kRestAmx}; }

}  // namespace nvc
