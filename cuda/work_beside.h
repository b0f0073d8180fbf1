#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace normtune::cuda {

/// Work on a second stream of a device, beside the main stream. Memory that it reads is given back only after
/// the main stream has waited for the work: from then on the order of the main stream is enough again. So
/// that not too much is kept, the main stream waits for the oldest work where a fourth comes. `SideStream` is
///
///   void run(size_t slot, std::function<void()> work);
///                             // does the work after all that the main stream has been given so far, and
///                             // after the work before it
///   void wait(size_t slot);   // lets the main stream go on only when the slot's last work is done
template <typename SideStream>
class WorkBeside {
 public:
  static constexpr size_t most_pending = 3;

  explicit WorkBeside(SideStream stream) : stream_(std::move(stream)) {}

  void run(std::vector<Tensor> reads, std::function<void()> work) {
    if (pending_.size() == most_pending) {
      stream_.wait(pending_.front().slot);
      pending_.pop_front();
    }
    const size_t slot = num_begun_++ % most_pending;
    stream_.run(slot, std::move(work));
    pending_.push_back({slot, std::move(reads)});  // if it throws there is nothing to wait for
  }

  /// What the main stream is given from now on comes after all work here.
  void join() {
    if (pending_.empty()) return;
    stream_.wait(pending_.back().slot);
    pending_.clear();
  }

  /// Forgets work that nobody has waited for, nor can: it was part of a capture that failed.
  void forget() { pending_.clear(); }

 private:
  struct Pending {
    size_t slot;
    std::vector<Tensor> reads;
  };

  SideStream stream_;
  std::deque<Pending> pending_;  // the oldest first
  uint64_t num_begun_ = 0;
};

}  // namespace normtune::cuda
