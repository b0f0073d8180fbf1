#pragma once

#include <stdexcept>

#include "tensor/backend.h"
#include "tensor/cpu/arena.h"
#include "tensor/cpu/constant_factors.h"

namespace normtune {

/// The CPU: OpenMP over rows or fixed blocks, vectorised inner loops (tensor/cpu/vector), the matrix product
/// of float matrices. Every result is the same for any number of threads.
class CpuBackend final : public Backend {
 public:
  std::string name() const override { return "cpu"; }
  Allocator& allocator() override { return arena_; }
  void synchronize() override {}

  void copy_from_host(void* device_destination, const void* host_source, size_t bytes) override;
  void copy_to_host(void* host_destination, const void* device_source, size_t bytes) override;
  std::unique_ptr<LateCopy> copy_to_host_later(const void* source, size_t bytes) override;
  void copy(void* destination, const void* source, size_t bytes) override;
  void fill(const Tensor& output, double value) override;
  void convert(const MatrixRef& input, const MatrixRef& output) override;
  void copy_matrix(const MatrixRef& input, const MatrixRef& output) override;
  void permute(const Permute& args) override;
  void gather_rows(const GatherRows& args) override;
  void scatter_add_rows(const ScatterAddRows& args) override;

  void add(const Tensor& a, const Tensor& b, const Tensor& output) override;
  void multiply(const Tensor& a, const Tensor& b, const Tensor& output) override;
  void scale(const Tensor& input, double factor, const Tensor& output) override;
  void scale_by(const Tensor& input, const Tensor& factor, const Tensor& output) override;
  void add_scaled(const Tensor& input, double factor, const MatrixRef& output) override;
  void add_bias(const MatrixRef& input, const MatrixRef& bias, const MatrixRef& output) override;
  void activation_forward(Activation activation, const Tensor& input, const Tensor& output) override;
  void activation_backward(const ActivationBackward& args) override;
  void activation_with_derivative(Activation activation, const Tensor& input, const Tensor& output,
                                  const Tensor& derivative) override;
  void derivative_backward(const DerivativeBackward& args) override;
  void dropout(const Tensor& input, const DropoutMask& mask, const Tensor& output) override;

  void matmul(const MatMul& args) override;
  void matmul_beside(const MatMul& args, std::vector<Tensor> /*factors*/) override { matmul(args); }
  void join_products() override {}
  std::shared_ptr<const void> hold_constant(const MatrixRef& b, bool transpose_b) override;
  void set_product_precision(ProductPrecision precision) override;
  /// Kernels here compute in float32 and would only convert.
  DType activation_dtype(DType dtype) const override { return dtype; }
  DType derivative_dtype(DType dtype) const override {
    return normtune::derivative_dtype(dtype, product_precision_);
  }
  void batched_matmul(const BatchedMatMul& args) override;
  void column_sums(const ColumnSums& args) override;
  void sum(const Tensor& input, const Tensor& output) override;

  void squared_column_sums(const SquaredColumnSums& args) override;
  void squared_products(const SquaredProducts& args) override;
  void squared_scatter_add_rows(const SquaredScatterAddRows& args) override;

  void softmax_forward(const Tensor& input, const Tensor& output) override;
  void softmax_backward(const Tensor& output, const Tensor& grad_output, const Tensor& grad_input) override;
  void layer_norm_forward(const LayerNormForward& args) override;
  void embeddings_layer_norm(const EmbeddingsLayerNorm& args) override;
  void layer_norm_backward(const LayerNormBackward& args) override;

  void attention_forward(const AttentionForward& args) override;
  void attention_backward(const AttentionBackward& args) override;

  void cross_entropy(const CrossEntropy& args) override;
  void squared_error(const SquaredError& args) override;

  void adamw_step(const AdamWStep& args) override;
  void sgd_step(const SgdStep& args) override;
  void squared_norms(const std::vector<NormInput>& inputs, const Tensor& output) override;
  void clipping_factor(const ClippingFactor& args) override;
  void sum_changes(const SumChanges& args) override;

  bool can_capture() const override { return false; }
  bool takes_row_gradients() const override { return true; }
  std::unique_ptr<CapturedWork> capture(const std::function<void()>&) override {
    throw std::logic_error("cpu: work is not captured");
  }
  void rehearse(const std::function<void()>&) override {
    throw std::logic_error("cpu: work is not captured");
  }
  MachineRoof measure_roof(DType dtype) override;

 private:
  void multiply_matrices(const MatMul& args, ProductPrecision precision);

  Arena arena_;
  ProductPrecision product_precision_ = ProductPrecision::float32;
  ConstantFactors constant_factors_;
};

}  // namespace normtune
