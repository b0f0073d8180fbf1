#include "tensor/copies_on_host.h"

#include <cstring>

namespace normtune {

CopiesOnHost::CopiesOnHost(const std::vector<Tensor>& tensors) {
  if (tensors.empty()) return;
  size_t num_bytes = 0;
  for (const Tensor& tensor : tensors) num_bytes += tensor.nbytes();
  const Device device = tensors.front().device();
  Backend& backend = backend_of(device);
  const Storage gathered(num_bytes, device);
  auto* place = static_cast<std::byte*>(gathered.data());
  for (const Tensor& tensor : tensors) {
    check(tensor.device() == device, "CopiesOnHost: expected tensors on one device, found {} and {}",
          to_string(device), to_string(tensor.device()));
    backend.copy(place, tensor.raw_data(), tensor.nbytes());
    place += tensor.nbytes();
    forms_.emplace_back(tensor.shape(), tensor.dtype());
  }
  copy_ = backend.copy_to_host_later(gathered.data(), num_bytes);
}

std::vector<Tensor> CopiesOnHost::wait() const {
  std::vector<Tensor> copies;
  const std::byte* from = copy_ == nullptr ? nullptr : copy_->wait();
  for (const auto& [shape, dtype] : forms_) {
    const Tensor& copy = copies.emplace_back(Tensor::empty(shape, dtype));
    if (copy.numel() > 0) std::memcpy(copy.raw_data(), from, copy.nbytes());
    from += copy.nbytes();
  }
  return copies;
}

}  // namespace normtune
