// The kernels of float32.h, written once for all ISAs. The including file defines NVC_TARGET, NVC_INLINE, kRows, kLanes
// and Vector, a register of kLanes numbers, with its operations.

// 2^f on -0.5..0.5, to a relative 1e-7.
constexpr float kExp2[] = {1.0F, 0.693147004F, 0.240222424F, 0.0555073358F, 0.00967151299F, 0.00132647273F};

// 1 + 2^t with t = -4 log2(e) x, whose factor has two parts: the reciprocal of sigmoid(4x). |t| is limited to 126, so
// that of a number below -21.8 a factor of 2^-126 is left.
NVC_INLINE Vector OnePlusPower(Vector x) {
  const Vector limited = Min(Max(x, Set(-21.8F)), Set(21.8F)), factor = Set(-5.77078009F);
  const Vector whole = Round(Mul(limited, factor));
  const Vector f = MulAdd(limited, Set(-7.70385213e-08F), MulAdd(limited, factor, Sub(Set(0.0F), whole)));
  Vector p = Set(kExp2[5]);
  for (size_t i = 5; i-- > 0;) p = MulAdd(p, f, Set(kExp2[i]));
  return Add(Set(1.0F), TimesPower(p, whole));
}

NVC_INLINE Vector Wsilu(Vector x) { return Div(x, OnePlusPower(x)); }

// Adds the products of kCount rows of x and kVectors vectors of y, over `count` inputs; a row's numbers are `x_step`
// apart, and y's vectors `y_step`.
template <size_t kVectors, size_t kCount>
NVC_INLINE void Accumulate(ConstRows x, size_t x_step, const float* y, size_t y_step, size_t count,
                           Vector (&sums)[kCount][kVectors]) {
  const float* row[(kCount + 2) / 3];  // every third: a pointer per row would spill
  for (size_t i = 0; i < (kCount + 2) / 3; ++i) row[i] = x.data + 3 * i * x.stride;
  for (size_t k = 0; k < count; ++k) {
    Vector vectors[kVectors];
    for (size_t v = 0; v < kVectors; ++v) vectors[v] = Load(y + v * kLanes);
    for (size_t r = 0; r < kCount; ++r) {
      const Vector number = Set(row[r / 3][r % 3 * x.stride]);
      for (size_t v = 0; v < kVectors; ++v) sums[r][v] = MulAdd(number, vectors[v], sums[r][v]);
    }
    for (const float*& next : row) next += x_step;
    y += y_step;
  }
}

template <size_t kVectors, size_t kCount>
NVC_INLINE void AddProducts(ConstRows x, const float* weights, size_t step, size_t count,
                            Vector (&sums)[kCount][kVectors]) {
  Accumulate(x, 1, weights, step, count, sums);
}

#include "floating_kernels.inl"

// Adds the products of kCount numbers from x on in each row with a panel [rows, kPanel] to `sums`, `valid` columns.
template <size_t kCount>
NVC_TARGET void OuterTile(ConstRows x, const float* panel, size_t valid, size_t rows, Rows sums) {
  constexpr size_t kVectors = 2;
  for (size_t start = 0; start < valid; start += kVectors * kLanes) {
    Vector totals[kCount][kVectors];
    for (size_t i = 0; i < kCount; ++i) {
      for (size_t v = 0; v < kVectors; ++v) totals[i][v] = Set(0.0F);
    }
    Accumulate({x.data, 1}, x.stride, panel + start, kPanel, rows, totals);
    for (size_t i = 0; i < kCount; ++i) {
      for (size_t v = 0; v < kVectors; ++v) {
        const size_t column = start + v * kLanes;
        if (column >= valid) break;
        float* const to = sums.data + i * sums.stride + column;
        const size_t count = std::min(valid - column, kLanes);
        StoreFirst(to, Add(LoadFirst(to, count), totals[i][v]), count);
      }
    }
  }
}

