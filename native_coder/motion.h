// Block motion on CPUs: the search of vectors, and moving blocks. Equal to nvc_jax/ops/motion.py, which explains them.
#ifndef NVC_MOTION_H_
#define NVC_MOTION_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "blocks.h"
#include "strided.h"

namespace nvc::motion {

constexpr int kPrecision = 4;  // steps of a vector per pixel
constexpr int kMiddle = 256;   // subtracted from samples, so that sums of the taps fit 16 bits
constexpr size_t kTaps = 6;
constexpr size_t kBefore = 2;  // pixels that the taps reach before a position
constexpr size_t kWindow = kBlock + kTaps - 1;
constexpr size_t kReach = 35;  // pixels that vectors and taps together reach beyond a picture
constexpr size_t kCoarse = 4;  // the search starts in pictures of a quarter of the size
constexpr size_t kCoarseReach = 7;
constexpr size_t kWholeReach = 3;  // pixels around the coarse result
constexpr size_t kWhole = 2 * kWholeReach + 1;
constexpr size_t kBits = 255;  // differences of two components
constexpr int16_t kErrorWeights[kChannels] = {6, 1, 1};

// By the phase of a position, in quarter pixels. Their sum is 64.
constexpr int16_t kWeights[kPrecision][kTaps] = {
    {0, 0, 64, 0, 0, 0}, {1, -5, 52, 20, -5, 1}, {2, -10, 40, 40, -10, 2}, {1, -5, 20, 52, -5, 1}};

// Displacement of a block in the reference picture.
struct Vector {
  int8_t y;
  int8_t x;

  bool operator==(const Vector& other) const noexcept { return y == other.y && x == other.x; }
};

// The part of a component in whole pixels, and its phase.
constexpr int Whole(int component) noexcept { return component >> 2; }
constexpr int Phase(int component) noexcept { return component & (kPrecision - 1); }

using Rows = Strided<int16_t>;
using ConstRows = Strided<const int16_t>;

// Sums of absolute differences of a row of small blocks, and of those above and below. here[-1] and here[count] are
// read.
struct Differences {
  const int32_t* above;
  const int32_t* here;
  const int32_t* below;
};

// The kernels of one ISA. `luma` is in 1/512, less kMiddle; `block` is [16, 16].
struct Kernels {
  // Luma of some pixels, clamped.
  void (*luma_of_int16)(const int16_t* pixels, size_t count, int16_t* luma);
  void (*luma_of_float32)(const float* pixels, size_t count, int16_t* luma);
  // Sums over 4x4 pixels: a row of `count`.
  void (*shrink)(ConstRows luma, size_t count, int16_t* out);
  // Sums of absolute differences of a row of small blocks, 4x4 numbers each. Takes 8 blocks at a time.
  void (*coarse_differences)(ConstRows blocks, ConstRows moved, size_t count, int32_t* out);
  // Replaces costs, in eighths, and the vectors that have them, where those of `vector` are less.
  void (*improve)(const Differences& differences, size_t count, int32_t price, int32_t vector, int32_t* costs,
                  int32_t* vectors);
  // The sum of absolute differences of a block and a moved one; of kWhole moved ones, one pixel apart.
  int32_t (*difference)(const int16_t* block, ConstRows moved);
  void (*differences)(const int16_t* block, ConstRows moved, int32_t* out);
  // Filters some rows of 16 numbers. Adds 32, so that the second filter rounds.
  void (*filter_rows)(ConstRows luma, int phase, size_t rows, int16_t* filtered);
  // `difference` to the block that rows filtered by `filter_rows` give, 21 of them, or, at phase 0, 16.
  int32_t (*difference_between)(const int16_t* block, const int16_t* filtered, int phase);
  // The block of a picture that has a fractional position in a window of 21x21 pixels.
  void (*move_int16)(Strided<const int16_t> window, int phase_y, int phase_x, Strided<int16_t> out);
  void (*move_uint16)(Strided<const uint16_t> window, int phase_y, int phase_x, Strided<uint16_t> out);
  void (*move_float32)(Strided<const float> window, int phase_y, int phase_x, Strided<float> out);
  // Real samples in 1/512, rounded to the nearest, halves to even. Takes 16 at a time.
  void (*to_int16)(const float* samples, size_t count, int16_t* out);
  // The sum of squared differences of two blocks [16, 16, 3], weighted by kErrorWeights.
  int32_t (*squared_error)(const int16_t* block, const int16_t* moved);
};

// Null where the processor lacks the ISA.
const Kernels* Avx2Kernels() noexcept;

// Pictures [count, height, width, 3] of blocks; of the two kinds of samples one is there.
struct Pixels {
  const int16_t* int16 = nullptr;
  const float* float32 = nullptr;
};

// Prices of vectors.
struct Prices {
  const int32_t* of_a_bit;  // [pictures], in absolute differences
  const int32_t* bits;      // [kBits]: estimated quarters of a bit of a component, by its difference from the expected
  int32_t surprise;         // quarters of a bit of motion where there was none
  int32_t still;            // neighbours of nine, for motion to be a surprise
};

// The vectors with which blocks of pictures are predicted best: steps 0..kSteps-1, one after the other; the items of a
// step in any order, or at once.
class Search {
 public:
  static constexpr size_t kSteps = 8;

