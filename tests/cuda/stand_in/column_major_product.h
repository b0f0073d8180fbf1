#pragma once

#include <cublasLt.h>

#include <cstdint>

// The arithmetic of the stand-in for cuBLASLt: D = alpha op(A) op(B) + beta C (+ bias), columns first.

namespace normtune::stand_in {

struct MatrixLayout {
  cudaDataType type;
  uint64_t rows, columns;
  int64_t ld;  // from one column to the next
  int32_t batch = 1;
  int64_t stride = 0;  // from one matrix to the next

  bool operator==(const MatrixLayout&) const = default;
};

struct ProductDescription {
  cublasComputeType_t compute_type;
  cudaDataType scale_type;
  cublasOperation_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;  // [rows of D], of D's type

  /// Equal but for the bias's address.
  bool is_same_kind(const ProductDescription& other) const;
};

struct ProductShape {
  ProductDescription description;
  MatrixLayout a, b, c, d;
};
struct Operands {
  const void *a, *b, *c;
  void* d;
};
struct ProductScales {
  float alpha, beta;
};
struct Workspace {
  void* memory;
  uint64_t bytes;  // that the algorithm writes to
};

/// Whether sizes, leading dimensions, batches and epilogue belong together.
bool fits(const ProductDescription& description, const MatrixLayout& a, const MatrixLayout& b,
          const MatrixLayout& c, const MatrixLayout& d);

/// Reads the bias's address now, and all elements when the stream comes to it.
cublasStatus_t enqueue_product(const ProductShape& shape, const Operands& operands,
                               const ProductScales& scales, const Workspace& workspace, CUstream_st& stream);

}  // namespace normtune::stand_in
