#pragma once

#include <string_view>
#include <vector>

#include "autograd/variable.h"

/// What layer_norm and the two fused ops around it share.
namespace normtune::detail {

/// weight and bias have one element for each column of the input.
void check_normalization(std::string_view op, const Variable& input, const Variable& weight,
                         const Variable& bias);

/// Normalizes rows and keeps what backward needs: with n = (x - mean) * rstd and y = n * weight + bias,
///
///   grad_weight = sum over rows of dy * n,      grad_bias = sum over rows of dy,
///   grad_x = rstd * (g - mean(g) - n * mean(g * n))  with  g = dy * weight;
///
/// the two means are the derivatives through mean and rstd. Neither x nor mean occurs, so neither is kept.
class Normalization {
 public:
  /// output = layer_norm(dropout(input) + residual). Keeps nothing unless `keep`: the gradient of the bias
  /// needs nothing.
  void forward(const Tensor& input, const Tensor* residual, const DropoutMask& mask, const Variable& weight,
               const Variable& bias, double eps, bool keep, const Tensor& output);
  /// output = dropout(layer_norm(sum of a row of each table)).
  void forward(const Backend::EmbeddingsLayerNorm::Tables& tables, const DropoutMask& mask,
               const Variable& weight, const Variable& bias, double eps, bool keep, const Tensor& output);

  /// Where the gradients that are wanted go. `input` and `residual` are allocated by the caller (either may
  /// be grad_output), the others by backward().
  struct Gradients {
    const Tensor* input = nullptr;
    const Tensor* residual = nullptr;
    Tensor* weight = nullptr;
    Tensor* bias = nullptr;
    Tensor* column_sums = nullptr;  // of `input`
  };
  /// Those of weight and bias as `reduction` says.
  void backward(const Tensor& grad_output, const DropoutMask& mask, Gradients wanted,
                const GradientReduction& reduction) const;

  std::vector<Tensor*> saved_tensors() { return {&normalized_, &rstd_, &weight_}; }

 private:
  /// Makes room for what backward needs.
  void keep_results(const Tensor& output, const Variable& weight);

  Tensor normalized_;  // [num_rows, hidden_size]
  Tensor rstd_;        // [num_rows]
  Tensor weight_;      // [hidden_size]
};

}  // namespace normtune::detail
