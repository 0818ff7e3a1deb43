// The kernels of float32.h, written once for all ISAs. The including file defines NVC_TARGET, NVC_INLINE, kRows, kLanes
// and Vector, a register of kLanes numbers, with its operations.
//
// A tile is kRows rows times two vectors: its accumulators fill three quarters of the registers.

// 2^f on -0.5..0.5, to a relative 1e-7.
constexpr float kExp2[] = {1.0F, 0.693147004F, 0.240222424F, 0.0555073358F, 0.00967151299F, 0.00132647273F};

// x sigmoid(4x) = x / (1 + 2^t) with t = -4 log2(e) x, whose factor has two parts; |t| is limited to 126, so that of a
// number below -21.8 a factor of 2^-126 is left.
NVC_INLINE Vector Wsilu(Vector x) {
  const Vector limited = Min(Max(x, Set(-21.8F)), Set(21.8F)), factor = Set(-5.77078009F);
  const Vector whole = Round(Mul(limited, factor));
  const Vector f = MulAdd(limited, Set(-7.70385213e-08F), MulAdd(limited, factor, Sub(Set(0.0F), whole)));
  Vector p = Set(kExp2[5]);
  for (size_t i = 5; i-- > 0;) p = MulAdd(p, f, Set(kExp2[i]));
  return Div(x, Add(Set(1.0F), TimesPower(p, whole)));
}

// Accumulates the products of inputs from..to-1; `step` is the stride of the weights from one input to the next.
template <size_t kVectors, size_t kCount>
NVC_INLINE void Accumulate(const float* weights, size_t step, ConstRows x, size_t from, size_t to,
                           Vector (&sums)[kCount][kVectors]) {
  const float* row[(kCount + 2) / 3];  // every third: a pointer per row would spill
  for (size_t i = 0; i < (kCount + 2) / 3; ++i) row[i] = x.data + 3 * i * x.stride + from;
  const float* w = weights + from * step;
  for (size_t k = from; k < to; ++k) {
    Vector vectors[kVectors];
    for (size_t v = 0; v < kVectors; ++v) vectors[v] = Load(w + v * kLanes);
    for (size_t r = 0; r < kCount; ++r) {
      const Vector number = Set(row[r / 3][r % 3 * x.stride]);
      for (size_t v = 0; v < kVectors; ++v) sums[r][v] = MulAdd(number, vectors[v], sums[r][v]);
    }
    for (const float*& next : row) ++next;
    w += step;
  }
}

// kCount rows from `from` on, of kVectors vectors of channels from `first` on.
template <size_t kVectors, size_t kCount>
NVC_TARGET void Tile(const Kernel& kernel, const float* weights, size_t step, size_t first, size_t from, ConstRows x,
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
    Accumulate(weights, step, rows, begin, std::min(begin + kSummed, kernel.inputs), sums);
  }
  for (size_t r = 0; r < kCount; ++r) {
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t channel = first + v * kLanes;
      Vector result = kernel.inputs > kSummed ? Add(totals[r][v], sums[r][v]) : sums[r][v];
      if (epilogue.wsilu) result = Wsilu(result);
      for (const ConstRows& plus : epilogue.plus) {
        if (plus.data == nullptr) continue;
        result = Add(result, LoadFirst(plus.data + (from + r) * plus.stride + channel, valid[v]));
      }
      StoreFirst(out.data + (from + r) * out.stride + channel, result, valid[v]);
    }
  }
}

// All rows of kVectors vectors of channels from `first` on.
template <size_t kVectors>
NVC_TARGET void Strip(const Kernel& kernel, const float* weights, size_t step, size_t first, ConstRows x, size_t rows,
                      Rows out, const Epilogue& epilogue) {
  size_t row = 0;
  for (; row + kRows <= rows; row += kRows) Tile<kVectors, kRows>(kernel, weights, step, first, row, x, out, epilogue);
  for (; row + 4 <= rows; row += 4) Tile<kVectors, 4>(kernel, weights, step, first, row, x, out, epilogue);
  for (; row < rows; ++row) Tile<kVectors, 1>(kernel, weights, step, first, row, x, out, epilogue);
}

NVC_TARGET void Multiply(const Kernel& kernel, ConstRows x, size_t rows, Rows out, const Epilogue& epilogue) {
  const float* panel = kernel.weights;
  for (size_t start = 0; start < kernel.outputs; start += kPanel) {
    const size_t channels = std::min(kPanel, Kernel::padded(kernel.outputs) - start);
    for (size_t i = 0; i < channels && start + i < kernel.outputs; i += 2 * kLanes) {
      if (channels - i >= 2 * kLanes) {
        Strip<2>(kernel, panel + i, channels, start + i, x, rows, out, epilogue);
      } else {
        Strip<1>(kernel, panel + i, channels, start + i, x, rows, out, epilogue);
      }
    }
    panel += kernel.inputs * channels;
  }
}

// kCount columns of a row through the taps, from `first` of x on.
template <size_t kCount>
NVC_TARGET void FilterColumns(const Taps& taps, const Around& x, size_t first, float* out) {
  const size_t channels = taps.channels;
  const float* at[3][kCount + 2];  // null outside of the picture
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

NVC_TARGET void Depthwise(const Taps& taps, const Around& x, float* out) {
  size_t done = 0;
  for (; done + 4 <= x.count; done += 4) FilterColumns<4>(taps, x, done, out);
  for (; done < x.count; ++done) FilterColumns<1>(taps, x, done, out);
}
