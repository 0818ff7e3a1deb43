// Splits the rows of pictures among 1 to 16 threads that take one work item after the other, and compares the rows of
// the busiest thread with the mean.
#include "split.h"

#include <cstdio>
#include <functional>
#include <queue>
#include <vector>

namespace {

using nvc::kUnitRows;
using nvc::Split;

// The rows of the thread that ends last; 0 if the items are no division of the rows.
size_t Busiest(size_t rows, size_t most, size_t threads, size_t unit = kUnitRows) {
  const Split split(rows, most, threads, unit);
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> taken(std::greater<>(),
                                                                         std::vector<size_t>(threads, 0));
  size_t end = 0, busiest = 0;
  for (size_t i = 0; i < split.items(); ++i) {
    const size_t first = split.first(i), next = split.first(i + 1), thread = taken.top() + next - first;
    if (first != end || next <= first || next - first > (most + unit - 1) / unit * unit) return 0;
    taken.pop();
    taken.push(thread);
    busiest = thread > busiest ? thread : busiest;
    end = next;
  }
  return end == rows ? busiest : 0;
}

bool Splits(size_t width, size_t height) {
  for (const size_t scale : {8, 16, 32, 64}) {
    const size_t rows = (width + scale - 1) / scale * ((height + scale - 1) / scale);
    for (const size_t most : {96, 24}) {
      for (size_t threads = 1; threads <= 16; ++threads) {
        const size_t busiest = Busiest(rows, most, threads), mean = (rows + threads - 1) / threads;
        // No thread has a unit more than its part, and where 99 of 100 products are, none has 15 % more.
        const size_t limit = (mean + kUnitRows - 1) / kUnitRows * kUnitRows + kUnitRows;
        if (busiest == 0 || busiest > limit || (scale <= 16 && 100 * busiest > 115 * mean)) {
          std::printf("%zu rows of %zux%zu among %zu threads: the busiest has %zu, the mean is %zu\n", rows, width,
                      height, threads, busiest, mean);
          return false;
        }
      }
    }
  }
  return true;
}

}  // namespace

int main() {
  for (size_t rows = 0; rows < 2000; ++rows) {
    for (const size_t threads : {1, 2, 3, 16, 64}) {
      if (Busiest(rows, 96, threads) < (rows + threads - 1) / threads) return 1;
    }
  }
  for (size_t rows = 1; rows < 4000; ++rows) {  // tiles of AMX
    for (size_t threads = 1; threads <= 16; ++threads) {
      if (Busiest(rows, 24, threads, 16) > (rows + threads - 1) / threads + 2 * 16 - 1) return 1;
      if (Busiest(rows, 96, threads, 16) < (rows + threads - 1) / threads) return 1;
    }
  }
  if (Busiest(0, 96, 4) != 0 || !Splits(352, 288) || !Splits(1920, 1088)) return 1;
  std::printf("work is split evenly\n");
}
