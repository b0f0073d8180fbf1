#include "tensor/tensor.h"

#include <algorithm>

#include "tensor/backend.h"

namespace normtune {

namespace {

Shape with_leading_dimension(const Shape& shape, int64_t size) {
  std::array<int64_t, Shape::max_rank> sizes{};
  std::copy(shape.begin(), shape.end(), sizes.begin());
  sizes[0] = size;
  return Shape(std::span<const int64_t>(sizes.data(), static_cast<size_t>(shape.rank())));
}

}  // namespace

Storage::Storage(size_t bytes, Device device) : bytes_(bytes), device_(device) {
  data_ = backend_of(device).allocator().allocate(bytes, born_zero_);
}

Storage::~Storage() {
  backend_of(device_).allocator().deallocate(data_, bytes_);
}

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  Tensor tensor;
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  tensor.storage_ = std::make_shared<Storage>(static_cast<size_t>(shape.numel()) * size_of(dtype), device);
  return tensor;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  // Values that nobody reads or writes then take no memory: the parameters of a model can be counted for
  // free.
  Tensor tensor = empty(shape, dtype, device);
  if (!tensor.storage_->born_zero()) tensor.fill(0);
  return tensor;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor tensor = empty(shape, dtype, device);
  tensor.fill(value);
  return tensor;
}

Tensor Tensor::from_host(const Shape& shape, DType dtype, const void* values, size_t count, Device device) {
  check(static_cast<int64_t>(count) == shape.numel(), "tensor: expected {} values for shape {}, found {}",
        shape.numel(), shape, count);
  Tensor tensor = empty(shape, dtype, device);
  tensor.backend().copy_from_host(tensor.raw_data(), values, tensor.nbytes());
  return tensor;
}

Device Tensor::device() const {
  check(defined(), "tensor: device() of an undefined tensor");
  return storage_->device();
}

Backend& Tensor::backend() const {
  return backend_of(device());
}

void* Tensor::raw_data() const {
  check(defined(), "tensor: raw_data() of an undefined tensor");
  return static_cast<std::byte*>(storage_->data()) + static_cast<size_t>(offset_) * size_of(dtype_);
}

Tensor Tensor::reshape(const Shape& shape) const {
  check(defined(), "tensor: reshape() of an undefined tensor");
  check(shape.numel() == numel(), "reshape: expected {} elements as in {}, found shape {}", numel(), shape_,
        shape);
  Tensor view = *this;
  view.shape_ = shape;
  return view;
}

Tensor Tensor::slice(int64_t begin, int64_t end) const {
  check(defined() && shape_.rank() > 0, "tensor: slice() needs a defined tensor with a leading dimension");
  check(0 <= begin && begin <= end && end <= size(0),
        "slice: [{}, {}) is not inside the leading dimension of {}", begin, end, shape_);
  int64_t row_size = 1;
  for (int dim = 1; dim < shape_.rank(); ++dim) row_size *= size(dim);
  Tensor view = *this;
  view.shape_ = with_leading_dimension(shape_, end - begin);
  view.offset_ += begin * row_size;
  return view;
}

Tensor Tensor::stacked(const std::vector<Tensor>& tensors) {
  Tensor all = tensors.at(0);
  int64_t elements = 0, rows = 0;
  for (const Tensor& tensor : tensors) {
    check(tensor.defined() && tensor.shape_.rank() > 0 && tensor.dtype_ == all.dtype_ &&
              with_leading_dimension(tensor.shape_, 1) == with_leading_dimension(all.shape_, 1),
          "stacked: expected tensors that differ in their leading dimension alone");
    if (tensor.storage_ != all.storage_ || tensor.offset_ != all.offset_ + elements) return {};
    elements += tensor.numel();
    rows += tensor.size(0);
  }
  all.shape_ = with_leading_dimension(all.shape_, rows);
  return all;
}

