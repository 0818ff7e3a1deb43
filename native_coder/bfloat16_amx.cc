// Convolutions of bfloat16 networks with AMX, as of Sapphire Rapids; everything but products is that of AVX-512.
//
// Weights are those of AVX512-BF16, their inputs padded to whole tiles. A channel's sum starts from its bias, to which
// the sums of kInputs products each (tiles.h) are added in order.
#include "bfloat16.h"
#include "tiles.h"

#ifdef NVC_TILES

#include <algorithm>

#include "bfloat16_avx512.h"
#include "scratch.h"

#define NVC_AMX __attribute__((target(NVC_AVX512_FEATURES "," NVC_TILE_FEATURES)))

namespace nvc::bfloat16 {
namespace {

#include "floating_epilogue.inl"

using tiles::kBytes;
using tiles::kRows;

constexpr size_t kInputs = kBytes / sizeof(Number);  // of a tile

// Sums of two tiles of rows and two of channels.
struct Sums {
  alignas(64) float of[2 * kRows][2 * kLanes];
};

// Sums over `blocks` tiles of inputs, of kDown tiles of rows and kAcross of channels. Rows of the panel's weights are
// `stride` bytes apart.
template <size_t kDown, size_t kAcross>
NVC_AMX void Multiply(ConstRows x, const Number* weights, size_t stride, size_t blocks, const float* bias, Sums* sums) {
  const size_t x_stride = x.stride * sizeof(Number);
  // Rows that are no bytes apart: the bias in all of them. Four sums in turn hide the latency of each.
  tiles::Load<0>(bias, 0);
  if constexpr (kAcross > 1) tiles::Load<1>(bias + kLanes, 0);
  if constexpr (kDown > 1) tiles::Load<2>(bias, 0);
  if constexpr (kDown > 1 && kAcross > 1) tiles::Load<3>(bias + kLanes, 0);
  for (size_t i = 0; i < blocks; ++i, x.data += kInputs, weights += kRows * stride / sizeof(Number)) {
    tiles::Load<4>(x.data, x_stride);
    tiles::Load<6>(weights, stride);
    tiles::AddBfloat16<0, 4, 6>();
    if constexpr (kAcross > 1) {
      tiles::Load<7>(weights + kInputs, stride);
      tiles::AddBfloat16<1, 4, 7>();
    }
    if constexpr (kDown > 1) {
      tiles::Load<5>(x.data + kRows * x.stride, x_stride);
      tiles::AddBfloat16<2, 5, 6>();
    }
    if constexpr (kDown > 1 && kAcross > 1) tiles::AddBfloat16<3, 5, 7>();
  }
  constexpr size_t kStride = sizeof sums->of[0];
  tiles::Store<0>(sums->of[0], kStride);
  if constexpr (kAcross > 1) tiles::Store<1>(sums->of[0] + kLanes, kStride);
  if constexpr (kDown > 1) tiles::Store<2>(sums->of[kRows], kStride);
  if constexpr (kDown > 1 && kAcross > 1) tiles::Store<3>(sums->of[kRows] + kLanes, kStride);
}

// All rows of kAcross tiles of channels from `first` on; x has a multiple of kRows rows.
template <size_t kAcross>
NVC_AMX void Strip(const Kernel& kernel, const Number* weights, size_t stride, size_t blocks, size_t first, ConstRows x,
                   size_t rows, Rows out, const Epilogue& epilogue) {
  alignas(64) float bias[kAcross * kLanes];
  size_t valid[kAcross];
  for (size_t v = 0; v < kAcross; ++v) {
    valid[v] = std::min(kernel.outputs - first - v * kLanes, kLanes);
    _mm512_store_ps(bias + v * kLanes, LoadFirst(kernel.bias + first + v * kLanes, valid[v]));
  }
  for (size_t row = 0; row < rows; row += 2 * kRows) {
    const ConstRows from{x.data + row * x.stride, x.stride};
    Sums sums;
    if (row + kRows < rows) {
      Multiply<2, kAcross>(from, weights, stride, blocks, bias, &sums);
    } else {
      Multiply<1, kAcross>(from, weights, stride, blocks, bias, &sums);
    }
    for (size_t r = 0; r < std::min(rows - row, 2 * kRows); ++r) {
      for (size_t v = 0; v < kAcross; ++v) {
        const Vector sum = _mm512_load_ps(sums.of[r] + v * kLanes);
        Finish(sum, epilogue, row + r, first + v * kLanes, valid[v], out);
      }
    }
  }
}

// Rows in whole tiles: x itself, or a copy that is padded, by zeros where there are inputs.
ConstRows WholeTiles(ConstRows x, size_t rows, size_t inputs, size_t padded) {
  if (rows % kRows == 0 && inputs == padded) return x;
  const size_t padded_rows = (rows + kRows - 1) / kRows * kRows;
  Number* const copy = Scratch<Number, struct Copy>(padded_rows * padded);
  for (size_t r = 0; r < rows; ++r) {
    Number* const end = std::copy_n(x.data + r * x.stride, inputs, copy + r * padded);
    std::fill(end, copy + (r + 1) * padded, Number{});
  }
  return {copy, padded};
}

void MultiplyRows(const Kernel& kernel, ConstRows x, size_t rows, Rows out, const Epilogue& epilogue) {
  const size_t blocks = (kernel.inputs + kInputs - 1) / kInputs, inputs = blocks * kInputs;
  const ConstRows whole = WholeTiles(x, rows, kernel.inputs, inputs);
  const Number* weights = kernel.weights;
  for (size_t start = 0; start < kernel.outputs; start += kPanel) {
    const size_t channels = std::min(kPanel, Kernel::padded(kernel.outputs) - start);
    const size_t stride = channels * kGroup * sizeof(Number);
    if (channels == kPanel) {
      Strip<2>(kernel, weights, stride, blocks, start, whole, rows, out, epilogue);
    } else {
      Strip<1>(kernel, weights, stride, blocks, start, whole, rows, out, epilogue);
    }
    weights += inputs * channels;
  }
}

}  // namespace

const Kernels* AmxKernels() noexcept {
  const Kernels* const others = Avx512Bf16Kernels();
  static const bool usable = others != nullptr && tiles::Usable();
  if (!usable) return nullptr;
  static const Kernels amx{MultiplyRows, others->depthwise, {kInputs, kRows, tiles::Configure, tiles::Release}};
  return &amx;
}

}  // namespace nvc::bfloat16

#else

namespace nvc::bfloat16 {
const Kernels* AmxKernels() noexcept { return nullptr; }
}  // namespace nvc::bfloat16

#endif
