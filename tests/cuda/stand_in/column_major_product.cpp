#include "tests/cuda/stand_in/column_major_product.h"

#include <bit>
#include <cstring>
#include <vector>

#include "tests/cuda/stand_in/capture.h"
#include "tests/cuda/stand_in/machine.h"
#include "tests/cuda/stand_in/memory.h"

namespace normtune::stand_in {

namespace {

uint64_t bytes_of(cudaDataType type) {
  return type == CUDA_R_16BF ? 2 : 4;
}

/// Keeps the upper bits of a float's significand, rounded to nearest, ties to even.
float round_to_bits(float value, int dropped_bits) {
  auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7F800000) == 0x7F800000) return value;  // infinite or NaN
  const uint32_t last = uint32_t{1} << dropped_bits;
  bits += last / 2 - 1 + ((bits >> dropped_bits) & 1);
  return std::bit_cast<float>(bits & ~(last - 1));
}

float load(const void* matrix, cudaDataType type, int64_t place) {
  if (type == CUDA_R_32F) return static_cast<const float*>(matrix)[place];
  return std::bit_cast<float>(uint32_t{static_cast<const uint16_t*>(matrix)[place]} << 16);
}

void store(void* matrix, cudaDataType type, int64_t place, float value) {
  if (type == CUDA_R_32F) {
    static_cast<float*>(matrix)[place] = value;
  } else {
    static_cast<uint16_t*>(matrix)[place] =
        static_cast<uint16_t>(std::bit_cast<uint32_t>(round_to_bits(value, 16)) >> 16);
  }
}

uint64_t span_of(const MatrixLayout& layout) {
  const auto last_column = static_cast<int64_t>(layout.columns - 1) * layout.ld;
  const int64_t last_matrix = (layout.batch - 1) * layout.stride;
  return (static_cast<uint64_t>(last_matrix + last_column) + layout.rows) * bytes_of(layout.type);
}

bool is_possible(const MatrixLayout& layout) {
  return layout.rows > 0 && layout.columns > 0 && layout.ld >= static_cast<int64_t>(layout.rows) &&
         layout.batch > 0;
}

/// The elements of one matrix of a batch, row after row or column after column.
std::vector<float> gather(const void* matrix, const MatrixLayout& layout, int64_t in_batch, bool rows_first,
                          bool in_tf32) {
  std::vector<float> elements;
  elements.reserve(layout.rows * layout.columns);
  const auto rows = static_cast<int64_t>(layout.rows), columns = static_cast<int64_t>(layout.columns);
  const auto take = [&](int64_t row, int64_t column) {
    const float value = load(matrix, layout.type, in_batch * layout.stride + column * layout.ld + row);
    elements.push_back(in_tf32 ? round_to_bits(value, 13) : value);
  };
  if (rows_first) {
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t column = 0; column < columns; ++column) take(row, column);
  } else {
    for (int64_t column = 0; column < columns; ++column)
      for (int64_t row = 0; row < rows; ++row) take(row, column);
  }
  return elements;
}

void multiply_one(const ProductShape& shape, const Operands& operands, const ProductScales& scales,
                  int64_t in_batch) {
  const ProductDescription& description = shape.description;
  const bool in_tf32 = description.compute_type == CUBLAS_COMPUTE_32F_FAST_TF32;
  const bool transpose_a = description.transpose_a == CUBLAS_OP_T;
  const bool transpose_b = description.transpose_b == CUBLAS_OP_T;
  const std::vector<float> a = gather(operands.a, shape.a, in_batch, !transpose_a, in_tf32);  // [m][k]
  const std::vector<float> b = gather(operands.b, shape.b, in_batch, transpose_b, in_tf32);   // [n][k]
  const auto m = static_cast<int64_t>(shape.d.rows), n = static_cast<int64_t>(shape.d.columns);
  const auto k = static_cast<int64_t>(transpose_a ? shape.a.rows : shape.a.columns);
  for (int64_t column = 0; column < n; ++column) {
    for (int64_t row = 0; row < m; ++row) {
      float sum = 0;
      for (int64_t i = 0; i < k; ++i) {
        sum += a[static_cast<size_t>(row * k + i)] * b[static_cast<size_t>(column * k + i)];
      }
      float value = scales.alpha * sum;
      if (scales.beta != 0) {
        const int64_t place = in_batch * shape.c.stride + column * shape.c.ld + row;
        value += scales.beta * load(operands.c, shape.c.type, place);
      }
      if (description.epilogue == CUBLASLT_EPILOGUE_BIAS) value += load(description.bias, shape.d.type, row);
      store(operands.d, shape.d.type, in_batch * shape.d.stride + column * shape.d.ld + row, value);
    }
  }
}

void require_operands(const ProductShape& shape, const Operands& operands, const Workspace& workspace) {
  require_device_memory(operands.a, span_of(shape.a));
  require_device_memory(operands.b, span_of(shape.b));
  require_device_memory(operands.c, span_of(shape.c));
  require_device_memory(operands.d, span_of(shape.d));
  if (shape.description.epilogue == CUBLASLT_EPILOGUE_BIAS) {
    require_device_memory(shape.description.bias, shape.d.rows * bytes_of(shape.d.type));
  }
  if (workspace.bytes > 0) require_device_memory(workspace.memory, workspace.bytes);
}

}  // namespace

bool ProductDescription::is_same_kind(const ProductDescription& other) const {
  return compute_type == other.compute_type && scale_type == other.scale_type &&
         transpose_a == other.transpose_a && transpose_b == other.transpose_b && epilogue == other.epilogue;
}

bool fits(const ProductDescription& description, const MatrixLayout& a, const MatrixLayout& b,
          const MatrixLayout& c, const MatrixLayout& d) {
  if (!is_possible(a) || !is_possible(b) || !is_possible(c) || !is_possible(d)) return false;
  const bool transpose_a = description.transpose_a == CUBLAS_OP_T;
  const bool transpose_b = description.transpose_b == CUBLAS_OP_T;
  const bool has_bias = description.epilogue == CUBLASLT_EPILOGUE_BIAS;
  if (!has_bias && description.epilogue != CUBLASLT_EPILOGUE_DEFAULT) misuse("an epilogue");
  return (transpose_a ? a.columns : a.rows) == d.rows && (transpose_b ? b.rows : b.columns) == d.columns &&
         (transpose_a ? a.rows : a.columns) == (transpose_b ? b.columns : b.rows) && c.rows == d.rows &&
         c.columns == d.columns && a.batch == d.batch && b.batch == d.batch && c.batch == d.batch &&
         (!has_bias || d.batch == 1);
}

cublasStatus_t enqueue_product(const ProductShape& shape, const Operands& operands,
                               const ProductScales& scales, const Workspace& workspace, CUstream_st& stream) {
  if (operands.c == operands.d && shape.c != shape.d) return CUBLAS_STATUS_INVALID_VALUE;
  require_operands(shape, operands, workspace);
  const Enqueued enqueued = enqueue(stream, [=] {
    if (!machine().computes) return;
    std::memset(workspace.memory, 0xFF, workspace.bytes);
    for (int64_t i = 0; i < shape.d.batch; ++i) multiply_one(shape, operands, scales, i);
  });
  if (enqueued.error != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED;
  if (workspace.memory != nullptr) use_workspace(workspace.memory, stream, enqueued.operation);
  if (stream.priority == 0) ++counts().side_products;
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace normtune::stand_in
