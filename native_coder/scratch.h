// Memory that a thread keeps for the next time.
#ifndef NVC_SCRATCH_H_
#define NVC_SCRATCH_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nvc {

// Thread-local memory for `count` numbers that begins at a cache line; one call per work item, as the next one for
// the same purpose returns the same memory.
template <class Number, class Purpose = void>
Number* Scratch(size_t count) {
  constexpr size_t kLine = 64;
  static_assert(kLine % sizeof(Number) == 0);
  thread_local std::vector<Number> memory;
  const size_t size = count + kLine / sizeof(Number) - 1;
  if (memory.size() < size) memory.resize(size);
  const size_t beyond = reinterpret_cast<uintptr_t>(memory.data()) % kLine;
  return memory.data() + (kLine - beyond) % kLine / sizeof(Number);
}

}  // namespace nvc

#endif  // NVC_SCRATCH_H_
