#include "tensor/cpu/bf16/gemm.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/parallel.h"
#include "tensor/widened.h"

namespace normtune {

void CpuBackend::set_product_precision(ProductPrecision precision) {
  if (precision == ProductPrecision::tf32) {
    fail(ErrorKind::usage, "products in tf32 exist on CUDA devices only; use float32 or bfloat16");
  }
  product_precision_ = precision;
}

std::shared_ptr<const void> CpuBackend::hold_constant(const MatrixRef& b, bool transpose_b) {
  if (b.dtype == DType::bfloat16) return nullptr;
  return constant_factors_.hold({b, transpose_b, product_precision_}, [&] {
    return dispatch_floating(b.dtype, [&]<typename T>() {
      const Gemm<T> product{.n = transpose_b ? b.rows : b.cols,
                            .k = transpose_b ? b.cols : b.rows,
                            .b = b.as<T>(),
                            .ldb = b.ld,
                            .transpose_b = transpose_b};
      if constexpr (std::is_same_v<T, float>) {
        if (product_precision_ == ProductPrecision::bf16) return bf16::pack_factor(product);
      }
      return pack_factor(product);
    });
  });
}

void CpuBackend::matmul(const MatMul& args) {
  const bool in_bfloat16 = args.a.dtype == DType::bfloat16 || args.b.dtype == DType::bfloat16;
  if (!in_bfloat16 && args.c.dtype != DType::bfloat16) return multiply_matrices(args, product_precision_);
  const Tensor a = widened(args.a);
  const Tensor b = args.b.dtype == DType::bfloat16 ? widened(args.b) : Tensor();
  const Tensor c = widened(args.c);
  MatMul product = args;
  product.a = a;
  if (b.defined()) product.b = b;  // a weight in float32 stays itself: it may be held packed
  product.c = c;
  multiply_matrices(product, in_bfloat16 ? ProductPrecision::bf16 : product_precision_);
  round_into(c, args.c);
}

/// All matrices have one dtype here.
void CpuBackend::multiply_matrices(const MatMul& args, ProductPrecision precision) {
  const auto packed = constant_factors_.find({args.b, args.transpose_b, precision});
  dispatch_floating(args.c.dtype, [&]<typename T>() {
    const Gemm<T> product{.m = args.c.rows,
                          .n = args.c.cols,
                          .k = args.transpose_a ? args.a.rows : args.a.cols,
                          .a = args.a.as<T>(),
                          .lda = args.a.ld,
                          .transpose_a = args.transpose_a,
                          .b = args.b.as<T>(),
                          .ldb = args.b.ld,
                          .transpose_b = args.transpose_b,
                          .c = args.c.as<T>(),
                          .ldc = args.c.ld,
                          .accumulate = args.accumulate,
                          .bias = args.bias ? args.bias->as<T>() : nullptr,
                          .packed_b = packed ? packed->data<T>() : nullptr};
    if constexpr (std::is_same_v<T, float>) {
      if (precision == ProductPrecision::bf16) return bf16::gemm(product);
    }
    gemm(product);
  });
}

void CpuBackend::batched_matmul(const BatchedMatMul& args) {
  const int64_t batch = args.c.size(0), m = args.c.size(1), n = args.c.size(2);
  const int64_t a_rows = args.a.size(1), a_cols = args.a.size(2), b_rows = args.b.size(1),
                b_cols = args.b.size(2);
  dispatch_floating(args.c.dtype(), [&]<typename T>() {
    const T *a = args.a.data<T>(), *b = args.b.data<T>();
    T* c = args.c.data<T>();
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < batch; ++i) {
      gemm_in_thread(Gemm<T>{.m = m,
                             .n = n,
                             .k = args.transpose_a ? a_rows : a_cols,
                             .a = a + i * a_rows * a_cols,
                             .lda = a_cols,
                             .transpose_a = args.transpose_a,
                             .b = b + i * b_rows * b_cols,
                             .ldb = b_cols,
                             .transpose_b = args.transpose_b,
                             .c = c + i * m * n,
                             .ldc = n,
                             .accumulate = false});
    }
  });
}

}  // namespace normtune
