#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

// Streams as queues of operations. An operation may begin when the one before it in its stream is done, and
// what that stream was told to wait for; nothing else is promised. When it really runs is chosen by the order
// (emulator::set_order, or NORMTUNE_TEST_ORDER where that is 0):
//
//   0                  as late as allowed: when the host waits for it, or something that the host waits for
//   1, 4, 7, ...       streams of high priority as in 0, the others as early as allowed
//   2, 5, 8, ...       streams of high priority as early as allowed, the others as in 0
//   3, 6, 9, ...       a random stream's next operation, at random moments

namespace normtune::stand_in {

struct Capture;

/// How many operations of each stream are known to come before something.
class Clock {
 public:
  uint64_t of(size_t stream) const { return stream < known_.size() ? known_[stream] : 0; }
  void raise(size_t stream, uint64_t number);
  void merge(const Clock& other);

 private:
  std::vector<uint64_t> known_;
};

struct Operation {
  std::function<void()> work;  // may be empty
  std::vector<std::shared_ptr<Operation>> after;
  size_t stream = 0;
  int priority = 0;
  uint64_t number = 0;  // in its stream, from 1
  Clock before;         // what must be done by its end, itself included
  bool is_done = false;
  std::chrono::steady_clock::time_point when_done;
};
using OperationPtr = std::shared_ptr<Operation>;

/// Whether something orders `first` before `second`, or before all that is enqueued from now on.
bool comes_before(const Operation& first, const Operation& second);

/// Enqueues on a stream, or notes in its capture. `error` where the capture is no longer valid.
struct Enqueued {
  cudaError_t error = cudaSuccess;
  OperationPtr operation;
};
Enqueued enqueue(CUstream_st& stream, std::function<void()> work);

/// The host waits for an operation.
void wait_for(const OperationPtr& operation);
/// The device has the time to come to an operation, without the host knowing.
void run_towards(const OperationPtr& operation);

/// An order of a graph's nodes, each after those that it depends on, as the order wants it.
struct Node {
  std::function<void()> work;
  std::vector<size_t> after;  // nodes before it in the graph
  int priority;
};
void run_nodes(const std::vector<Node>& nodes);

}  // namespace normtune::stand_in

// CUDA's own names for what its handles point to.

struct CUstream_st {
  int device;
  int priority;
  size_t index;
  uint64_t num_enqueued = 0;
  std::deque<normtune::stand_in::OperationPtr> pending;  // the oldest first
  normtune::stand_in::OperationPtr last;                 // null before the first
  std::shared_ptr<normtune::stand_in::Capture> capture;  // null where the stream is not captured
  std::vector<normtune::stand_in::OperationPtr> tail;    // in a capture: what comes before the next operation
};

struct CUevent_st {
  int device;
  bool has_time;
  normtune::stand_in::OperationPtr recorded;             // null where it never was, or last in a capture
  std::shared_ptr<normtune::stand_in::Capture> capture;  // in which it was recorded last
  std::vector<normtune::stand_in::OperationPtr> tail;    // in a capture: what it stands for
};
