#include "cuda/late_copies.h"

#include <algorithm>

namespace normtune::cuda {

class LateCopies::CopyToPlace final : public LateCopy {
 public:
  CopyToPlace(LateCopies& owner, Place place) : owner_(owner), place_(place) {}
  /// A copy that is still to come is no harm: whoever gets the place next is later in the stream.
  ~CopyToPlace() override { owner_.give_back(place_); }
  CopyToPlace(const CopyToPlace&) = delete;
  CopyToPlace& operator=(const CopyToPlace&) = delete;

  bool is_there() override {
    const cudaError_t code = cudaEventQuery(place_.copied);
    if (code == cudaErrorNotReady) {
      cudaGetLastError();  // CUDA keeps it like an error
      return false;
    }
    check_cuda(code, "cudaEventQuery");
    return true;
  }
  const std::byte* wait() override {
    check_cuda(cudaEventSynchronize(place_.copied), "cudaEventSynchronize");
    return place_.memory;
  }
  const Place& place() const { return place_; }

 private:
  LateCopies& owner_;
  Place place_;
};

std::unique_ptr<LateCopy> LateCopies::copy(const void* device_source, size_t bytes) {
  const cudaStream_t on = stream_.use();
  auto copy = std::make_unique<CopyToPlace>(*this, take_place(bytes));
  const Place& place = copy->place();
  check_cuda(cudaMemcpyAsync(place.memory, device_source, bytes, cudaMemcpyDeviceToHost, on),
             "cudaMemcpyAsync");
  check_cuda(cudaEventRecord(place.copied, on), "cudaEventRecord");
  return copy;
}

/// A free place that is large enough, or a new one.
LateCopies::Place LateCopies::take_place(size_t bytes) {
  const std::scoped_lock lock(mutex_);
  const auto found =
      std::ranges::find_if(free_places_, [&](const Place& place) { return place.bytes >= bytes; });
  if (found != free_places_.end()) {
    const Place place = *found;
    free_places_.erase(found);
    return place;
  }
  constexpr size_t fewest_bytes = 4096;
  Place place{.bytes = std::max(bytes, fewest_bytes)};
  void* memory = nullptr;
  check_cuda(cudaHostAlloc(&memory, place.bytes, cudaHostAllocDefault), "cudaHostAlloc");
  place.memory = static_cast<std::byte*>(memory);
  place.copied = make_event();
  return place;
}

void LateCopies::give_back(Place place) {
  const std::scoped_lock lock(mutex_);
  free_places_.push_back(place);
}

}  // namespace normtune::cuda
