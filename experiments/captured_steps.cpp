#include "experiments/captured_steps.h"

namespace normtune {

namespace {

/// Beyond so many shapes all are forgotten. Batches of 8 to 4,096 tokens have about 60.
constexpr size_t most_shapes = 256;

std::vector<Tensor*> arrays_of(TrainingBatch& batch) {
  PackedBatch& packed = batch.packed;
  std::vector<Tensor*> arrays{&packed.input_ids,     &packed.token_type_ids,  &packed.position_ids,
                              &packed.example_ids,   &packed.cu_seqlens,      &packed.cls_rows,
                              &packed.cls_positions, &packed.cls_example_ids, &packed.cls_cu_seqlens};
  for (Tensor& target : batch.targets) arrays.push_back(&target);
  return arrays;
}

TrainingBatch copied_to(Device device, TrainingBatch batch) {
  for (Tensor* array : arrays_of(batch)) *array = array->to(device);
  return batch;
}

void overwrite(TrainingBatch& batch, TrainingBatch source) {
  const std::vector<Tensor*> arrays = arrays_of(batch), sources = arrays_of(source);
  for (size_t i = 0; i < arrays.size(); ++i) arrays[i]->copy_from(*sources[i]);
}

}  // namespace

bool CapturedSteps::are_on() const {
  return are_wanted_ && objective_.repeats_shapes() && backend_of(model_.device()).can_capture();
}

const UpdateNumbers& CapturedSteps::run(int64_t num_batches,
                                        const std::function<TrainingBatch(int64_t)>& make_batch,
                                        const ForwardContext& context, double max_grad_norm) {
  const Tensor keys = dropout_keys(context.dropout_seed, context.step, model_.num_layers());
  if (!dropout_keys_.defined()) dropout_keys_ = Tensor::empty(keys.shape(), keys.dtype(), model_.device());
  dropout_keys_.copy_from(keys);
  ForwardContext with_keys = context;
  with_keys.dropout_keys = dropout_keys_;
  if (num_batches > 1) return run_several(num_batches, make_batch, with_keys, max_grad_norm);
  Piece& piece = piece_of(make_batch(0), /*is_one_of_several=*/false, max_grad_norm);
  run_piece(piece, [&] {
    const Variable loss = backward(piece, with_keys);
    piece.numbers = clip_and_move(optimizer_, loss.tensor().reshape({1}), max_grad_norm);
  });
  return piece.numbers;
}

const UpdateNumbers& CapturedSteps::run_several(int64_t num_batches,
                                                const std::function<TrainingBatch(int64_t)>& make_batch,
                                                const ForwardContext& context, double max_grad_norm) {
  if (sums_.empty()) make_sums();
  End& end = ends_[{num_batches, max_grad_norm}];
  if (!end.losses.defined()) end.losses = Tensor::empty({num_batches}, model_.dtype(), model_.device());
  for (int64_t i = 0; i < num_batches; ++i) {
    Piece& piece = piece_of(make_batch(i), /*is_one_of_several=*/true, max_grad_norm);
    run_piece(piece, [&] {
      piece.numbers.losses = backward(piece, context).tensor().reshape({1});
      add_gradients_to_sums();
    });
    end.losses.slice(i, i + 1).copy_from(piece.numbers.losses);
  }
  run_piece(end.piece, [&] { move_by_sums(end, max_grad_norm); });
  return end.piece.numbers;
}

CapturedSteps::Piece& CapturedSteps::piece_of(const TrainingBatch& batch, bool is_one_of_several,
                                              double max_grad_norm) {
  const BatchKey key{is_one_of_several, batch.packed.batch_size, batch.packed.total_tokens, batch.scales,
                     max_grad_norm};
  if (const auto found = batches_.find(key); found != batches_.end()) {
    overwrite(found->second.batch, batch);
    return found->second;
  }
  if (batches_.size() == most_shapes) batches_.clear();
  return batches_.emplace(key, Piece{.batch = copied_to(model_.device(), batch)}).first->second;
}

void CapturedSteps::run_piece(Piece& piece, const std::function<void()>& enqueue) {
  Backend& backend = backend_of(model_.device());
  if (!piece.is_rehearsed) {
    backend.rehearse(enqueue);
    piece.is_rehearsed = true;
    return;
  }
  if (!piece.work) {
    piece.numbers = {};  // of the rehearsal
    piece.work = backend.capture(enqueue);
  }
  piece.work->replay();
}

Variable CapturedSteps::backward(const Piece& piece, const ForwardContext& context) {
  Variable loss = objective_.loss(model_, piece.batch, context);
  loss.backward();
  return loss;
}

void CapturedSteps::make_sums() {
  for (const TrainableTensor& trainable : optimizer_.tensors()) {
    const Tensor& value = trainable.variable.tensor();
    sums_.push_back({.sum = Tensor::zeros(value.shape(), value.dtype(), value.device())});
  }
}

void CapturedSteps::add_gradients_to_sums() {
  for (size_t i = 0; i < sums_.size(); ++i) {
    const Variable& variable = optimizer_.tensors()[i].variable;
    if (!variable.has_grad()) continue;
    sums_[i].sum.backend().add_scaled(variable.grad(), 1, sums_[i].sum);
    sums_[i].has_gradient = true;
  }
  optimizer_.zero_grad();
}

void CapturedSteps::move_by_sums(End& end, double max_grad_norm) {
  for (size_t i = 0; i < sums_.size(); ++i) {
    if (sums_[i].has_gradient) Variable(optimizer_.tensors()[i].variable).set_grad(sums_[i].sum);
  }
  end.piece.numbers = clip_and_move(optimizer_, end.losses, max_grad_norm);
  for (GradientSum& gradient : sums_) gradient.sum.fill(0);  // for the next update
}

}  // namespace normtune
