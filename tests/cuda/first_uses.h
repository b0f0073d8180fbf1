#pragma once

#include <cstdint>
#include <set>

namespace normtune::emulator {

/// Kernels that are used for the first time in a capture: a device has to load them then, which not every one
/// can.
class FirstUses {
 public:
  void note(const void* kernel, bool is_captured) {
    if (used_.insert(kernel).second && is_captured) ++in_captures_;
  }
  /// Something else that a capture should not have to do, like choosing an algorithm.
  void note_in_capture() { ++in_captures_; }

  int64_t in_captures() const { return in_captures_; }
  void forget() { *this = {}; }

 private:
  std::set<const void*> used_;
  int64_t in_captures_ = 0;
};

}  // namespace normtune::emulator
