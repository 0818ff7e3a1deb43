// Rows of numbers, and pictures as rows of numbers: one row for each position.
#ifndef NVC_STRIDED_H_
#define NVC_STRIDED_H_

#include <algorithm>
#include <cstddef>

namespace nvc {

// Rows whose beginnings are `stride` numbers apart.
template <class Number>
struct Strided {
  Number* data;
  size_t stride;
};

// [pictures, height, width, channels]
template <class Number>
struct Pictures {
  const Number* data;
  size_t height;
  size_t width;
  size_t channels;
};

// Columns of a row of a picture with their halo of one position.
template <class Number>
struct Neighbourhood {
  const Number* rows[3];  // above, at and below it, [width, channels]
  size_t width;
  size_t first;  // column
  size_t count;

  // The columns with their halo, within the picture: begin()..end()-1.
  size_t begin() const noexcept { return first == 0 ? 0 : first - 1; }
  size_t end() const noexcept { return std::min(first + count + 1, width); }
};

// Filters `count` positions from `first` on by calls of filter(neighbourhood, out). `zeros` is as long as a row.
template <class Number, class Filter>
void FilterPositions(const Pictures<Number>& x, const Number* zeros, size_t first, size_t count, Number* out,
                     const Filter& filter) {
  const size_t length = x.width * x.channels;
  for (size_t done = 0; done < count;) {
    const size_t line = (first + done) / x.width, column = (first + done) % x.width, row = line % x.height;
    const size_t columns = std::min(x.width - column, count - done);
    const Number* const here = x.data + line * length;
    const Number* const above = row == 0 ? zeros : here - length;
    const Number* const below = row + 1 == x.height ? zeros : here + length;
    filter(Neighbourhood<Number>{{above, here, below}, x.width, column, columns}, out + done * x.channels);
    done += columns;
  }
}

// Copies the 3x3 patches under `count` positions of a convolution, [count, 3, 3, channels]; zeros outside of pictures.
template <class Number>
void CopyPatches(const Pictures<Number>& x, size_t stride, size_t first, size_t count, Number* out) {
  const size_t height = x.height / stride, width = x.width / stride, line = 3 * x.channels;
  for (size_t position = first; position < first + count; ++position) {
    const size_t picture = position / (height * width), column = position % width * stride;
    const size_t row = position / width % height * stride;
    const size_t skipped = column == 0 ? 1 : 0, from = column + skipped - 1, to = std::min(column + 2, x.width);
    for (size_t i = 0; i < 3; ++i, out += line) {
      if (row + i == 0 || row + i > x.height) {
        std::fill_n(out, line, Number{});
        continue;
      }
      const Number* const source = x.data + ((picture * x.height + row + i - 1) * x.width + from) * x.channels;
      Number* const end =
          std::copy_n(source, (to - from) * x.channels, std::fill_n(out, skipped * x.channels, Number{}));
      std::fill(end, out + line, Number{});
    }
  }
}

}  // namespace nvc

#endif  // NVC_STRIDED_H_
