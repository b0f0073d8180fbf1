#pragma once

#include <compare>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "tensor/device.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace normtune {

class Backend;

/// One block of device memory, given back to its allocator when the last tensor that uses it goes.
class Storage {
 public:
  Storage(size_t bytes, Device device);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }  ///< in bytes, not in elements
  Device device() const { return device_; }
  /// The memory came from the system untouched: it was zero when this storage was made.
  bool born_zero() const { return born_zero_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
  bool born_zero_ = false;
  Device device_;
};

/// A dense, row-major array: shape, dtype and a place in a shared storage. There are no strides: a view is a
/// reshape or a slice of the leading dimension, both free. Copying a Tensor copies the handle, not the
/// values.
///
///   Tensor hidden_states = Tensor::zeros({total_tokens, hidden_size}, DType::float32);
///   float* values = hidden_states.data<float>();
class Tensor {
 public:
  /// An undefined tensor ("no value"): defined() is false and everything else is refused.
  Tensor() = default;

  static Tensor empty(const Shape& shape, DType dtype, Device device = {});  ///< uninitialised
  /// Uninitialised, with shape, dtype and device of `other`.
  static Tensor empty_like(const Tensor& other) {
    return empty(other.shape(), other.dtype(), other.device());
  }
  static Tensor zeros(const Shape& shape, DType dtype, Device device = {});
  static Tensor full(const Shape& shape, double value, DType dtype, Device device = {});
  /// Copies values from host memory. Throws std::invalid_argument if their number is not shape.numel().
  template <typename T>
  static Tensor from_values(const Shape& shape, std::span<const T> values, Device device = {}) {
    return from_host(shape, dtype_of<T>(), values.data(), values.size(), device);
  }
  template <typename T>
  static Tensor from_values(const Shape& shape, const std::vector<T>& values, Device device = {}) {
    return from_values<T>(shape, std::span<const T>(values), device);
  }

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t size(int dim) const { return shape_[dim]; }
  int64_t numel() const { return shape_.numel(); }
  size_t nbytes() const { return static_cast<size_t>(numel()) * size_of(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const;
  Backend& backend() const;

  /// Address of the first element. The caller names the right T; a mismatch throws std::invalid_argument.
  template <typename T>
  T* data() const {
    check(defined() && dtype_ == dtype_of<T>(), "tensor: expected {} elements, found {}",
          to_string(dtype_of<T>()), defined() ? to_string(dtype_) : "an undefined tensor");
    return static_cast<T*>(raw_data());
  }
  void* raw_data() const;

  /// The same storage under another shape with the same number of elements.
  Tensor reshape(const Shape& shape) const;
  /// Rows [begin, end) of the leading dimension; shares the storage.
  Tensor slice(int64_t begin, int64_t end) const;
  /// The tensors behind each other in the leading dimension, if they are adjacent parts of one storage, which
  /// is shared; undefined where they are not.
  static Tensor stacked(const std::vector<Tensor>& tensors);
  /// A copy in a storage of its own.
  Tensor clone() const;
  /// A copy converted to another floating-point dtype; the tensor itself if it has it already.
  Tensor to(DType dtype) const;
  /// A copy on another device; the tensor itself if it is there already.
  Tensor to(Device device) const;
  /// Host copy of all elements.
  template <typename T>
  std::vector<T> to_vector() const {
    std::vector<T> values(static_cast<size_t>(numel()));
    copy_to_host(dtype_of<T>(), values.data());
    return values;
  }
  /// The value of a one-element tensor.
  double item() const;
  void fill(double value);
  /// Overwrites the elements with those of `source` (same shape and dtype, any device).
  void copy_from(const Tensor& source);

  const std::shared_ptr<Storage>& storage() const { return storage_; }
  /// Offset of the first element in the storage, in elements.
  int64_t storage_offset() const { return offset_; }
  /// No other Tensor shares the storage, so that it may be overwritten.
  bool is_unique() const { return storage_.use_count() == 1; }

 private:
  static Tensor from_host(const Shape& shape, DType dtype, const void* values, size_t count, Device device);
  void copy_to_host(DType dtype, void* values) const;

  Shape shape_;
  DType dtype_ = DType::float32;
  std::shared_ptr<Storage> storage_;
  int64_t offset_ = 0;
};

/// A matrix inside a tensor: `rows` x `cols` elements, consecutive rows `ld` elements apart. This is how a
/// head, a third of a fused query/key/value product, or some rows are addressed without a copy. Does not own
/// memory.
struct MatrixRef {
  void* data = nullptr;
  DType dtype = DType::float32;
  int64_t rows = 0, cols = 0, ld = 0;

  auto operator<=>(const MatrixRef&) const = default;  // NOLINT(modernize-use-nullptr): it compares with 0
  MatrixRef() = default;
  /// The whole tensor as [numel / last, last]; a scalar as [1, 1].
  MatrixRef(const Tensor& tensor);  // NOLINT(google-explicit-constructor): a tensor is a matrix
  /// Columns [begin, end).
  MatrixRef columns(int64_t begin, int64_t end) const;
  /// Rows [begin, end).
  MatrixRef row_range(int64_t begin, int64_t end) const;
  template <typename T>
  T* as() const {
    check(dtype == dtype_of<T>(), "matrix: expected {} elements, found {}", to_string(dtype_of<T>()),
          to_string(dtype));
    return static_cast<T*>(data);
  }
};

}  // namespace normtune
