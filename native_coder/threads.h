// Work items on the threads of XLA.
#ifndef NVC_THREADS_H_
#define NVC_THREADS_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "demands.h"
#include "scratch.h"
#include "xla/ffi/api/ffi.h"

namespace nvc {

constexpr size_t kMostRows = 96;     // of a work item: their FFN middle of up to 4C numbers stays in a core's cache
constexpr size_t kMostPatches = 24;  // they are nine times as long

// Calls work(i) for i in 0..count-1. The caller takes part, so that it never waits for work that no thread has begun.
template <class Work>
void ForEach(xla::ffi::ThreadPool& pool, size_t count, const Work& work) {
  struct State {
    std::atomic<size_t> next{0};
    std::mutex mutex;
    std::condition_variable changed;
    size_t done = 0;
  };
  const auto state = std::make_shared<State>();
  auto run = [state, count, &work]() noexcept {
    size_t mine = 0;
    for (size_t i; (i = state->next.fetch_add(1)) < count; ++mine) work(i);
    if (mine == 0) return;  // `work` may be gone
    const std::lock_guard lock(state->mutex);
    state->done += mine;
    if (state->done == count) state->changed.notify_all();
  };
  const size_t threads = std::min<size_t>(count, static_cast<size_t>(std::max<int64_t>(pool.num_threads(), 1)));
  for (size_t i = 1; i < threads; ++i) pool.Schedule(decltype(run)(run));
  run();
  std::unique_lock lock(state->mutex);
  state->changed.wait(lock, [&] { return state->done == count; });
}

// Calls work(first, count) for work items of about `most` of `rows` rows at most, balanced over the threads, which may
// call the kernels that have the demands.
template <class Work>
void ForEachItem(xla::ffi::ThreadPool& pool, const Demands& demands, size_t rows, size_t most, const Work& work) {
  const Split split(rows, most, static_cast<size_t>(std::max<int64_t>(pool.num_threads(), 1)), demands.rows);
  ForEach(pool, split.items(), [&](size_t i) noexcept {
    const Session session(demands);
    const size_t first = split.first(i);
    work(first, split.first(i + 1) - first);
  });
}

}  // namespace nvc

#endif  // NVC_THREADS_H_
