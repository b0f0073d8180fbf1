#include "nn/linear.h"

#include "autograd/activation.h"
#include "autograd/activation_linear.h"
#include "autograd/dropout.h"
#include "autograd/linear.h"
#include "autograd/low_rank_update.h"

namespace normtune {

Variable Lora::add_to(Variable base, const Variable& input, const ForwardContext& context,
                      const RowIndex& rows, int64_t column) const {
  const Variable dropped = normtune::dropout(input, dropout_mask(context, dropout, dropout_site, rows));
  return low_rank_update(std::move(base), dropped, lora_A, lora_B, scaling, column);
}

Linear Linear::make(ParameterList& parameters, const std::string& path, int64_t in_features,
                    int64_t out_features, DType dtype, Device device) {
  Linear linear;
  linear.weight = parameters.add(path + ".weight", Tensor::zeros({out_features, in_features}, dtype, device));
  linear.bias = parameters.add(path + ".bias", Tensor::zeros({out_features}, dtype, device));
  return linear;
}

Variable Linear::forward(const Variable& input, const ForwardContext& context, const RowIndex& rows) const {
  Variable output = linear(input, weight, bias);
  return lora ? lora->add_to(std::move(output), input, context, rows) : output;
}

Variable Linear::forward_activated(Variable input, Activation activation, const ForwardContext& context,
                                   const RowIndex& rows) const {
  if (lora) return forward(normtune::activation(input, activation), context, rows);
  return activation_linear(std::move(input), activation, weight, bias);
}

LayerNorm LayerNorm::make(ParameterList& parameters, const std::string& path, int64_t hidden_size, double eps,
                          DType dtype, Device device) {
  LayerNorm layer_norm;
  layer_norm.weight = parameters.add(path + ".weight", Tensor::full({hidden_size}, 1.0, dtype, device));
  layer_norm.bias = parameters.add(path + ".bias", Tensor::zeros({hidden_size}, dtype, device));
  layer_norm.eps = eps;
  return layer_norm;
}

Variable Adapter::forward(const Variable& input, const ForwardContext& context, const RowIndex& rows) const {
  return up.forward_activated(down.forward(input, context, rows), activation, context, rows);
}

}  // namespace normtune