Tensor Tensor::clone() const {
  Tensor copy = empty(shape_, dtype_, device());
  copy.copy_from(*this);
  return copy;
}

Tensor Tensor::to(DType dtype) const {
  check(defined(), "tensor: to() of an undefined tensor");
  if (dtype == dtype_) return *this;
  check(is_floating(dtype_) && is_floating(dtype), "tensor: cannot convert {} to {}", to_string(dtype_),
        to_string(dtype));
  Tensor converted = empty(shape_, dtype, device());
  backend().convert(*this, converted);
  return converted;
}

Tensor Tensor::to(Device device) const {
  if (device == this->device()) return *this;
  Tensor moved = empty(shape_, dtype_, device);
  moved.copy_from(*this);
  return moved;
}

void Tensor::copy_to_host(DType dtype, void* values) const {
  check(defined() && dtype == dtype_, "tensor: expected {} elements, found {}", to_string(dtype),
        defined() ? to_string(dtype_) : "an undefined tensor");
  backend().copy_to_host(values, raw_data(), nbytes());
}

double Tensor::item() const {
  check(defined() && numel() == 1, "item: expected one element, found shape {}", shape_);
  switch (dtype_) {
    case DType::float32:
      return to_vector<float>()[0];
    case DType::float64:
      return to_vector<double>()[0];
    case DType::bfloat16:
      return static_cast<double>(static_cast<float>(to_vector<bfloat16>()[0]));
    case DType::uint8:
      return to_vector<uint8_t>()[0];
    case DType::int32:
      return to_vector<int32_t>()[0];
    case DType::int64:
      return static_cast<double>(to_vector<int64_t>()[0]);
  }
  return 0;
}

void Tensor::fill(double value) {
  backend().fill(*this, value);
}

void Tensor::copy_from(const Tensor& source) {
  check(defined() && source.defined(), "copy_from: needs defined tensors");
  check(source.shape_ == shape_ && source.dtype_ == dtype_, "copy_from: expected {} {}, found {} {}",
        to_string(dtype_), shape_, to_string(source.dtype_), source.shape_);
  if (source.device() == device()) {
    backend().copy(raw_data(), source.raw_data(), nbytes());
  } else if (source.device().type == DeviceType::cpu) {
    backend().copy_from_host(raw_data(), source.raw_data(), nbytes());
  } else if (device().type == DeviceType::cpu) {
    source.backend().copy_to_host(raw_data(), source.raw_data(), nbytes());
  } else {
    std::vector<std::byte> bytes(nbytes());  // between two devices: through the host
    source.backend().copy_to_host(bytes.data(), source.raw_data(), nbytes());
    backend().copy_from_host(raw_data(), bytes.data(), nbytes());
  }
}

MatrixRef::MatrixRef(const Tensor& tensor) : data(tensor.raw_data()), dtype(tensor.dtype()) {
  cols = tensor.shape().rank() > 0 ? tensor.shape().back() : 1;
  rows = 1;
  for (int dim = 0; dim + 1 < tensor.shape().rank(); ++dim) rows *= tensor.size(dim);
  ld = cols;
}

MatrixRef MatrixRef::columns(int64_t begin, int64_t end) const {
  check(0 <= begin && begin <= end && end <= cols, "matrix: columns [{}, {}) are not inside [0, {})", begin,
        end, cols);
  MatrixRef part = *this;
  part.data = static_cast<std::byte*>(data) + static_cast<size_t>(begin) * size_of(dtype);
  part.cols = end - begin;
  return part;
}

MatrixRef MatrixRef::row_range(int64_t begin, int64_t end) const {
  check(0 <= begin && begin <= end && end <= rows, "matrix: rows [{}, {}) are not inside [0, {})", begin, end,
        rows);
  MatrixRef part = *this;
  part.data = static_cast<std::byte*>(data) + static_cast<size_t>(begin * ld) * size_of(dtype);
  part.rows = end - begin;
  return part;
}

}  // namespace normtune
