// FFI handlers of block motion.
#include <algorithm>
#include <vector>

#include "functions.h"
#include "motion.h"
#include "motion_refinement.h"

namespace nvc {
namespace {

namespace ffi = xla::ffi;
using motion::Kernels;
using motion::Pixels;
using motion::Refinement;
using motion::Search;
using motion::Vector;
using Int32 = ffi::Buffer<ffi::S32>;
using Vectors = ffi::Buffer<ffi::S8>;  // [B, H/16, W/16, 2]

using Choice = const Kernels* (*)() noexcept;

template <class Buffer>
bool IsOf(const Shape& shape, const Buffer& vectors) {
  const size_t blocks = shape.count * shape.rows() * shape.columns();
  return blocks > 0 && vectors.element_count() == 2 * blocks;
}

// Null for any other precision.
Pixels PixelsOf(const ffi::AnyBuffer& pictures) {
  Pixels pixels;
  if (pictures.element_type() == ffi::S16) pixels.int16 = pictures.typed_data<int16_t>();
  if (pictures.element_type() == ffi::F32) pixels.float32 = pictures.typed_data<float>();
  return pixels;
}

bool Missing(const Pixels& pixels) { return pixels.int16 == nullptr && pixels.float32 == nullptr; }

ffi::Error Mismatch() {
  return ffi::Error::InvalidArgument(
      "shape mismatch: block motion takes int16 or float32 pictures, and moves uint16 ones, of three channels, whose "
      "sides are multiples of 16");
}

// Vectors of the blocks of a picture in its reference, of any two precisions. prices: [B], of a bit. bits: [255], see
// motion.h.
template <Choice kernels>
ffi::Error Estimate(ffi::ThreadPool pool, ffi::AnyBuffer picture, ffi::AnyBuffer reference, Int32 prices, Int32 bits,
                    int64_t surprise, int64_t still, ffi::Result<Vectors> vectors) {
  const Shape shape = ShapeOf(picture.dimensions());
  const Pixels pictures = PixelsOf(picture), references = PixelsOf(reference);
  if (!IsOf(shape, *vectors) || Missing(pictures) || Missing(references) ||
      reference.element_count() != picture.element_count() || prices.element_count() != shape.count ||
      bits.element_count() != motion::kBits) {
    return Mismatch();
  }
  const motion::Prices costs{prices.typed_data(), bits.typed_data(), static_cast<int32_t>(surprise),
                             static_cast<int32_t>(still)};
  Search search(*kernels(), shape, pictures, references, costs, reinterpret_cast<Vector*>(vectors->typed_data()));
  for (size_t step = 0; step < Search::kSteps; ++step) {
    ForEach(pool, search.items(step), [&](size_t item) noexcept { search.Run(step, item); });
  }
  return ffi::Error::Success();
}

// Vectors of the blocks of a picture in its reference, of any two precisions, for the coder. scales: [B], costs of a
// squared error. choices, differences, visits [blocks, 6], ends [steps]: see motion_refinement.h.
template <Choice kernels>
ffi::Error Refine(ffi::ThreadPool pool, ffi::AnyBuffer picture, ffi::AnyBuffer reference, Vectors vectors,
                  ffi::Buffer<ffi::F32> scales, Int32 choices, Int32 differences, Int32 visits, Int32 ends,
                  ffi::Result<Vectors> refined) {
  constexpr size_t kFields = sizeof(motion::Visit) / sizeof(int32_t);
  const Shape shape = ShapeOf(picture.dimensions());
  const Pixels pictures = PixelsOf(picture), references = PixelsOf(reference);
  if (!IsOf(shape, vectors) || refined->element_count() != vectors.element_count() || Missing(pictures) ||
      Missing(references) || reference.element_count() != picture.element_count() ||
      scales.element_count() != shape.count || choices.element_count() != motion::kChoiceRows * motion::kChoices ||
      differences.element_count() != motion::kDifferenceRows * motion::kDifferences ||
      visits.element_count() != kFields * shape.rows() * shape.columns() || ends.element_count() == 0) {
    return Mismatch();
  }
  std::copy_n(vectors.typed_data(), vectors.element_count(), refined->typed_data());
  const motion::Coder coder{reinterpret_cast<const motion::Visit*>(visits.typed_data()), ends.typed_data(),
                            ends.element_count(), choices.typed_data(), differences.typed_data()};
  Refinement refinement(*kernels(), shape, pictures, references, scales.typed_data(), coder,
                        reinterpret_cast<Vector*>(refined->typed_data()));
  for (size_t step = 1; step < coder.steps; ++step) {
    ForEach(pool, refinement.items(step), [&](size_t item) noexcept { refinement.Run(step, item); });
  }
  return ffi::Error::Success();
}

// Moves the blocks of pictures.
template <Choice kernels>
ffi::Error Compensate(ffi::ThreadPool pool, ffi::AnyBuffer picture, Vectors vectors,
                      ffi::Result<ffi::AnyBuffer> moved) {
  const Shape shape = ShapeOf(picture.dimensions());
  if (!IsOf(shape, vectors) || moved->element_count() != picture.element_count() ||
      moved->element_type() != picture.element_type()) {
    return Mismatch();
  }
  const auto* const all = reinterpret_cast<const Vector*>(vectors.typed_data());
  const auto run = [&](const auto* from, auto* to) {
    ForEach(pool, shape.count * shape.rows(),
            [&](size_t row) noexcept { motion::MoveRow(*kernels(), shape, from, all, row, to); });
    return ffi::Error::Success();
  };
  if (picture.element_type() == ffi::S16) return run(picture.typed_data<int16_t>(), moved->typed_data<int16_t>());
  if (picture.element_type() == ffi::U16) return run(picture.typed_data<uint16_t>(), moved->typed_data<uint16_t>());
  if (picture.element_type() == ffi::F32) return run(picture.typed_data<float>(), moved->typed_data<float>());
  return Mismatch();
}

// The gradient of pictures [B, H, W, 3] float32 from that of the moved ones.
ffi::Error CompensateGradient(ffi::ThreadPool pool, ffi::AnyBuffer picture, Vectors vectors,
                              ffi::Buffer<ffi::F32> gradient, ffi::Result<ffi::Buffer<ffi::F32>> of_picture) {
  const Shape shape = ShapeOf(picture.dimensions());
  if (!IsOf(shape, vectors) || picture.element_type() != ffi::F32 ||
      gradient.element_count() != picture.element_count() || of_picture->element_count() != picture.element_count()) {
    return Mismatch();
  }
  const auto* const all = reinterpret_cast<const Vector*>(vectors.typed_data());
  ForEach(pool, shape.count, [&](size_t number) noexcept {
    motion::GradientOfMoved(shape, picture.typed_data<float>(), all, gradient.typed_data(), number,
                            of_picture->typed_data());
  });
  return ffi::Error::Success();
}

auto BindEstimate() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::AnyBuffer>()
      .Arg<Int32>()
      .Arg<Int32>()
      .Attr<int64_t>("surprise")
      .Attr<int64_t>("still")
      .Ret<Vectors>();
}

auto BindRefine() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::AnyBuffer>()
      .Arg<Vectors>()
      .Arg<ffi::Buffer<ffi::F32>>()
      .Arg<Int32>()
      .Arg<Int32>()
      .Arg<Int32>()
      .Arg<Int32>()
      .Ret<Vectors>();
}

auto BindCompensate() {
  return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<ffi::AnyBuffer>().Arg<Vectors>().Ret<ffi::AnyBuffer>();
}

auto BindCompensateGradient() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Arg<Vectors>()
      .Arg<ffi::Buffer<ffi::F32>>()
      .Ret<ffi::Buffer<ffi::F32>>();
}

XLA_FFI_DEFINE_HANDLER(kCompensateGradient, CompensateGradient, BindCompensateGradient());
XLA_FFI_DEFINE_HANDLER(kEstimateAvx2, Estimate<motion::Avx2Kernels>, BindEstimate());
XLA_FFI_DEFINE_HANDLER(kRefineAvx2, Refine<motion::Avx2Kernels>, BindRefine());
XLA_FFI_DEFINE_HANDLER(kCompensateAvx2, Compensate<motion::Avx2Kernels>, BindCompensate());

}  // namespace

std::vector<MotionFunctions> AllMotionFunctions() {
  std::vector<MotionFunctions> isas;
  if (motion::Avx2Kernels()) {
    isas.push_back({"avx2", kEstimateAvx2, kCompensateAvx2, kCompensateGradient, kRefineAvx2});
  }
  return isas;
}

}  // namespace nvc
