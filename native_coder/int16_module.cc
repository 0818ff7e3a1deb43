// The convolutions of the int16 arithmetic as functions that XLA calls.
#include <pybind11/pybind11.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "int16.h"
#include "xla/ffi/api/ffi.h"

namespace py = pybind11;
namespace ffi = xla::ffi;

namespace {

using nvc::int16::Kernel;
using nvc::int16::Kernels;
using nvc::int16::kPanel;
using nvc::int16::kWsiluEntries;
using nvc::int16::Taps;
using Int16 = ffi::Buffer<ffi::S16>;
using Int32 = ffi::Buffer<ffi::S32>;
using Uint8 = ffi::Buffer<ffi::U8>;
using Int16Result = ffi::Result<Int16>;

constexpr size_t kMostRows = 96;  // of a piece of work: its middle of 4C numbers stays in a core's cache
constexpr size_t kFewestRows = 12;

// What chooses the kernels of a function; it is only called where they can run.
using Choice = const Kernels* (*)() noexcept;

// Calls work(i) for i of 0..count-1 on the threads of XLA. The caller takes part, so that it never waits for work that
// nobody has begun.
template <class Work>
void ForEach(ffi::ThreadPool& pool, size_t count, const Work& work) {
  struct State {
    std::atomic<size_t> next{0};
    std::mutex mutex;
    std::condition_variable changed;
    size_t done = 0;
  };
  const auto state = std::make_shared<State>();
  auto run = [state, count, &work]() noexcept {
    size_t mine = 0;
    for (size_t i; (i = state->next.fetch_add(1)) < count; ++mine) work(i);
    if (mine == 0) return;  // `work` may be gone
    const std::lock_guard lock(state->mutex);
    state->done += mine;
    if (state->done == count) state->changed.notify_all();
  };
  const size_t threads = std::min<size_t>(count, static_cast<size_t>(std::max<int64_t>(pool.num_threads(), 1)));
  for (size_t i = 1; i < threads; ++i) pool.Schedule(decltype(run)(run));
  run();
  std::unique_lock lock(state->mutex);
  state->changed.wait(lock, [&] { return state->done == count; });
}

// A kernel as XLA hands it over, with its bias [outputs] filled up.
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
            weights.element_count() == 2 * kernel_.pairs() * kernel_.padded_outputs();
    if (!fits_) return;
    kernel_.blocks = static_cast<size_t>(ends.dimensions()[1]);
    std::copy_n(bias.typed_data(), kernel_.outputs, bias_.data());
  }
  PackedKernel(const PackedKernel&) = delete;
  PackedKernel& operator=(const PackedKernel&) = delete;

  const Kernel& operator*() const noexcept { return kernel_; }
  // Whether the arrays are those of a kernel with so many outputs.
  bool gives(size_t outputs) const noexcept { return fits_ && kernel_.outputs == outputs; }

 private:
  std::vector<int32_t> bias_;
  Kernel kernel_{};
  bool fits_ = false;
};

ffi::Error Misfit() { return ffi::Error::InvalidArgument("the kernel is not for such inputs"); }

size_t LastAxis(const Int16& x) { return static_cast<size_t>(x.dimensions().back()); }

// Pieces of rows for `threads` threads.
size_t PieceOf(size_t rows, int64_t threads) {
  const size_t share = rows / (2 * static_cast<size_t>(std::max<int64_t>(threads, 1))) / kFewestRows * kFewestRows;
  return std::clamp(share, kFewestRows, kMostRows);
}

// x [..., K] times a kernel [K, N] to y [..., N]; through WSiLU unless `deficits` (see int16.h) is empty.
template <Choice kernels>
ffi::Error Affine(ffi::ThreadPool pool, Int16 x, Int16 weights, Int32 sums, Int32 ends, Int32 bits, Int32 bias,
                  Uint8 deficits, Int16Result y) {
  const size_t inputs = LastAxis(x), outputs = LastAxis(*y);
  const PackedKernel kernel(weights, sums, ends, bits, bias, inputs);
  const size_t entries = deficits.element_count();
  if (!kernel.gives(outputs) || (entries != 0 && entries != kWsiluEntries)) return Misfit();
  const size_t rows = x.element_count() / inputs;
  if (y->element_count() != rows * outputs) return Misfit();
  const uint8_t* const wsilu = entries == 0 ? nullptr : deficits.typed_data();
  const size_t piece = PieceOf(rows, pool.num_threads());
  ForEach(pool, (rows + piece - 1) / piece, [&](size_t i) noexcept {
    const size_t first = i * piece, count = std::min(piece, rows - first);
    kernels()->multiply(*kernel, {x.typed_data() + first * inputs, inputs}, count,
                        {y->typed_data() + first * outputs, outputs}, wsilu);
  });
  return ffi::Error::Success();
}