  Search(const Kernels& kernels, const Shape& shape, const Pixels& pictures, const Pixels& references,
         const Prices& prices, Vector* result);

  size_t items(size_t step) const noexcept;
  void Run(size_t step, size_t item) noexcept;

 private:
  struct Place;

  // Arrays of a picture, one after the other, in `memory_`: blocks, the reference, and both in small.
  struct Layout {
    size_t reference, small, small_reference;                // strides
    size_t reference_at, small_at, small_reference_at, all;  // offsets of their (0, 0)
  };

  static Layout LayoutOf(const Shape& shape) noexcept;
  int16_t* Picture(size_t number) const noexcept { return memory_.get() + number * layout_.all; }
  void Prepare(size_t item) noexcept;
  void PrepareReference(size_t item) noexcept;
  void Load(const Pixels& pixels, size_t picture, size_t line, int16_t* luma) const noexcept;
  void Coarse(size_t band) noexcept;
  void Refine(size_t step, size_t row) noexcept;
  const Vector* Before(size_t step) const noexcept { return vectors_.get() + (step + 1) % 2 * blocks_; }
  Vector* After(size_t step) const noexcept {
    return step + 1 == kSteps ? result_ : vectors_.get() + step % 2 * blocks_;
  }
  void NearWhole(Place& place) const noexcept;
  void WholePixels(Place& place) const noexcept;
  void Between(Place& place, int step) const noexcept;
  void Near(Place& place) const noexcept;
  int32_t DifferenceOf(const Place& place, Vector vector) const noexcept;

  const Kernels& kernels_;
  const Shape shape_;
  const Pixels pictures_, references_;
  const Prices prices_;
  const Layout layout_;
  const size_t blocks_;
  const size_t bands_;  // of block rows of a picture, in the coarse search
  std::unique_ptr<int16_t[]> memory_;
  std::unique_ptr<Vector[]> vectors_;
  std::unique_ptr<int32_t[]> differences_;  // of every block, with its vector
  Vector* result_;
};

// Moves a block of a picture.
void MoveBlock(const Kernels& kernels, const Shape& shape, const int16_t* picture, size_t row, size_t column,
               Vector vector, Strided<int16_t> out) noexcept;
void MoveBlock(const Kernels& kernels, const Shape& shape, const uint16_t* picture, size_t row, size_t column,
               Vector vector, Strided<uint16_t> out) noexcept;
void MoveBlock(const Kernels& kernels, const Shape& shape, const float* picture, size_t row, size_t column,
               Vector vector, Strided<float> out) noexcept;

// Moves the blocks of a row of blocks of pictures.
void MoveRow(const Kernels& kernels, const Shape& shape, const int16_t* pictures, const Vector* vectors, size_t row,
             int16_t* out) noexcept;
void MoveRow(const Kernels& kernels, const Shape& shape, const uint16_t* pictures, const Vector* vectors, size_t row,
             uint16_t* out) noexcept;
void MoveRow(const Kernels& kernels, const Shape& shape, const float* pictures, const Vector* vectors, size_t row,
             float* out) noexcept;

// The gradient of a picture, from g, that of the moved one.
void GradientOfMoved(const Shape& shape, const float* pictures, const Vector* vectors, const float* g, size_t number,
                     float* of_pictures) noexcept;

}  // namespace nvc::motion

#endif  // NVC_MOTION_H_
