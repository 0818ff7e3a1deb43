// Memory that a thread keeps for the next time.
#ifndef NVC_SCRATCH_H_
#define NVC_SCRATCH_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nvc {

// Thread-local memory for `count` numbers; one call per work item, as the next one for the same purpose returns the
// same memory.
template <class Number, class Purpose = void>
Number* Scratch(size_t count) {
  thread_local std::vector<Number> memory;
  if (memory.size() < count) memory.resize(count);
  return memory.data();
}

// The same, `count` bytes that begin with a cache line.
template <class Purpose>
uint8_t* AlignedScratch(size_t count) {
  constexpr size_t kLine = 64;
  uint8_t* const bytes = Scratch<uint8_t, Purpose>(count + kLine - 1);
  return bytes + (kLine - reinterpret_cast<uintptr_t>(bytes) % kLine) % kLine;
}

}  // namespace nvc

#endif  // NVC_SCRATCH_H_
