// A DC block whose parameters change at every step, and its gradients.
#ifndef NVC_FLOAT32_TRAINING_H_
#define NVC_FLOAT32_TRAINING_H_

#include <cstddef>

#include "float32.h"
#include "xla/ffi/api/ffi.h"

namespace nvc::float32 {

// Its parameters are one vector, layer by layer, of each its weights [inputs, outputs] and then its bias.
struct BlockShape {
  size_t channels;
  size_t half;  // of the channels of the FFN's middle

  size_t size() const noexcept {
    return 2 * (channels + 1) * channels + 10 * channels + (channels + 1) * 2 * half + (half + 1) * channels;
  }
};

// Activations that the forward pass keeps for the backward pass, [rows, channels] but where it says otherwise.
struct Kept {
  float* activated;  // output of the first layer and its WSiLU
  float* first;      // before it; null to keep nothing from here on
  float* projected;  // input of the FFN
  float* middle[2];  // halves of the FFN's middle before their WSiLU, [rows, half]

  Kept(float* memory, const BlockShape& shape, size_t rows, bool all) noexcept : activated(memory) {
    const size_t numbers = rows * shape.channels;
    first = all ? memory + numbers : nullptr;
    projected = memory + 2 * numbers;
    middle[0] = memory + 3 * numbers;
    middle[1] = middle[0] + rows * shape.half;
  }
};

// x [rows, channels] to y.
void ForwardBlock(const Kernels& kernels, xla::ffi::ThreadPool& pool, const BlockShape& shape, const float* parameters,
                  const Pictures<float>& x, size_t rows, bool shortcut, float* y, const Kept& kept);

// From g, the gradient of y, to those of x and of the parameters; `work` is as large as x. The sums over rows depend on
// the number of threads, and on nothing else.
void BackwardBlock(const Kernels& kernels, xla::ffi::ThreadPool& pool, const BlockShape& shape,
                   const float* parameters, const Pictures<float>& x, const Kept& kept, size_t rows, const float* g,
                   bool shortcut, float* of_x, float* of_parameters, float* work);

}  // namespace nvc::float32

#endif  // NVC_FLOAT32_TRAINING_H_
