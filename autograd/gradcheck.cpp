#include "autograd/gradcheck.h"

#include <cmath>
#include <optional>

#include "autograd/multiply.h"
#include "autograd/sum.h"

namespace normtune {

namespace {

using Function = std::function<Variable(const std::vector<Variable>&)>;

/// Numbers in [-1, 1).
std::vector<double> random_values(int64_t count, uint64_t seed) {
  std::vector<double> values(count);
  for (int64_t i = 0; i < count; ++i) {
    const auto words = philox4x32({static_cast<uint32_t>(i), 0, 0, 0}, dropout_key(seed, 0, 0));
    values[i] = words[0] / 2147483648.0 - 1;
  }
  return values;
}

/// One run of gradcheck. A subset of the inputs is a bit mask.
class Check {
 public:
  Check(const Function& function, const std::vector<Tensor>& inputs, const GradcheckOptions& options)
      : function_(function), inputs_(inputs), options_(options) {
    for (const Tensor& input : inputs_) originals_.push_back(input.to_vector<double>());
  }

  std::optional<std::string> first_difference() {
    const Variable output = function_(variables(0));
    if (output.requires_grad()) return "no input requires a gradient, but the output does";
    if (auto changed = changed_input()) return changed;
    weights_ = Tensor::from_values(output.shape(), random_values(output.tensor().numel(), options_.seed));

    const uint32_t all = (1u << inputs_.size()) - 1;
    if (auto difference = gradients(all, expected_)) return difference;
    if (auto difference = compare_with_central_differences()) return difference;
    for (uint32_t subset = 1; subset < all; ++subset) {
      if (auto difference = compare_subset(subset)) return difference;
    }
    return std::nullopt;
  }

 private:
  std::vector<Variable> variables(uint32_t subset) const {
    std::vector<Variable> variables;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      variables.emplace_back(inputs_[i], /*requires_grad=*/(subset >> i & 1) != 0);
    }
    return variables;
  }

  /// The function under check: sum of function(inputs) * weights.
  double value() const {
    NoGradGuard no_grad;
    return sum(multiply(function_(variables(0)), Variable(weights_))).tensor().item();
  }

  /// Fills in the gradients of the inputs in `subset`.
  std::optional<std::string> gradients(uint32_t subset, std::vector<std::vector<double>>& values) const {
    const std::vector<Variable> leaves = variables(subset);
    sum(multiply(function_(leaves), Variable(weights_))).backward();
    values.assign(leaves.size(), {});
    for (size_t i = 0; i < leaves.size(); ++i) {
      const Tensor& grad = leaves[i].grad();
      const bool expected = (subset >> i & 1) != 0;
      if (grad.defined() != expected) {
        return fmt::format("subset {:b}: expected {} gradient for input {}", subset, expected ? "a" : "no",
                           i);
      }
      if (!expected) continue;
      if (grad.shape() != leaves[i].shape()) {
        return fmt::format("subset {:b}, input {}: expected a gradient of shape {}, found {}", subset, i,
                           leaves[i].shape(), grad.shape());
      }
      values[i] = grad.to_vector<double>();
    }
    return changed_input();
  }

  std::optional<std::string> changed_input() const {
    for (size_t i = 0; i < inputs_.size(); ++i) {
      if (inputs_[i].to_vector<double>() != originals_[i]) return fmt::format("input {} was changed", i);
    }
    return std::nullopt;
  }

  std::optional<std::string> compare_with_central_differences() const {
    for (size_t i = 0; i < inputs_.size(); ++i) {
      double* const elements = inputs_[i].data<double>();
      for (int64_t j = 0; j < inputs_[i].numel(); ++j) {
        elements[j] = originals_[i][j] + options_.eps;
        const double above = value();
        elements[j] = originals_[i][j] - options_.eps;
        const double below = value();
        elements[j] = originals_[i][j];
        const double difference = (above - below) / (2 * options_.eps);
        const double error = std::abs(expected_[i][j] - difference);
        if (!(error <= options_.atol + options_.rtol * std::abs(difference))) {
          return fmt::format("input {}, element {}: expected the gradient {} (central difference), found {}",
                             i, j, difference, expected_[i][j]);
        }
      }
    }
    return std::nullopt;
  }

  std::optional<std::string> compare_subset(uint32_t subset) const {
    std::vector<std::vector<double>> found;
    if (auto difference = gradients(subset, found)) return difference;
    for (size_t i = 0; i < found.size(); ++i) {
      for (size_t j = 0; j < found[i].size(); ++j) {
        const double expected = expected_[i][j];
        if (!(std::abs(found[i][j] - expected) <= 1e-12 * std::max(1.0, std::abs(expected)))) {
          return fmt::format(
              "subset {:b}, input {}, element {}: expected the gradient {} (of all inputs), found {}", subset,
              i, j, expected, found[i][j]);
        }
      }
    }
    return std::nullopt;
  }

  const Function& function_;
  const std::vector<Tensor>& inputs_;
  const GradcheckOptions& options_;
  std::vector<std::vector<double>> originals_;  // the values of the inputs
  std::vector<std::vector<double>> expected_;   // their gradients when all inputs require one
  Tensor weights_;                              // of the reduction, in the shape of the output
};

}  // namespace

GradcheckResult gradcheck(const Function& function, const std::vector<Tensor>& inputs,
                          const GradcheckOptions& options) {
  check(!inputs.empty(), "gradcheck: expected at least one input, found none");
  for (const Tensor& input : inputs) {
    check(input.defined() && input.dtype() == DType::float64, "gradcheck: expected float64 inputs, found {}",
          input.defined() ? to_string(input.dtype()) : "an undefined one");
  }
  if (auto difference = Check(function, inputs, options).first_difference()) return {false, *difference};
  return {};
}

}  // namespace normtune
