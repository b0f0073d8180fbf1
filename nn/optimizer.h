#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nn/lr_schedule.h"
#include "nn/parameter.h"
#include "nn/safetensors.h"
#include "tensor/backend.h"

namespace normtune {

/// A tensor that an optimiser moves: all of it, or the listed elements.
struct TrainableTensor {
  std::string name;
  Variable variable;
  Tensor indices;            // [k] int64, sorted; undefined for the whole tensor
  bool weight_decay = true;  ///< false for biases and LayerNorms

  int64_t numel() const { return indices.defined() ? indices.numel() : variable.tensor().numel(); }
};

enum class OptimizerKind { adamw_torch, adamw_hf, adamw_bert, sgd };

/// Throws Error(usage) naming the known optimisers if there is none of this name.
OptimizerKind find_optimizer(std::string_view name);

struct OptimizerSettings {
  OptimizerKind kind = OptimizerKind::adamw_torch;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0;
};

/// The L2 norm of a vector, from the squared norms of its parts.
double norm_of_parts(const Tensor& squared_norms /* [number of parts] float64 */);

/// AdamW in three published variants, and SGD (formats: section "Training behaviours"). Moments, decay and
/// the gradient norm exist for trainable elements only.
class Optimizer {
 public:
  Optimizer(std::vector<TrainableTensor> tensors, OptimizerSettings settings);

  /// One update, in two parts, of which the second can be captured work. First the device is told what is
  /// new in this update: its learning rate and bias corrections.
  void begin_step(double lr);
  /// Then the tensors move by their gradients, each multiplied by `gradient_scale` (clipping), [] float64 on
  /// the device; where that is not finite, nothing moves. A tensor without a gradient is left as it is,
  /// moments included. A copy that a variable keeps rounded moves with it.
  void move(const Tensor& gradient_scale);
  /// Both.
  void step(double lr, const Tensor& gradient_scale) {
    begin_step(lr);
    move(gradient_scale);
  }
  /// [number of tensors with a gradient] float64 on the device: of each the sum of squares over its trainable
  /// elements, in double precision. Whoever reads them waits for the device; this does not.
  Tensor squared_gradient_norms() const;
  /// The names of the tensors with a gradient, in the order of squared_gradient_norms().
  std::vector<std::string_view> names_with_gradient() const;
  void zero_grad();

  const std::vector<TrainableTensor>& tensors() const { return tensors_; }
  int64_t num_steps() const { return num_steps_; }

  /// "NAME.exp_avg" and "NAME.exp_avg_sq" of every tensor, for checkpoints.
  std::vector<NamedTensor> state() const;
  /// Restores what state() gave. Throws Error(model) for a missing or surplus tensor, or one of another shape
  /// or dtype.
  void load_state(const std::vector<NamedTensor>& state, int64_t num_steps);

 private:
  const Tensor* rows_with_moments(size_t i);
  void move_adamw(const Tensor& gradient_scale);
  void move_sgd(const Tensor& gradient_scale);

  std::vector<TrainableTensor> tensors_;
  OptimizerSettings settings_;
  // Of the current update, on the device:
  Tensor lr_;       // [] float64, for SGD
  Tensor factors_;  // [2, 7] see to_tensor(): with weight decay, without
  std::vector<Tensor> first_moments_, second_moments_;
  std::vector<Tensor> rows_with_moments_;  // of tensors whose gradients are of rows, see Backend::AdamWTensor
  int64_t num_steps_ = 0;
};

}  // namespace normtune
