// Pictures of blocks of 16x16 pixels.
#ifndef NVC_BLOCKS_H_
#define NVC_BLOCKS_H_

#include <cstddef>
#include <cstdint>

namespace nvc {

constexpr size_t kBlock = 16;    // pixels
constexpr size_t kChannels = 3;  // of a picture
constexpr int kScale = 512;      // samples are in 1/512,
constexpr int kFineScale = 4096;  // fine ones, uint16, in 1/4096

// [count, height, width, 3]
struct Shape {
  size_t count;
  size_t height;
  size_t width;

  size_t rows() const noexcept { return height / kBlock; }
  size_t columns() const noexcept { return width / kBlock; }
};

// No pictures for sides that are not those of pictures of blocks.
template <class Sides>
Shape ShapeOf(const Sides& sides) {
  if (sides.size() != 4 || sides[3] != int64_t{kChannels} || sides[1] % int64_t{kBlock} != 0 ||
      sides[2] % int64_t{kBlock} != 0) {
    return {};
  }
  return {static_cast<size_t>(sides[0]), static_cast<size_t>(sides[1]), static_cast<size_t>(sides[2])};
}

}  // namespace nvc

#endif  // NVC_BLOCKS_H_
