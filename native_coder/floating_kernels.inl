// The kernels of floating.h, written once for all precisions and ISAs. The including file defines NVC_TARGET,
// NVC_INLINE, kRows, kLanes, kSummed (inputs whose products are added up to one sum), Vector, a register of kLanes
// float32, with its operations, Wsilu, and AddProducts(x, weights, step, count, sums), which adds the products of rows
// of x and vectors of output channels over `count` inputs, whose weights are `step` numbers apart.
//
// A tile is kRows rows times two vectors: its accumulators fill three quarters of the registers.

#include "floating_epilogue.inl"

// kCount rows from `from` on, of kVectors vectors of channels from `first` on.
template <size_t kVectors, size_t kCount>
NVC_TARGET void Tile(const Kernel& kernel, const Number* weights, size_t step, size_t first, size_t from, ConstRows x,
                     Rows out, const Epilogue& epilogue) {
  size_t valid[kVectors];
  Vector sums[kCount][kVectors], totals[kCount][kVectors];
  for (size_t v = 0; v < kVectors; ++v) {
    const size_t channel = first + v * kLanes;
    valid[v] = channel < kernel.outputs ? std::min(kernel.outputs - channel, kLanes) : 0;
    const Vector start = LoadFirst(kernel.bias + channel, valid[v]);
    for (size_t r = 0; r < kCount; ++r) sums[r][v] = start;
  }
  const ConstRows rows{x.data + from * x.stride, x.stride};
  for (size_t begin = 0; begin < kernel.inputs; begin += kSummed) {
    if (begin > 0) {
      for (size_t r = 0; r < kCount; ++r) {
        for (size_t v = 0; v < kVectors; ++v) {
          totals[r][v] = begin == kSummed ? sums[r][v] : Add(totals[r][v], sums[r][v]);
          sums[r][v] = Set(0.0F);
        }
      }
    }
    const ConstRows part{rows.data + begin, rows.stride};
    AddProducts(part, weights + begin * step, step, std::min(kSummed, kernel.inputs - begin), sums);
  }
  for (size_t r = 0; r < kCount; ++r) {
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t channel = first + v * kLanes;
      const Vector result = kernel.inputs > kSummed ? Add(totals[r][v], sums[r][v]) : sums[r][v];
      Finish(result, epilogue, from + r, channel, valid[v], out);
    }
  }
}

// All rows of kVectors vectors of channels from `first` on.
template <size_t kVectors>
NVC_TARGET void Strip(const Kernel& kernel, const Number* weights, size_t step, size_t first, ConstRows x, size_t rows,
                      Rows out, const Epilogue& epilogue) {
  size_t row = 0;
  for (; row + kRows <= rows; row += kRows) Tile<kVectors, kRows>(kernel, weights, step, first, row, x, out, epilogue);
  for (; row + 4 <= rows; row += 4) Tile<kVectors, 4>(kernel, weights, step, first, row, x, out, epilogue);
  for (; row < rows; ++row) Tile<kVectors, 1>(kernel, weights, step, first, row, x, out, epilogue);
}

NVC_TARGET void Multiply(const Kernel& kernel, ConstRows x, size_t rows, Rows out, const Epilogue& epilogue) {
  const Number* panel = kernel.weights;
  for (size_t start = 0; start < kernel.outputs; start += kPanel) {
    const size_t channels = std::min(kPanel, Kernel::padded(kernel.outputs) - start);
    for (size_t i = 0; i < channels && start + i < kernel.outputs; i += 2 * kLanes) {
      if (channels - i >= 2 * kLanes) {
        Strip<2>(kernel, panel + i * kGroup, channels, start + i, x, rows, out, epilogue);
      } else {
        Strip<1>(kernel, panel + i * kGroup, channels, start + i, x, rows, out, epilogue);
      }
    }
    panel += (kernel.inputs + kGroup - 1) / kGroup * kGroup * channels;
  }
}

// kCount columns of a row through the taps, from `first` of x on.
template <size_t kCount>
NVC_TARGET void FilterColumns(const Taps& taps, const Around& x, size_t first, Number* out) {
  const size_t channels = taps.channels;
  const Number* at[3][kCount + 2];  // null outside of the picture
  for (size_t row = 0; row < 3; ++row) {
    for (size_t i = 0; i < kCount + 2; ++i) {
      const size_t column = x.first + first + i;  // one to the right
      at[row][i] = column == 0 || column > x.width ? nullptr : x.rows[row] + (column - 1) * channels;
    }
  }
  for (size_t channel = 0; channel < channels; channel += kLanes) {
    const size_t valid = std::min(kLanes, channels - channel);
    Vector sums[kCount];
    for (Vector& sum : sums) sum = LoadFirst(taps.bias + channel, valid);
    for (size_t row = 0; row < 3; ++row) {
      Vector numbers[kCount + 2];
      for (size_t i = 0; i < kCount + 2; ++i) {
        numbers[i] = at[row][i] == nullptr ? Set(0.0F) : LoadFirst(at[row][i] + channel, valid);
      }
      for (size_t t = 0; t < 3; ++t) {
        const Vector weights = LoadFirst(taps.weights + (3 * row + t) * channels + channel, valid);
        for (size_t i = 0; i < kCount; ++i) sums[i] = MulAdd(numbers[i + t], weights, sums[i]);
      }
    }
    for (size_t i = 0; i < kCount; ++i) StoreFirst(out + (first + i) * channels + channel, sums[i], valid);
  }
}

NVC_TARGET void Depthwise(const Taps& taps, const Around& x, Number* out) {
  size_t done = 0;
  for (; done + 4 <= x.count; done += 4) FilterColumns<4>(taps, x, done, out);
  for (; done < x.count; ++done) FilterColumns<1>(taps, x, done, out);
}
