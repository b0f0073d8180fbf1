#include "nn/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace normtune {

namespace {

const Tensor* indices_or_null(const TrainableTensor& trainable) {
  return trainable.indices.defined() ? &trainable.indices : nullptr;
}

Tensor make_moment(const TrainableTensor& trainable) {
  const Tensor& value = trainable.variable.tensor();
  if (!trainable.indices.defined()) return Tensor::zeros(value.shape(), value.dtype(), value.device());
  return Tensor::zeros({trainable.numel()}, value.dtype(), value.device());
}

AdamWVariant variant_of(OptimizerKind kind) {
  if (kind == OptimizerKind::adamw_hf) return AdamWVariant::hf;
  if (kind == OptimizerKind::adamw_bert) return AdamWVariant::bert;
  return AdamWVariant::torch;
}

const Tensor* rounded_or_null(const TrainableTensor& trainable) {
  const Tensor& rounded = trainable.variable.rounded_copy();
  return rounded.defined() ? &rounded : nullptr;
}

std::vector<const TrainableTensor*> with_gradient(const std::vector<TrainableTensor>& tensors) {
  std::vector<const TrainableTensor*> found;
  for (const TrainableTensor& trainable : tensors) {
    if (trainable.variable.has_grad()) found.push_back(&trainable);
  }
  return found;
}

/// The numbers of a gradient that are there, and the rows that they belong to.
struct GradientParts {
  const Tensor& values;
  const Tensor* rows;  // null for all
};

/// A mask takes its elements from the whole gradient.
GradientParts gradient_parts(const TrainableTensor& trainable) {
  const RowGradient* rows = trainable.indices.defined() ? nullptr : trainable.variable.row_grad();
  return rows != nullptr ? GradientParts{rows->values, &rows->rows}
                         : GradientParts{trainable.variable.grad(), nullptr};
}

template <typename T>
void mark_rows_that_are_not_zero(const Tensor& matrix, int32_t* marks) {
  const int64_t columns = matrix.size(1);
  for (int64_t row = 0; row < matrix.size(0); ++row) {
    const T* begin = matrix.data<T>() + row * columns;
    if (std::any_of(begin, begin + columns, [](T value) { return value != 0; })) marks[row] = 1;
  }
}

void restore(const std::vector<NamedTensor>& state, const std::string& name, Tensor moment) {
  for (const NamedTensor& saved : state) {
    if (saved.name != name) continue;
    if (saved.tensor.shape() != moment.shape() || saved.tensor.dtype() != moment.dtype()) {
      fail(ErrorKind::model, "optimiser state: expected '{}' as {} {}, found {} {}", name,
           to_string(moment.dtype()), moment.shape(), to_string(saved.tensor.dtype()), saved.tensor.shape());
    }
    moment.copy_from(saved.tensor);
    return;
  }
  fail(ErrorKind::model, "optimiser state: '{}' is missing", name);
}

}  // namespace

OptimizerKind find_optimizer(std::string_view name) {
  if (name == "adamw_torch") return OptimizerKind::adamw_torch;
  if (name == "adamw_hf") return OptimizerKind::adamw_hf;
  if (name == "adamw_bert") return OptimizerKind::adamw_bert;
  if (name == "sgd") return OptimizerKind::sgd;
  fail(ErrorKind::usage, "unknown optimiser '{}': expected adamw_torch, adamw_hf, adamw_bert or sgd", name);
}

double norm_of_parts(const Tensor& squared_norms) {
  const std::vector<double> squares = squared_norms.to_vector<double>();
  return std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0));
}

Optimizer::Optimizer(std::vector<TrainableTensor> tensors, OptimizerSettings settings)
    : tensors_(std::move(tensors)), settings_(settings) {
  const Device device = tensors_.empty() ? Device{} : tensors_.front().variable.device();
  if (settings_.kind == OptimizerKind::sgd) {
    lr_ = Tensor::empty({}, DType::float64, device);
    return;
  }
  factors_ = to_tensor({{}, {}}).to(device);
  for (const TrainableTensor& trainable : tensors_) {
    first_moments_.push_back(make_moment(trainable));
    second_moments_.push_back(make_moment(trainable));
  }
  rows_with_moments_.resize(tensors_.size());
}

void Optimizer::begin_step(double lr) {
  ++num_steps_;
  if (settings_.kind == OptimizerKind::sgd) return lr_.copy_from(Tensor::full({}, lr, DType::float64));
  const AdamWRule rule{.variant = variant_of(settings_.kind),
                       .beta1 = settings_.beta1,
                       .beta2 = settings_.beta2,
                       .eps = settings_.eps};
  factors_.copy_from(to_tensor({adamw_factors(rule, lr, settings_.weight_decay, num_steps_),
                                adamw_factors(rule, lr, /*weight_decay=*/0, num_steps_)}));
}