// The second half of a DC block: h, what its depthwise convolution gives, and x, its input, [..., C] both.
template <Choice kernels>
ffi::Error SecondHalf(ffi::ThreadPool pool, Int16 h, Int16 x, Int16 weights, Int32 sums, Int32 ends, Int32 bits,
                      Int32 bias, Int16 weights_in, Int32 sums_in, Int32 ends_in, Int32 bits_in, Int32 bias_in,
                      Int16 weights_out, Int32 sums_out, Int32 ends_out, Int32 bits_out, Int32 bias_out, Uint8 deficits,
                      bool shortcut, Int16Result y) {
  const size_t channels = LastAxis(x), numbers = x.element_count();
  const PackedKernel project(weights, sums, ends, bits, bias, channels);
  const PackedKernel in(weights_in, sums_in, ends_in, bits_in, bias_in, channels);
  const PackedKernel out(weights_out, sums_out, ends_out, bits_out, bias_out, 2 * channels);
  if (!project.gives(channels) || !in.gives(4 * channels) || !out.gives(channels) || h.element_count() != numbers ||
      y->element_count() != numbers || deficits.element_count() != kWsiluEntries) {
    return Misfit();
  }
  const size_t rows = numbers / channels, piece = PieceOf(rows, pool.num_threads());
  ForEach(pool, (rows + piece - 1) / piece, [&](size_t i) noexcept {
    thread_local std::vector<int16_t> memory;
    const size_t first = i * piece * channels, count = std::min(piece, rows - i * piece), size = count * channels;
    if (memory.size() < 6 * size) memory.resize(6 * size);
    int16_t *const projected = memory.data(), *const added = projected + size, *const middle = added + size;
    const int16_t* const input = x.typed_data() + first;
    int16_t* const result = y->typed_data() + first;
    kernels()->multiply(*project, {h.typed_data() + first, channels}, count, {projected, channels}, nullptr);
    kernels()->add(projected, input, projected, size);
    kernels()->multiply(*in, {projected, channels}, count, {middle, 4 * channels}, deficits.typed_data());
    for (size_t row = 0; row < count; ++row) {
      int16_t* const m = middle + row * 4 * channels;
      kernels()->add(m, m + 2 * channels, m, 2 * channels);
    }
    kernels()->multiply(*out, {middle, 4 * channels}, count, {added, channels}, nullptr);
    kernels()->add(projected, added, result, size);
    if (shortcut) kernels()->add(result, input, result, size);
  });
  return ffi::Error::Success();
}

// x [B, H, W, C] through a depthwise convolution, zeros around it.
template <Choice kernels>
ffi::Error Depthwise(ffi::ThreadPool pool, Int16 x, Int16 weights, Int32 sums, Int32 bits, Int32 bias, Int16Result y) {
  const auto sides = x.dimensions();
  const size_t channels = LastAxis(x);
  if (sides.size() != 4 || channels == 0 || weights.element_count() != 9 * channels ||
      sums.element_count() != channels || bits.element_count() != channels || bias.element_count() != channels ||
      y->element_count() != x.element_count()) {
    return Misfit();
  }
  const auto height = static_cast<size_t>(sides[1]), width = static_cast<size_t>(sides[2]);
  const Taps taps{weights.typed_data(), sums.typed_data(), bias.typed_data(), bits.typed_data(), channels};
  const size_t row = width * channels;
  const std::vector<int16_t> zeros(row);
  ForEach(pool, static_cast<size_t>(sides[0]) * height, [&](size_t i) noexcept {
    const size_t at = i % height;
    const int16_t* const here = x.typed_data() + i * row;
    const int16_t* const around[3] = {at == 0 ? zeros.data() : here - row, here,
                                      at + 1 == height ? zeros.data() : here + row};
    kernels()->depthwise(taps, around, width, y->typed_data() + i * row);
  });
  return ffi::Error::Success();
}

// Adds the operands of a PackedKernel.
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

auto BindSecondHalf() {
  return WithKernel(WithKernel(WithKernel(Bind().Arg<Int16>()))).Arg<Uint8>().Attr<bool>("shortcut").Ret<Int16>();
}

auto BindDepthwise() { return Bind().Arg<Int16>().Arg<Int32>().Arg<Int32>().Arg<Int32>().Ret<Int16>(); }

XLA_FFI_DEFINE_HANDLER(kAffineAvx2, Affine<nvc::int16::Avx2Kernels>, BindAffine());
XLA_FFI_DEFINE_HANDLER(kSecondHalfAvx2, SecondHalf<nvc::int16::Avx2Kernels>, BindSecondHalf());
XLA_FFI_DEFINE_HANDLER(kDepthwiseAvx2, Depthwise<nvc::int16::Avx2Kernels>, BindDepthwise());
XLA_FFI_DEFINE_HANDLER(kAffineAvx512, Affine<nvc::int16::Avx512Kernels>, BindAffine());
XLA_FFI_DEFINE_HANDLER(kSecondHalfAvx512, SecondHalf<nvc::int16::Avx512Kernels>, BindSecondHalf());
XLA_FFI_DEFINE_HANDLER(kDepthwiseAvx512, Depthwise<nvc::int16::Avx512Kernels>, BindDepthwise());

py::dict Functions(XLA_FFI_Handler* affine, XLA_FFI_Handler* second_half, XLA_FFI_Handler* depthwise) {
  const auto capsule = [](XLA_FFI_Handler* handler) { return py::capsule(reinterpret_cast<void*>(handler)); };
  py::dict functions;
  functions["affine"] = capsule(affine);
  functions["second_half"] = capsule(second_half);
  functions["depthwise"] = capsule(depthwise);
  return functions;
}

// Of each kind of kernels that this processor can run, the fastest first.
py::dict AllFunctions() {
  py::dict kinds;
  if (nvc::int16::Avx512Kernels()) kinds["avx512"] = Functions(kAffineAvx512, kSecondHalfAvx512, kDepthwiseAvx512);
  if (nvc::int16::Avx2Kernels()) kinds["avx2"] = Functions(kAffineAvx2, kSecondHalfAvx2, kDepthwiseAvx2);
  return kinds;
}

}  // namespace

PYBIND11_MODULE(_int16, m) {
  m.def("int16_functions", &AllFunctions);
  m.attr("INT16_PANEL") = kPanel;
  m.attr("WSILU_ENTRIES") = kWsiluEntries;
}