NVC_TARGET void AccumulateProducts(ConstRows x, size_t inputs, ConstRows y, size_t outputs, size_t rows, Rows sums) {
  constexpr size_t kMost = 96;
  float panel[kMost * kPanel];  // of y: its own rows may all fall into the same sets of a cache
  for (; rows > 0; rows -= std::min(rows, kMost), x.data += kMost * x.stride, y.data += kMost * y.stride) {
    const size_t count = std::min(rows, kMost);
    for (size_t start = 0; start < outputs; start += kPanel) {
      const size_t valid = std::min(kPanel, outputs - start);
      for (size_t r = 0; r < count; ++r) {
        const float* const from = y.data + r * y.stride + start;
        std::fill(std::copy_n(from, valid, panel + r * kPanel), panel + (r + 1) * kPanel, 0.0F);
      }
      size_t i = 0;
      const auto next = [&](auto tile, size_t tile_rows) {
        tile({x.data + i, x.stride}, panel, valid, count, {sums.data + i * sums.stride + start, sums.stride});
        i += tile_rows;
      };
      while (i + kRows <= inputs) next(OuterTile<kRows>, kRows);
      while (i + 4 <= inputs) next(OuterTile<4>, 4);
      while (i < inputs) next(OuterTile<1>, 1);
    }
  }
}

// Numbers of a row of x; `column` is one to the right of theirs. Zero outside of the picture.
NVC_INLINE Vector NumbersAt(const Around& x, size_t row, size_t column, size_t channels, size_t channel, size_t valid) {
  const bool inside = column > 0 && column <= x.width;
  return inside ? LoadFirst(x.rows[row] + (column - 1) * channels + channel, valid) : Set(0.0F);
}

NVC_TARGET void AccumulateTaps(const Around& x, const float* y, size_t channels, float* sums) {
  for (size_t channel = 0; channel < channels; channel += kLanes) {
    const size_t valid = std::min(kLanes, channels - channel);
    for (size_t row = 0; row < 3; ++row) {
      Vector totals[3];
      for (size_t t = 0; t < 3; ++t) totals[t] = LoadFirst(sums + (3 * row + t) * channels + channel, valid);
      Vector left = NumbersAt(x, row, x.first, channels, channel, valid);
      Vector middle = NumbersAt(x, row, x.first + 1, channels, channel, valid);
      for (size_t i = 0; i < x.count; ++i) {
        const Vector right = NumbersAt(x, row, x.first + i + 2, channels, channel, valid);
        const Vector factor = LoadFirst(y + i * channels + channel, valid);
        totals[0] = MulAdd(left, factor, totals[0]);
        totals[1] = MulAdd(middle, factor, totals[1]);
        totals[2] = MulAdd(right, factor, totals[2]);
        left = middle;
        middle = right;
      }
      for (size_t t = 0; t < 3; ++t) StoreFirst(sums + (3 * row + t) * channels + channel, totals[t], valid);
    }
  }
}

NVC_TARGET void Activate(const float* x, size_t count, bool add, float* value, float* slope) {
  for (size_t i = 0; i < count; i += kLanes) {
    const size_t valid = std::min(kLanes, count - i);
    const Vector number = LoadFirst(x + i, valid);
    Vector product;
    if (slope == nullptr) {
      product = Wsilu(number);
    } else {
      const Vector sigmoid = Div(Set(1.0F), OnePlusPower(number));
      product = Mul(number, sigmoid);
      const Vector rest = MulAdd(Set(-4.0F), product, Mul(Set(4.0F), number));
      StoreFirst(slope + i, MulAdd(sigmoid, rest, sigmoid), valid);  // sigmoid (1 + 4x (1 - sigmoid))
    }
    if (value != nullptr) StoreFirst(value + i, add ? Add(product, LoadFirst(value + i, valid)) : product, valid);
  }
}

NVC_TARGET void Scale(float* x, const float* y, size_t count) {
  for (size_t i = 0; i < count; i += kLanes) {
    const size_t valid = std::min(kLanes, count - i);
    StoreFirst(x + i, Mul(LoadFirst(x + i, valid), LoadFirst(y + i, valid)), valid);
  }
}
