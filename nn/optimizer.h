#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

struct OptimizerSettings {
  OptimizerKind kind = OptimizerKind::adamw_torch;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0;
};

/// AdamW in three published variants, and SGD (formats: section "Training behaviours"). Moments, decay and
/// the gradient norm exist for trainable elements only.
class Optimizer {
 public:
  Optimizer(std::vector<TrainableTensor> tensors, OptimizerSettings settings);

  /// One update from the gradients of the variables, each multiplied by `gradient_scale` (clipping,
  /// accumulation). A tensor without a gradient is left as it is, moments included.
  void step(double lr, double gradient_scale);
  /// L2 norm over all trainable elements, in double precision.
  double gradient_norm() const;
  void zero_grad();

  const std::vector<TrainableTensor>& tensors() const { return tensors_; }
  int64_t num_steps() const { return num_steps_; }

  /// "NAME.exp_avg" and "NAME.exp_avg_sq" of every tensor, for checkpoints.
  std::vector<NamedTensor> state() const;
  /// Restores what state() gave. Throws Error(model) for a missing tensor or a wrong shape.
  void load_state(const std::vector<NamedTensor>& state, int64_t num_steps);

 private:
  std::vector<TrainableTensor> tensors_;
  OptimizerSettings settings_;
  std::vector<Tensor> first_moments_, second_moments_;
  int64_t num_steps_ = 0;
};

enum class ScheduleKind { linear, constant, cosine };

/// The learning rate at an update, as a factor of the peak.
struct LearningRateSchedule {
  ScheduleKind kind = ScheduleKind::linear;
  int64_t warmup_steps = 0;
  int64_t total_steps = 0;

  /// `step` counts from 0: step / warmup_steps during warm-up, then linear: max(0, (T - t) / (T - warmup));
  /// constant: 1; cosine: (1 + cos(pi (t - warmup) / (T - warmup))) / 2.
  double factor(int64_t step) const;
};

}  // namespace normtune
