#include "autograd/weight_factors.h"

#include <algorithm>

namespace normtune {

namespace {

std::vector<Tensor> tensors_of(const std::vector<Variable>& weights) {
  std::vector<Tensor> tensors;
  for (const Variable& weight : weights) tensors.push_back(weight.tensor());
  return tensors;
}

DType activation_dtype_beside(const std::vector<Variable>& weights) {
  return weights.front().backend().activation_dtype(weights.front().dtype());
}

/// The weights converted to `dtype`, adjacent ones together: they stay one matrix.
std::vector<Tensor> converted(const std::vector<Tensor>& weights, DType dtype) {
  const Tensor all = Tensor::stacked(weights);
  const Tensor all_converted = all.defined() ? all.to(dtype) : Tensor();
  std::vector<Tensor> results;
  int64_t row = 0;
  for (const Tensor& weight : weights) {
    const int64_t end = row + weight.size(0);
    results.push_back(all.defined() ? all_converted.slice(row, end) : weight.to(dtype));
    row = end;
  }
  return results;
}

/// Takes the copies away at its end.
class KeptCopies {
 public:
  KeptCopies(std::vector<Variable> weights, const std::vector<Tensor>& copies)
      : weights_(std::move(weights)) {
    for (size_t i = 0; i < weights_.size(); ++i) weights_[i].keep_rounded_copy(copies[i]);
  }
  ~KeptCopies() {
    for (Variable& weight : weights_) weight.keep_rounded_copy(Tensor());
  }
  KeptCopies(const KeptCopies&) = delete;
  KeptCopies& operator=(const KeptCopies&) = delete;

 private:
  std::vector<Variable> weights_;
};

}  // namespace

std::vector<Tensor> weight_factors(const std::vector<Variable>& weights, const Variable& input) {
  const bool all_have_copies =
      std::ranges::all_of(weights, [](const Variable& weight) { return weight.rounded_copy().defined(); });
  std::vector<Tensor> factors = tensors_of(weights);
  if (input.dtype() == DType::bfloat16 && all_have_copies) {
    std::ranges::transform(weights, factors.begin(), &Variable::rounded_copy);
  } else if (std::ranges::any_of(weights, &Variable::requires_grad)) {
    factors = converted(factors, input.dtype());
  }
  for (const Tensor& factor : factors) {
    check(factor.device() == input.device(), "weights: expected on {}, where the input is, found on {}",
          to_string(input.device()), to_string(factor.device()));
  }
  return factors;
}

std::shared_ptr<const void> keep_rounded_weights(const std::vector<Variable>& weights) {
  const DType dtype = activation_dtype_beside(weights);
  if (dtype == weights.front().dtype()) return nullptr;
  return std::make_shared<const KeptCopies>(weights, converted(tensors_of(weights), dtype));
}

void leave_rounded_weights(std::vector<Variable> weights) {
  const DType dtype = activation_dtype_beside(weights);
  if (dtype == weights.front().dtype()) return;
  const std::vector<Tensor> copies = converted(tensors_of(weights), dtype);
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i].set_tensor(weights[i].tensor().to(Device{}));
    weights[i].keep_rounded_copy(copies[i]);
  }
}

}  // namespace normtune
