#include "tests/cuda/stand_in/streams.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "tensor/philox.h"
#include "tests/cuda/emulated_backend.h"
#include "tests/cuda/stand_in/capture.h"
#include "tests/cuda/stand_in/machine.h"
#include "tests/cuda/stand_in/memory.h"

namespace normtune::stand_in {

namespace {

std::vector<CUstream_st*>& streams() {
  static auto& streams = *new std::vector<CUstream_st*>;
  return streams;
}

/// What the host has waited for comes before whatever it enqueues.
Clock& host_clock() {
  static auto& clock = *new Clock;
  return clock;
}

enum class Policy { late, others_early, first_early, random };

uint64_t order() {
  static const char* text = std::getenv("NORMTUNE_TEST_ORDER");
  if (emulator::order() != 0) return emulator::order();
  return text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
}

Policy policy() {
  if (order() == 0) return Policy::late;
  return order() % 3 == 1 ? Policy::others_early : order() % 3 == 2 ? Policy::first_early : Policy::random;
}

uint64_t random_number() {
  static uint64_t drawn = 0;
  return mix64(mix64(order()) + drawn++);
}

bool is_ready(const CUstream_st& stream) {
  if (stream.pending.empty()) return false;
  const std::vector<OperationPtr>& after = stream.pending.front()->after;
  return std::ranges::all_of(after, [](const OperationPtr& earlier) { return earlier->is_done; });
}

void run(Operation& operation) {
  operation.is_done = true;
  operation.after.clear();
  if (const std::function<void()> work = std::exchange(operation.work, nullptr)) {
    const MemoryAccess access;
    work();
  }
  operation.when_done = std::chrono::steady_clock::now();
}

void run_front(CUstream_st& stream) {
  const OperationPtr operation = stream.pending.front();
  stream.pending.pop_front();
  run(*operation);
}

/// With all that it depends on, and nothing else.
void run_only_what_is_needed(const OperationPtr& operation) {
  std::vector<OperationPtr> needed{operation};
  while (!needed.empty()) {
    const OperationPtr next = needed.back();
    const auto earlier = std::ranges::find_if(next->after, [](const auto& other) { return !other->is_done; });
    if (earlier != next->after.end()) {
      needed.push_back(*earlier);
      continue;
    }
    if (!next->is_done) run_front(*streams()[next->stream]);
    needed.pop_back();
  }
}

void run_one_at_random() {
  std::vector<CUstream_st*> ready;
  for (CUstream_st* stream : streams()) {
    if (is_ready(*stream)) ready.push_back(stream);
  }
  if (!ready.empty()) run_front(*ready[random_number() % ready.size()]);
}

/// What the device does by itself while the host enqueues.
void run_meanwhile() {
  switch (policy()) {
    case Policy::late:
      break;
    case Policy::others_early:
    case Policy::first_early:
      for (CUstream_st* stream : streams()) {
        if ((stream->priority < 0) != (policy() == Policy::first_early)) continue;
        while (is_ready(*stream)) run_front(*stream);
      }
      break;
    case Policy::random:
      for (uint64_t i = random_number() % 3; i > 0; --i) run_one_at_random();
      break;
  }
}

cudaError_t note_in_capture(CUstream_st& stream, const OperationPtr& operation) {
  if (stream.capture->is_invalid) return cudaErrorStreamCaptureInvalidated;
  operation->after = stream.tail;
  stream.tail = {operation};
  stream.capture->operations.push_back(operation);
  return cudaSuccess;
}

void put_in_queue(CUstream_st& stream, const OperationPtr& operation) {
  if (stream.last != nullptr) operation->after.push_back(stream.last);
  operation->after.insert(operation->after.end(), stream.tail.begin(), stream.tail.end());
  operation->before.merge(host_clock());
  stream.tail.clear();
  stream.last = operation;
  stream.pending.push_back(operation);
}

}  // namespace

void Clock::raise(size_t stream, uint64_t number) {
  if (known_.size() <= stream) known_.resize(stream + 1);
  known_[stream] = std::max(known_[stream], number);
}

void Clock::merge(const Clock& other) {
  for (size_t stream = 0; stream < other.known_.size(); ++stream) raise(stream, other.known_[stream]);
}

bool comes_before(const Operation& first, const Operation& second) {
  return second.before.of(first.stream) >= first.number;
}

Enqueued enqueue(CUstream_st& stream, std::function<void()> work) {
  if (stream.device != current_device()) misuse("a stream of another device than the current one");
  const auto operation = std::make_shared<Operation>();
  operation->work = std::move(work);
  operation->stream = stream.index;
  operation->priority = stream.priority;
  operation->number = ++stream.num_enqueued;
  if (stream.capture != nullptr) {
    const cudaError_t error = note_in_capture(stream, operation);
    if (error != cudaSuccess) return {error, nullptr};
  } else {
    put_in_queue(stream, operation);
  }
  for (const OperationPtr& earlier : operation->after) operation->before.merge(earlier->before);
  operation->before.raise(stream.index, operation->number);
  if (stream.capture == nullptr) run_meanwhile();
  return {cudaSuccess, operation};
}

void run_towards(const OperationPtr& operation) {
  while (policy() == Policy::random && !operation->is_done) run_one_at_random();
  run_only_what_is_needed(operation);
}

void wait_for(const OperationPtr& operation) {
  if (operation == nullptr) return;
  run_towards(operation);
  host_clock().merge(operation->before);
}

void run_nodes(const std::vector<Node>& nodes) {
  std::vector<bool> is_done(nodes.size());
  const auto can_run = [&](size_t i) {
    return !is_done[i] && std::ranges::all_of(nodes[i].after, [&](size_t j) { return is_done[j]; });
  };
  for (size_t num_done = 0; num_done < nodes.size(); ++num_done) {
    std::vector<size_t> ready;
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (can_run(i)) ready.push_back(i);
    }
    const auto priority_of = [&](size_t i) { return nodes[i].priority; };
    size_t chosen = *std::ranges::min_element(ready, {}, priority_of);
    if (policy() == Policy::others_early) chosen = *std::ranges::max_element(ready, {}, priority_of);
    if (policy() == Policy::random) chosen = ready[random_number() % ready.size()];
    nodes[chosen].work();
    is_done[chosen] = true;
  }
}

}  // namespace normtune::stand_in

using namespace normtune::stand_in;

extern "C" cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority) {
  return call("cudaStreamCreateWithPriority", [&] {
    if (flags != cudaStreamNonBlocking) misuse("a stream that waits for the legacy stream");
    streams().push_back(
        new CUstream_st{.device = current_device(), .priority = priority, .index = streams().size()});
    *stream = streams().back();
    return cudaSuccess;
  });
}
