// Shared by the dialects: the lists of symbols that callers hand over, compaction of the coded ones, and threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <system_error>
#include <thread>
#include <vector>

#include "tables.h"

namespace nvc {

inline constexpr size_t kThreadedSymbols = 16384;  // below, starting a thread takes longer than it saves

// One table row per symbol: first_row + index. The largest value of the type means: not coded, the symbol is 0.
struct Indexes {
  const void* data = nullptr;  // uint8_t or uint16_t
  bool wide = false;           // uint16_t
  size_t size = 0;
  size_t first_row = 0;
};

// Symbols that are coded with one table.
struct Segment {
  const CdfTable* table = nullptr;
  const int8_t* symbols = nullptr;  // indexes.size of them
  Indexes indexes;
};

enum class Status { kOk, kTruncated, kBadHeader, kBadSymbol, kBadEnd, kBadIndex };

template <class Index>
inline constexpr Index kSkip = std::numeric_limits<Index>::max();

struct Compacted {
  size_t count;
  uint32_t last;  // the largest index of the coded
};

// Stores pack(index, i) for each coded i in entries, which has room for all size of them.
template <class Index, class Entry, class Pack>
Compacted Compact(const Index* indexes, size_t size, Entry* entries, Pack pack) noexcept {
  constexpr size_t kAtOnce = 4;  // compilers unroll that
  size_t count = 0;
  const auto take = [&](size_t i) {
    entries[count] = pack(indexes[i], i);
    count += indexes[i] != kSkip<Index>;
  };
  size_t i = 0;
  for (; i + kAtOnce <= size; i += kAtOnce) {
    for (size_t k = 0; k < kAtOnce; ++k) take(i + k);
  }
  for (; i < size; ++i) take(i);
  Index last = 0;  // and 1 more; a loop of its own, which compilers vectorise
  for (i = 0; i < size; ++i) last = std::max(last, static_cast<Index>(indexes[i] + 1));
  return {count, last == 0 ? 0u : last - 1u};
}

// Inverse of Compact: puts the next of the compact symbols at each coded i, 0 elsewhere. compact has room for one more.
template <class Index>
void Spread(const Index* indexes, size_t size, const int8_t* compact, int8_t* symbols) noexcept {
  for (size_t i = 0; i < size; ++i) {
    const int coded = indexes[i] != kSkip<Index>;
    symbols[i] = static_cast<int8_t>(*compact & -coded);
    compact += coded;
  }
}

// Runs work(0) .. work(jobs - 1) on up to `threads` threads, this one included. work must not throw.
template <class Work>
void RunJobs(int threads, size_t jobs, const Work& work) {
  std::atomic<size_t> next{0};
  const auto run = [&] {
    for (size_t job = next++; job < jobs; job = next++) work(job);
  };
  const size_t wanted = std::min(static_cast<size_t>(threads), jobs);
  std::vector<std::thread> helpers;
  helpers.reserve(wanted);
  try {
    while (helpers.size() + 1 < wanted) helpers.emplace_back(run);
  } catch (const std::system_error&) {  // no thread to be had: this one does it all, then
  }
  run();
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace nvc
