#include "autograd/permute.h"

#include <algorithm>

#include "autograd/checks.h"

namespace normtune {

namespace {

Tensor permuted(const Tensor& input, const std::vector<int>& order) {
  std::vector<int64_t> sizes;
  for (int dim : order) sizes.push_back(input.size(dim));
  Tensor output = Tensor::empty(Shape(sizes), input.dtype(), input.device());
  input.backend().permute({.input = input, .output = output, .order = order});
  return output;
}

/// Moves each dimension back: the gradient is permuted by the inverse order.
class PermuteBackward : public Node {
 public:
  explicit PermuteBackward(const std::vector<int>& order) : inverse_order_(order.size()) {
    for (size_t i = 0; i < order.size(); ++i) inverse_order_[order[i]] = static_cast<int>(i);
  }
  std::string_view name() const override { return "permute"; }
  std::vector<Tensor*> saved_tensors() override { return {}; }
  std::vector<Tensor> backward(Tensor grad_output) override {
    return {permuted(grad_output, inverse_order_)};
  }

 private:
  std::vector<int> inverse_order_;
};

}  // namespace

Variable permute(const Variable& input, std::vector<int> order) {
  detail::check_operands("permute", {input});
  std::vector<int> sorted = order, dimensions(input.shape().rank());
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < dimensions.size(); ++i) dimensions[i] = static_cast<int>(i);
  check(sorted == dimensions, "permute: expected each dimension of shape {} once, found order {}",
        input.shape(), order);
  return record(permuted(input.tensor(), order), {input},
                [&] { return std::make_shared<PermuteBackward>(order); });
}

}  // namespace normtune
