#pragma once

#include <functional>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "experiments/training_objective.h"
#include "experiments/update_numbers.h"

namespace normtune {

/// Updates as pieces of captured work (Backend::capture), for devices where hundreds of launches would take
/// the host longer than the device needs for a small batch. An update of one batch is one piece, from forward
/// to the optimiser. One of several batches has a piece for forward and backward of each, which adds the
/// gradients to those of the batches before, and one for the rest.
///
/// The first batch with some numbers of examples and of tokens (padded to buckets) is a rehearsal. The second
/// is captured, and that piece replayed for it and all other batches of the shape, whose arrays are copied to
/// where the first one's were.
class CapturedSteps {
 public:
  /// Model, objective and optimiser must outlive this object.
  CapturedSteps(Bert& model, const TrainingObjective& objective, Optimizer& optimizer, bool are_wanted)
      : model_(model), objective_(objective), optimizer_(optimizer), are_wanted_(are_wanted) {}

  /// Whether steps are captured: if they are wanted, the device captures work and the objective's batches
  /// allow it.
  bool are_on() const;
  /// Enqueues forward and backward of each batch of an update, and clip_and_move(), for a step that the
  /// optimiser has begun. `make_batch` makes batch i on the host with Padding::to_bucket. The numbers are
  /// valid until the next run(). After an exception this object is of no use: sums of gradients may be left.
  const UpdateNumbers& run(int64_t num_batches, const std::function<TrainingBatch(int64_t i)>& make_batch,
                           const ForwardContext& context, double max_grad_norm);

 private:
  struct Piece {
    TrainingBatch batch;    // on the device
    UpdateNumbers numbers;  // of one of several batches the loss alone
    bool is_rehearsed = false;
    std::unique_ptr<CapturedWork> work;  // null before it runs a second time
  };
  /// Whether it is one of several, its examples, tokens and scales, and max_grad_norm.
  using BatchKey = std::tuple<bool, int64_t, int64_t, std::vector<double>, double>;
  /// What follows several batches.
  struct End {
    Piece piece;
    Tensor losses;  // [number of batches]
  };
  using EndKey = std::tuple<int64_t, double>;  // the number of batches, and max_grad_norm
  /// Of a tensor of the optimiser, over the batches of an update so far; zero between updates.
  struct GradientSum {
    Tensor sum;
    bool has_gradient = false;
  };

  /// The piece of a batch, with its arrays.
  Piece& piece_of(const TrainingBatch& batch, bool is_one_of_several, double max_grad_norm);
  /// Rehearses, captures or replays what `enqueue` enqueues, which sets the piece's numbers.
  void run_piece(Piece& piece, const std::function<void()>& enqueue);
  Variable backward(const Piece& piece, const ForwardContext& context);
  const UpdateNumbers& run_several(int64_t num_batches,
                                   const std::function<TrainingBatch(int64_t)>& make_batch,
                                   const ForwardContext& context, double max_grad_norm);
  void make_sums();
  void add_gradients_to_sums();
  void move_by_sums(End& end, double max_grad_norm);

  Bert& model_;
  const TrainingObjective& objective_;
  Optimizer& optimizer_;
  bool are_wanted_;
  Tensor dropout_keys_;  // of the current step, on the device
  std::map<BatchKey, Piece> batches_;
  std::map<EndKey, End> ends_;
  std::vector<GradientSum> sums_;  // of all tensors, in their order; empty before the first several batches
};

}  // namespace normtune
