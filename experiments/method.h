#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/adapterhub_folder.h"
#include "nn/bert.h"
#include "nn/optimizer.h"
#include "nn/peft_folder.h"

namespace normtune {

enum class TrainPooler { automatic, yes, no };

/// A fine-tuning method and its options; names and defaults are those of the command line.
struct MethodOptions {
  std::string method = "full";
  std::string train_params;  ///< comma-separated globs over tensor names that replace the method's selection
  TrainPooler train_pooler = TrainPooler::automatic;
  bool fresh_pooler = false;  ///< the pooler was newly drawn: it belongs to the head, which is always trained

  std::filesystem::path mask;       // mask
  std::optional<int64_t> random_k;  // random: number of elements; default 2 * num_hidden_layers * hidden_size
  std::string random_scope = "encoder";  // random: "encoder", "model" or a component
  uint64_t mask_seed = 42;               // random

  std::optional<int64_t> adapter_size;              // houlsby 64; pfeiffer hidden_size / reduction factor
  std::optional<int64_t> adapter_reduction_factor;  // pfeiffer 16
  std::string adapter_non_linearity;                // houlsby gelu, pfeiffer relu
  bool houlsby_layernorm = true;                    // houlsby: trains all LayerNorms

  int64_t lora_r = 8;
  double lora_alpha = 16;
  double lora_dropout = 0;
  std::vector<std::string> lora_target_modules = {"query", "value"};
};

/// One line of the methods table.
struct MethodDescription {
  std::string_view name;
  std::string_view trains;  ///< in words, beside the head
};
/// All methods in the order of documentation.
const std::vector<MethodDescription>& method_descriptions();
/// Throws Error(usage) naming the nearest method if there is none of this name.
void check_method_name(std::string_view name);

/// Turns the model into what `options` ask for: inserts adapters or low-rank updates (initialised from
/// `init_seed`), freezes everything, then sets requires_grad on what the method selects. Returns the
/// trainable tensors in the order of the model's parameters; the classifier (and a fresh pooler) is always
/// among them, whole. Throws Error(usage) for options that do not fit the model, Error(model) for a mask that
/// does not.
std::vector<TrainableTensor> apply_method(Bert& model, const MethodOptions& options, uint64_t init_seed);

/// Number of elements that move, head included.
int64_t trainable_elements(const std::vector<TrainableTensor>& tensors);

/// How many elements of a component exist and move, for tables.
struct ComponentCount {
  std::string component;
  int64_t tensors = 0;
  int64_t parameters = 0;  ///< elements
  int64_t trainable = 0;   ///< elements
};
/// Per component, in the order of the model, pooled over layers.
std::vector<ComponentCount> count_components(const Bert& model,
                                             const std::vector<TrainableTensor>& trainable);

/// The settings that the options ask for.
AdapterHubDelta houlsby_settings(const BertConfig& config, const MethodOptions& options);
AdapterHubDelta pfeiffer_settings(const BertConfig& config, const MethodOptions& options);
LoraDelta lora_settings(const MethodOptions& options);

/// The globs of a comma-separated PATTERN.
std::vector<std::string> split_pattern(std::string_view pattern);
/// True if `name` matches one of the comma-separated globs as a whole (`*` crosses dots).
bool matches_pattern(std::string_view name, std::string_view pattern);

}  // namespace normtune
