#include "experiments/captured_steps.h"

namespace normtune {

namespace {

/// Beyond so many shapes all are forgotten. Batches of 8 to 4,096 tokens have about 60.
constexpr size_t most_steps = 256;

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

const UpdateNumbers& CapturedSteps::run(const TrainingBatch& batch, const ForwardContext& context,
                                        double max_grad_norm) {
  const Tensor keys = dropout_keys(context.dropout_seed, context.step, model_.num_layers());
  if (!dropout_keys_.defined()) dropout_keys_ = Tensor::empty(keys.shape(), keys.dtype(), model_.device());
  dropout_keys_.copy_from(keys);
  Backend& backend = backend_of(model_.device());
  const Key key{batch.packed.batch_size, batch.packed.total_tokens, batch.scales, max_grad_norm};
  if (const auto found = steps_.find(key); found != steps_.end()) {
    Step& step = found->second;
    overwrite(step.batch, batch);
    if (!step.work) {
      step.numbers = {};
      step.work = backend.capture([&] { enqueue(step, context, max_grad_norm); });
    }
    step.work->replay();
    return step.numbers;
  }
  if (steps_.size() == most_steps) steps_.clear();
  Step step{.batch = copied_to(model_.device(), batch)};
  backend.rehearse([&] { enqueue(step, context, max_grad_norm); });
  return steps_.emplace(key, std::move(step)).first->second.numbers;  // unless the rehearsal has failed
}

void CapturedSteps::enqueue(Step& step, const ForwardContext& context, double max_grad_norm) {
  ForwardContext with_keys = context;
  with_keys.dropout_keys = dropout_keys_;
  const Variable loss = objective_.loss(model_, step.batch, with_keys);
  loss.backward();
  step.numbers = clip_and_move(optimizer_, loss.tensor().reshape({1}), max_grad_norm);
}

}  // namespace normtune
