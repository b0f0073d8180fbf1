#include <algorithm>
#include <cstring>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/parallel.h"

namespace normtune {
namespace {

/// As dispatch_floating(), and with bfloat16.
template <typename Function>
void dispatch_stored(DType dtype, const Function& function) {
  if (dtype == DType::bfloat16) return function.template operator()<bfloat16>();
  dispatch_floating(dtype, function);
}

template <typename To, typename From>
To converted(From value) {
  constexpr bool through_float32 = std::is_same_v<From, bfloat16> || std::is_same_v<To, bfloat16>;
  if constexpr (through_float32) {
    return static_cast<To>(static_cast<float>(value));
  } else {
    return static_cast<To>(value);
  }
}

template <typename T>
void fill_elements(const Tensor& output, double value) {
  T* elements = output.data<T>();
  parallel_pieces(output.numel(), elements_per_piece, [&](int64_t begin, int64_t end) {
    std::fill(elements + begin, elements + end, converted<T>(value));
  });
}

template <typename From, typename To>
void convert_elements(const MatrixRef& input, const MatrixRef& output) {
  const From* from = input.as<From>();
  To* to = output.as<To>();
  const auto convert = [](const From* begin, int64_t count, To* result) {
    std::transform(begin, begin + count, result, converted<To, From>);
  };
  if (input.ld == input.cols && output.ld == output.cols) {  // one piece of memory, however the rows are cut
    parallel_pieces(input.rows * input.cols, elements_per_piece,
                    [&](int64_t begin, int64_t end) { convert(from + begin, end - begin, to + begin); });
    return;
  }
  parallel_rows(input.rows, input.cols,
                [&](int64_t row) { convert(from + row * input.ld, input.cols, to + row * output.ld); });
}

}  // namespace

void CpuBackend::copy_from_host(void* device_destination, const void* host_source, size_t bytes) {
  copy(device_destination, host_source, bytes);
}

void CpuBackend::copy_to_host(void* host_destination, const void* device_source, size_t bytes) {
  copy(host_destination, device_source, bytes);
}

std::unique_ptr<LateCopy> CpuBackend::copy_to_host_later(const void* source, size_t bytes) {
  class DoneCopy final : public LateCopy {
   public:
    DoneCopy(const std::byte* begin, size_t count) : bytes_(begin, begin + count) {}
    bool is_there() override { return true; }
    const std::byte* wait() override { return bytes_.data(); }

   private:
    std::vector<std::byte> bytes_;
  };
  return std::make_unique<DoneCopy>(static_cast<const std::byte*>(source), bytes);
}

void CpuBackend::copy(void* destination, const void* source, size_t bytes) {
  if (bytes == 0) return;  // an empty vector has no address
  constexpr int64_t bytes_per_piece = 1 << 18;
  parallel_pieces(static_cast<int64_t>(bytes), bytes_per_piece, [&](int64_t begin, int64_t end) {
    std::memmove(static_cast<std::byte*>(destination) + begin, static_cast<const std::byte*>(source) + begin,
                 static_cast<size_t>(end - begin));
  });
}

void CpuBackend::fill(const Tensor& output, double value) {
  switch (output.dtype()) {
    case DType::float32:
      return fill_elements<float>(output, value);
    case DType::float64:
      return fill_elements<double>(output, value);
    case DType::bfloat16:
      return fill_elements<bfloat16>(output, value);
    case DType::uint8:
      return fill_elements<uint8_t>(output, value);
    case DType::int32:
      return fill_elements<int32_t>(output, value);
    case DType::int64:
      return fill_elements<int64_t>(output, value);
  }
}

void CpuBackend::convert(const MatrixRef& input, const MatrixRef& output) {
  dispatch_stored(input.dtype, [&]<typename From>() {
    dispatch_stored(output.dtype, [&]<typename To>() { convert_elements<From, To>(input, output); });
  });
}

void CpuBackend::copy_matrix(const MatrixRef& input, const MatrixRef& output) {
  const size_t element = size_of(input.dtype);
  const size_t row_bytes = static_cast<size_t>(input.cols) * element;
  if (row_bytes == 0) return;
  parallel_rows(input.rows, input.cols, [&](int64_t row) {
    std::memcpy(static_cast<std::byte*>(output.data) + static_cast<size_t>(row * output.ld) * element,
                static_cast<const std::byte*>(input.data) + static_cast<size_t>(row * input.ld) * element,
                row_bytes);
  });
}

namespace {

/// The distance in the input of two neighbours along each output dimension.
struct PermutedStrides {
  int64_t strides[Shape::max_rank];

  PermutedStrides(const Shape& input, const std::vector<int>& order) : strides{} {
    for (size_t i = 0; i < order.size(); ++i) {
      strides[i] = 1;
      for (int dim = order[i] + 1; dim < input.rank(); ++dim) strides[i] *= input[dim];
    }
  }
};

template <typename T>
void permute_elements(const Backend::Permute& args) {
  const Shape& shape = args.output.shape();
  if (shape.numel() == 0) return;
  const PermutedStrides permuted(args.input.shape(), args.order);
  const T* input = args.input.data<T>();
  T* output = args.output.data<T>();
  const int last = shape.rank() - 1;
  const int64_t columns = shape.back();
  const int64_t column_stride = permuted.strides[last];
  parallel_rows(shape.numel() / columns, columns, [&](int64_t row) {
    int64_t offset = 0;
    int64_t rest = row;
    for (int dim = last - 1; dim >= 0; --dim) {
      offset += rest % shape[dim] * permuted.strides[dim];
      rest /= shape[dim];
    }
    for (int64_t j = 0; j < columns; ++j) output[row * columns + j] = input[offset + j * column_stride];
  });
}

}  // namespace

void CpuBackend::permute(const Permute& args) {
  if (args.input.shape().rank() == 0)
    return copy(args.output.raw_data(), args.input.raw_data(), args.input.nbytes());
  dispatch_floating(args.input.dtype(), [&]<typename T>() { permute_elements<T>(args); });
}

}  // namespace normtune
