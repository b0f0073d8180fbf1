#include "nn/lora.h"

#include <cmath>

#include "nn/initialization.h"

namespace normtune {

namespace {

std::string lora_name(const LinearModule& module, char matrix) {
  return fmt::format("{}.lora_{}.weight", module.path, matrix);
}

}  // namespace

void attach_lora(Bert& model, const LoraDelta& delta, uint64_t init_seed) {
  bool attached = false;
  for (const LinearModule& module : model.linear_modules()) {
    if (!delta.targets.match(module.path)) continue;
    Linear& linear = *module.linear;
    const auto zeros = [&](int64_t rows, int64_t columns) {
      return Tensor::zeros({rows, columns}, model.dtype(), model.device());
    };
    Lora lora;
    lora.lora_A = model.parameters().add(lora_name(module, 'A'), zeros(delta.r, linear.in_features()));
    lora.lora_B = model.parameters().add(lora_name(module, 'B'), zeros(linear.out_features(), delta.r));
    lora.scaling = delta.scaling();
    lora.dropout = delta.lora_dropout;
    lora.dropout_site = module.lora_dropout_site;
    const double bound = 1 / std::sqrt(static_cast<double>(linear.in_features()));
    fill_uniform(lora.lora_A.tensor(), lora_name(module, 'A'), init_seed, bound);
    linear.lora = std::move(lora);
    attached = true;
  }
  if (!attached) {
    fail(ErrorKind::usage,
         "LoRA: no linear layer matches the target modules '{}'; layers end in query, key, value, "
         "attention.output.dense, intermediate.dense, output.dense",
         delta.targets.regex.empty() ? fmt::format("{}", fmt::join(delta.targets.modules, ","))
                                     : delta.targets.regex);
  }
}

Tensor merged_weight(const Linear& linear) {
  if (!linear.lora) return linear.weight.tensor();
  Tensor merged = linear.weight.tensor().clone();
  const Tensor lora_A = linear.lora->lora_A.tensor().to(merged.device());
  const Tensor lora_B = linear.lora->lora_B.tensor().to(merged.device());
  const Tensor update = Tensor::empty(merged.shape(), merged.dtype(), merged.device());
  merged.backend().matmul({.a = lora_B, .b = lora_A, .c = update});
  merged.backend().add_scaled(update, linear.lora->scaling, merged);
  return merged;
}

void merge_lora(Bert& model) {
  for (const LinearModule& module : model.linear_modules()) {
    if (!module.linear->lora) continue;
    Tensor weight =
        module.linear->weight.tensor();  // may be a part of a shared storage: overwrite, not replace
    weight.copy_from(merged_weight(*module.linear));
    module.linear->lora.reset();
    model.parameters().remove(lora_name(module, 'A'));
    model.parameters().remove(lora_name(module, 'B'));
  }
}

LoraDelta extract_lora(Bert& model, LoraDelta settings) {
  settings.tensors.clear();
  for (const LinearModule& module : model.linear_modules()) {
    if (!module.linear->lora) continue;
    settings.tensors.push_back({lora_name(module, 'A'), module.linear->lora->lora_A.tensor()});
    settings.tensors.push_back({lora_name(module, 'B'), module.linear->lora->lora_B.tensor()});
  }
  for (const char* name : {"classifier.weight", "classifier.bias"}) {
    settings.tensors.push_back({name, model.parameters().at(name).variable.tensor()});
  }
  return settings;
}

}  // namespace normtune
