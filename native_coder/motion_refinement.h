// Vectors that are cheaper to code. Equal to nvc_jax/ops/motion_refinement.py, which explains it.
#ifndef NVC_MOTION_REFINEMENT_H_
#define NVC_MOTION_REFINEMENT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "motion.h"

namespace nvc::motion {

constexpr size_t kContexts = 16;  // of vectors, by how much their neighbours differ
constexpr size_t kSurprises = 5;  // numbers of neighbours whose vector was not the expected one
constexpr size_t kChoiceRows = 2 * kSurprises * kContexts;  // by whether most neighbours have the expected vector, too
constexpr size_t kChoices = 6;  // the expected vector, that of one of four neighbours, another one
constexpr size_t kSizes = 4;    // contexts of dx, by the magnitude of the difference of dy
constexpr size_t kDifferenceRows = 4 * (1 + kSizes);
constexpr size_t kDifferences = 256;  // of a component, from -128 on

// A block in the order of the coder.
struct Visit {
  int32_t block;      // its place in a picture
  int32_t around[4];  // those of its neighbours, which are visited in earlier steps
  int32_t far;        // 1 if they are more than a block away
};

// The coder of vectors.
struct Coder {
  const Visit* visits;  // every block of a picture, step after step; nothing is expected of those of the first step
  const int32_t* ends;  // [steps] of steps in `visits`
  size_t steps;
  const int32_t* choices;      // costs [kChoiceRows, kChoices]
  const int32_t* differences;  // costs [kDifferenceRows, kDifferences]: in each group of rows of dy, then of dx
};

// Replaces vectors of pictures by those that are cheap to code where that pays: steps 1 and on, one after the other;
// the items of a step in any order, or at once.
class Refinement {
 public:
  // scales: [pictures], costs of a squared error.
  Refinement(const Kernels& kernels, const Shape& shape, const Pixels& pictures, const Pixels& references,
             const float* scales, const Coder& coder, Vector* vectors);

  size_t items(size_t step) const noexcept { return shape_.count * parts(step); }
  void Run(size_t step, size_t item) noexcept;

 private:
  size_t first(size_t step) const noexcept { return static_cast<size_t>(coder_.ends[step - 1]); }
  size_t end(size_t step) const noexcept { return static_cast<size_t>(coder_.ends[step]); }
  size_t parts(size_t step) const noexcept;
  void Refine(size_t picture, const Visit& visit) noexcept;
  int32_t ErrorCost(size_t picture, size_t block, const int16_t* pixels, Vector vector) const noexcept;

  const Kernels& kernels_;
  const Shape shape_;
  const Pixels pictures_, references_;
  const float* scales_;
  const Coder coder_;
  Vector* vectors_;
  std::vector<uint8_t> surprising_;  // blocks visited so far whose vector is not the expected one
};

}  // namespace nvc::motion

#endif  // NVC_MOTION_REFINEMENT_H_
