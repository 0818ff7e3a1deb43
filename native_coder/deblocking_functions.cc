// FFI handlers of deblocking.
#include <vector>

#include "deblocking.h"
#include "functions.h"

namespace nvc {
namespace {

namespace ffi = xla::ffi;
using deblocking::Float32Kernels;
using deblocking::Int16Kernels;
using deblocking::Kernels;
using deblocking::Task;
using deblocking::Uint16Kernels;
using Mask = ffi::Buffer<ffi::PRED>;

ffi::Error Mismatch() {
  return ffi::Error::InvalidArgument(
      "shape mismatch: deblocking takes int16 or uint16 pictures and int32 sizes, or both in float32; pictures have "
      "three channels, and their sides are multiples of 16");
}

template <class Number, class Size>
ffi::Error Run(ffi::ThreadPool& pool, const Kernels<Number, Size>& kernels, const Task<Number, Size>& task) {
  const size_t count = task.shape.count, rows = task.shape.rows();
  ForEach(pool, count * rows, [&](size_t row) noexcept { SmoothColumns(kernels, task, row); });
  if (rows > 1) ForEach(pool, count * (rows - 1), [&](size_t edge) noexcept { SmoothRows(kernels, task, edge); });
  return ffi::Error::Success();
}

// Smooths the edges of blocks of pictures [B, H, W, 3]. sizes: [B], of errors. weak_rows: [B, H/16 - 1, W/16], true
// where they are a quarter; weak_columns: [B, H/16, W/16 - 1].
template <const Int16Kernels* (*int16)() noexcept, const Uint16Kernels* (*uint16)() noexcept,
          const Float32Kernels* (*float32)() noexcept>
ffi::Error Deblock(ffi::ThreadPool pool, ffi::AnyBuffer picture, ffi::AnyBuffer sizes, Mask weak_rows,
                   Mask weak_columns, ffi::Result<ffi::AnyBuffer> smooth) {
  const Shape shape = ShapeOf(picture.dimensions());
  const size_t rows = shape.rows(), columns = shape.columns();
  if (shape.count * rows * columns == 0 || sizes.element_count() != shape.count ||
      weak_rows.element_count() != shape.count * (rows - 1) * columns ||
      weak_columns.element_count() != shape.count * rows * (columns - 1) ||
      smooth->element_count() != picture.element_count() || smooth->element_type() != picture.element_type()) {
    return Mismatch();
  }
  const auto run = [&](const auto& kernels, const auto* from, const auto* sizes_of, auto* to) {
    return Run(pool, kernels, {shape, from, sizes_of, weak_rows.typed_data(), weak_columns.typed_data(), to});
  };
  if (picture.element_type() == ffi::S16 && sizes.element_type() == ffi::S32) {
    return run(*int16(), picture.typed_data<int16_t>(), sizes.typed_data<int32_t>(), smooth->typed_data<int16_t>());
  }
  if (picture.element_type() == ffi::U16 && sizes.element_type() == ffi::S32) {
    return run(*uint16(), picture.typed_data<uint16_t>(), sizes.typed_data<int32_t>(), smooth->typed_data<uint16_t>());
  }
  if (picture.element_type() == ffi::F32 && sizes.element_type() == ffi::F32) {
    return run(*float32(), picture.typed_data<float>(), sizes.typed_data<float>(), smooth->typed_data<float>());
  }
  return Mismatch();
}

auto Bind() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::AnyBuffer>()
      .Arg<Mask>()
      .Arg<Mask>()
      .Ret<ffi::AnyBuffer>();
}

XLA_FFI_DEFINE_HANDLER(
    kDeblockAvx2,
    (Deblock<deblocking::Avx2Int16Kernels, deblocking::Avx2Uint16Kernels, deblocking::Avx2Float32Kernels>), Bind());

}  // namespace

std::vector<DeblockingFunctions> AllDeblockingFunctions() {
  std::vector<DeblockingFunctions> isas;
  if (deblocking::Avx2Int16Kernels()) isas.push_back({"avx2", kDeblockAvx2});
  return isas;
}

}  // namespace nvc
