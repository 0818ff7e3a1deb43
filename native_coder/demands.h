// Demands of kernels on those who call them.
#ifndef NVC_DEMANDS_H_
#define NVC_DEMANDS_H_

#include <cstddef>

#include "split.h"

namespace nvc {

struct Demands {
  size_t inputs;                       // weights are padded to a multiple of so many inputs
  size_t rows = kUnitRows;             // of the smallest tile that is as fast as the largest
  void (*begin)() noexcept = nullptr;  // on a thread, before it calls a kernel; null for none
  void (*end)() noexcept = nullptr;    // after the last call

  size_t padded(size_t count) const noexcept { return (count + inputs - 1) / inputs * inputs; }
};

// A time in which this thread may call the kernels.
class Session {
 public:
  explicit Session(const Demands& demands) noexcept : end_(demands.end) {
    if (demands.begin != nullptr) demands.begin();
  }
  ~Session() {
    if (end_ != nullptr) end_();
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

 private:
  void (*end_)() noexcept;
};

}  // namespace nvc

#endif  // NVC_DEMANDS_H_
