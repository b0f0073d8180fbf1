#include "tools/method_options.h"

namespace normtune {

namespace {

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const MethodDescription& description : method_descriptions()) names.emplace_back(description.name);
  return names;
}

void add_adapter_options(Options& options, MethodOptions& method) {
  options.group("Adapters (houlsby, pfeiffer) and LoRA");
  options.integer("adapter_size", method.adapter_size, at_least_1,
                  "size of the bottleneck, at most 4 * intermediate_size",
                  "houlsby 64; pfeiffer hidden size / reduction factor");
  options.integer("adapter_reduction_factor", method.adapter_reduction_factor, at_least_1,
                  "hidden size / size of the bottleneck", "pfeiffer 16");
  options.choice("adapter_non_linearity", method.adapter_non_linearity, {"relu", "gelu", "swish"},
                 "of the bottleneck", "houlsby gelu; pfeiffer relu");
  options.boolean("houlsby_layernorm", method.houlsby_layernorm, "houlsby also trains all LayerNorms");
  options.integer("lora_r", method.lora_r, at_least_1, "rank of the update, at most hidden_size");
  options.number("lora_alpha", method.lora_alpha, above_0, "the update is scaled by alpha / r");
  options.number("lora_dropout", method.lora_dropout, from_0_below_1, "dropout on the input of A");
  options.list("lora_target_modules", method.lora_target_modules, "NAME,...",
               "linear layers that get an update");
}

}  // namespace

void add_method_options(Options& options, MethodArguments& method) {
  MethodOptions& target = method.options;
  options.group("Method");
  options.choice("method", target.method, method_names(), "which parameters move, beside the head");
  options.text("train_params", target.train_params, "PATTERN",
               "comma-separated globs over tensor names, in place of the method's own choice");
  options.choice("train_pooler", method.train_pooler, {"auto", "true", "false"},
                 "the pooler; auto: as the method has it");
  options.boolean("fresh_pooler", target.fresh_pooler, "draws a new pooler, trained as part of the head");
  options.path("mask", target.mask, "FILE", "mask: the elements that move");
  options.integer("random_k", target.random_k, at_least_0, "random: number of elements",
                  "2 x layers x hidden size, as many as layernorm");
  options.text("random_scope", target.random_scope, "encoder|model|COMPONENT", "random: drawn from");
  options.seed("mask_seed", method.mask_seed, "random: seed of the draw", "--seed");
  add_adapter_options(options, target);
}

MethodOptions resolve_method(const MethodArguments& method, uint64_t seed) {
  MethodOptions options = method.options;
  options.train_pooler = method.train_pooler == "true"    ? TrainPooler::yes
                         : method.train_pooler == "false" ? TrainPooler::no
                                                          : TrainPooler::automatic;
  options.mask_seed = method.mask_seed.value_or(seed);
  return options;
}

}  // namespace normtune
