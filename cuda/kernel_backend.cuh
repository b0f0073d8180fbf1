#pragma once

#include "cuda/activation_backward.cuh"
#include "cuda/attention.cuh"
#include "cuda/attention_tensor_cores.cuh"
#include "cuda/bfloat16.cuh"
#include "cuda/change.cuh"
#include "cuda/data_movement.cuh"
#include "cuda/dropout.cuh"
#include "cuda/elementwise.cuh"
#include "cuda/embedding.cuh"
#include "cuda/layer_norm.cuh"
#include "cuda/losses.cuh"
#include "cuda/optimizer.cuh"
#include "cuda/reductions.cuh"
#include "cuda/softmax.cuh"
#include "cuda/squared_gradients.cuh"
#include "tensor/widened.h"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// The page of kernels as far as it is written here: all but the matrix products, copies from and
/// to the host, and the memory. `Launcher` (cuda/grid.h) starts the kernels: on a GPU, or in tests on the
/// CPU.
template <typename Launcher>
class KernelBackend : public Backend {
 public:
  explicit KernelBackend(Launcher launcher) : launch_(std::move(launcher)) {}

  void fill(const Tensor& output, double value) override { cuda::fill(launch_, output, value); }
  void convert(const MatrixRef& input, const MatrixRef& output) override {
    cuda::convert(launch_, input, output);
  }
  void copy(void* destination, const void* source, size_t bytes) override {
    cuda::copy(launch_, destination, source, bytes);
  }
  void copy_matrix(const MatrixRef& input, const MatrixRef& output) override {
    cuda::copy_matrix(launch_, input, output);
  }
  void permute(const Permute& args) override { cuda::permute(launch_, args); }
  void gather_rows(const GatherRows& args) override { cuda::gather_rows(launch_, args); }
  void scatter_add_rows(const ScatterAddRows& args) override { cuda::scatter_add_rows(launch_, args); }

  void add(const Tensor& a, const Tensor& b, const Tensor& output) override {
    cuda::add(launch_, a, b, output);
  }
  void multiply(const Tensor& a, const Tensor& b, const Tensor& output) override {
    cuda::multiply(launch_, a, b, output);
  }
  void scale(const Tensor& input, double factor, const Tensor& output) override {
    cuda::scale(launch_, input, factor, output);
  }
  void scale_by(const Tensor& input, const Tensor& factor, const Tensor& output) override {
    cuda::scale_by(launch_, input, factor, output);
  }
  void add_scaled(const Tensor& input, double factor, const MatrixRef& output) override {
    cuda::add_scaled(launch_, input, factor, output);
  }
  void add_bias(const MatrixRef& input, const MatrixRef& bias, const MatrixRef& output) override {
    cuda::add_bias(launch_, input, bias, output);
  }
  void activation_forward(Activation activation, const Tensor& input, const Tensor& output) override {
    cuda::activation_forward(launch_, activation, input, output);
  }
  void activation_backward(const ActivationBackward& args) override {
    cuda::activation_backward(launch_, args);
  }
  void activation_with_derivative(Activation activation, const Tensor& input, const Tensor& output,
                                  const Tensor& derivative) override {
    cuda::activation_with_derivative(launch_, activation, input, output, derivative);
  }
  void derivative_backward(const DerivativeBackward& args) override {
    cuda::derivative_backward(launch_, args);
  }
  void dropout(const Tensor& input, const DropoutMask& mask, const Tensor& output) override {
    if (mask.active()) return cuda::dropout(launch_, input, mask, output);
    if (input.raw_data() != output.raw_data()) copy(output.raw_data(), input.raw_data(), input.nbytes());
  }

  void set_product_precision(ProductPrecision precision) override { product_precision_ = precision; }
  DType activation_dtype(DType dtype) const override {
    return product_precision_ == ProductPrecision::bf16 && dtype == DType::float32 ? DType::bfloat16 : dtype;
  }
  DType derivative_dtype(DType dtype) const override {
    return normtune::derivative_dtype(dtype, product_precision_);
  }
  /// Products read every matrix as it lies; weights are rounded once by who owns them
  /// (autograd/weight_factors.h).
  std::shared_ptr<const void> hold_constant(const MatrixRef& /*b*/, bool /*transpose_b*/) override {
    return nullptr;
  }

  void column_sums(const ColumnSums& args) override { cuda::column_sums(launch_, args); }
  void sum(const Tensor& input, const Tensor& output) override { cuda::sum(launch_, input, output); }
  void squared_column_sums(const SquaredColumnSums& args) override {
    cuda::squared_column_sums(launch_, args);
  }
  void squared_products(const SquaredProducts& args) override { cuda::squared_products(launch_, args); }
  void squared_scatter_add_rows(const SquaredScatterAddRows& args) override {
    cuda::squared_scatter_add_rows(launch_, args);
  }

  void softmax_forward(const Tensor& input, const Tensor& output) override {
    cuda::softmax_forward(launch_, input, output);
  }
  void softmax_backward(const Tensor& output, const Tensor& grad_output, const Tensor& grad_input) override {
    cuda::softmax_backward(launch_, output, grad_output, grad_input);
  }
  void layer_norm_forward(const LayerNormForward& args) override { cuda::layer_norm_forward(launch_, args); }
  void embeddings_layer_norm(const EmbeddingsLayerNorm& args) override {
    cuda::embeddings_layer_norm(launch_, args);
  }
  void layer_norm_backward(const LayerNormBackward& args) override {
    cuda::layer_norm_backward(launch_, args);
  }

  void attention_forward(const AttentionForward& args) override {
    if (args.query.dtype != DType::bfloat16) return cuda::attention_forward(launch_, args);
    if (has_tensor_core_attention(args.query.cols / args.num_heads)) {
      return tensor_core_attention_forward(launch_, args);
    }
    attention_forward_in_float32(args);
  }
  void attention_backward(const AttentionBackward& args) override {
    if (args.query.dtype != DType::bfloat16) return cuda::attention_backward(launch_, args);
    if (has_tensor_core_attention(args.query.cols / args.num_heads)) {
      return tensor_core_attention_backward(launch_, args);
    }
    attention_backward_in_float32(args);
  }

  void cross_entropy(const CrossEntropy& args) override { cuda::cross_entropy(launch_, args); }
  void squared_error(const SquaredError& args) override { cuda::squared_error(launch_, args); }

  void adamw_step(const AdamWStep& args) override { cuda::adamw_step(launch_, args); }
  void sgd_step(const SgdStep& args) override { cuda::sgd_step(launch_, args); }
  void squared_norms(const std::vector<NormInput>& inputs, const Tensor& output) override {
    cuda::squared_norms(launch_, inputs, output);
  }
  void clipping_factor(const ClippingFactor& args) override { cuda::clipping_factor(launch_, args); }
  void sum_changes(const SumChanges& args) override { cuda::sum_changes(launch_, args); }

 protected:
  /// The factors of a product as it multiplies them: rounded to bfloat16, or as they are.
  struct Factors {
    RoundedMatrix a, b;
  };
  Factors factors_of(const MatMul& args) const {
    if (product_precision_ != ProductPrecision::bf16 && args.a.dtype != DType::bfloat16 &&
        args.b.dtype != DType::bfloat16) {
      return {.a = {.memory = {}, .matrix = args.a}, .b = {.memory = {}, .matrix = args.b}};
    }
    return {.a = round_to_bfloat16(launch_, args.a), .b = round_to_bfloat16(launch_, args.b)};
  }

  Launcher launch_;
  ProductPrecision product_precision_ = ProductPrecision::float32;
};

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