void Optimizer::move(const Tensor& gradient_scale) {
  if (with_gradient(tensors_).empty()) return;
  if (settings_.kind == OptimizerKind::sgd) return move_sgd(gradient_scale);
  move_adamw(gradient_scale);
}

void Optimizer::move_adamw(const Tensor& gradient_scale) {
  const Tensor with_decay = factors_.slice(0, 1), without = factors_.slice(1, 2);
  Backend::AdamWStep step{.tensors = {}, .gradient_scale = gradient_scale};
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const TrainableTensor& trainable = tensors_[i];
    if (!trainable.variable.has_grad()) continue;
    const GradientParts gradient = gradient_parts(trainable);
    if (gradient.rows == nullptr) rows_with_moments_[i] = Tensor();  // any may have some after this
    step.tensors.push_back({.parameter = trainable.variable.tensor(),
                            .gradient = gradient.values,
                            .first_moment = first_moments_[i],
                            .second_moment = second_moments_[i],
                            .indices = indices_or_null(trainable),
                            .factors = trainable.weight_decay ? with_decay : without,
                            .rounded = rounded_or_null(trainable),
                            .gradient_rows = gradient.rows,
                            .rows_with_moments = gradient.rows != nullptr ? rows_with_moments(i) : nullptr});
  }
  step.tensors.front().parameter.backend().adamw_step(step);
}

/// Known from the moments themselves, which checkpoints keep.
const Tensor* Optimizer::rows_with_moments(size_t i) {
  Tensor& rows = rows_with_moments_[i];
  if (rows.defined()) return &rows;
  rows = Tensor::zeros({first_moments_[i].size(0)}, DType::int32);
  dispatch_floating(first_moments_[i].dtype(), [&]<typename T>() {
    mark_rows_that_are_not_zero<T>(first_moments_[i], rows.data<int32_t>());
    mark_rows_that_are_not_zero<T>(second_moments_[i], rows.data<int32_t>());
  });
  return &rows;
}

void Optimizer::move_sgd(const Tensor& gradient_scale) {
  Backend::SgdStep step{.tensors = {}, .lr = lr_, .gradient_scale = gradient_scale};
  for (const TrainableTensor* trainable : with_gradient(tensors_)) {
    const GradientParts gradient = gradient_parts(*trainable);
    step.tensors.push_back({.parameter = trainable->variable.tensor(),
                            .gradient = gradient.values,
                            .indices = indices_or_null(*trainable),
                            .weight_decay = trainable->weight_decay ? settings_.weight_decay : 0,
                            .rounded = rounded_or_null(*trainable),
                            .gradient_rows = gradient.rows});
  }
  step.tensors.front().parameter.backend().sgd_step(step);
}

Tensor Optimizer::squared_gradient_norms() const {
  std::vector<Backend::NormInput> gradients;
  for (const TrainableTensor* trainable : with_gradient(tensors_)) {
    gradients.push_back({gradient_parts(*trainable).values, indices_or_null(*trainable)});
  }
  const Device device = gradients.empty() ? Device{} : gradients.front().tensor.device();
  Tensor norms = Tensor::empty({static_cast<int64_t>(gradients.size())}, DType::float64, device);
  norms.backend().squared_norms(gradients, norms);
  return norms;
}

std::vector<std::string_view> Optimizer::names_with_gradient() const {
  std::vector<std::string_view> names;
  for (const TrainableTensor* trainable : with_gradient(tensors_)) names.emplace_back(trainable->name);
  return names;
}

void Optimizer::zero_grad() {
  for (TrainableTensor& trainable : tensors_) trainable.variable.zero_grad();
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> state;
  for (size_t i = 0; i < first_moments_.size(); ++i) {
    state.push_back({tensors_[i].name + ".exp_avg", first_moments_[i]});
    state.push_back({tensors_[i].name + ".exp_avg_sq", second_moments_[i]});
  }
  return state;
}

void Optimizer::load_state(const std::vector<NamedTensor>& state, int64_t num_steps) {
  if (state.size() != 2 * first_moments_.size()) {
    fail(ErrorKind::model, "optimiser state: expected {} tensors, found {}", 2 * first_moments_.size(),
         state.size());
  }
  for (size_t i = 0; i < first_moments_.size(); ++i) {
    restore(state, tensors_[i].name + ".exp_avg", first_moments_[i]);
    restore(state, tensors_[i].name + ".exp_avg_sq", second_moments_[i]);
  }
  std::ranges::fill(rows_with_moments_, Tensor());
  num_steps_ = num_steps;
}

}  // namespace normtune
