#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "nn/safetensors.h"

namespace normtune {

/// Which modules a PEFT method changes: every module whose path equals an entry of `modules` or ends with "."
/// and the entry; or, if `regex` is not empty, every module whose whole path it matches.
struct PeftTargets {
  std::vector<std::string> modules;
  std::string regex;

  bool match(std::string_view module_path) const;
};

/// A LoRA folder: W + scaling B A for the weight W of each targeted module.
struct LoraDelta {
  int64_t r = 8;
  double lora_alpha = 8;
  double lora_dropout = 0;
  bool use_rslora = false;
  std::string bias = "none";  // which biases are in `tensors`: "none", "all" or "lora_only"
  PeftTargets targets = {.modules = {"query", "value"}, .regex = ""};
  std::vector<std::string> modules_to_save = {"classifier"};
  std::string base_model_name_or_path;
  /// M.lora_A.weight [r, in] and M.lora_B.weight [out, r] for each module path M
  /// ("bert.encoder.layer.0.attention.self.query"), M.bias where `bias` says so, and modules_to_save under
  /// their plain names ("classifier.weight"). Sorted by name when read.
  std::vector<NamedTensor> tensors;

  /// lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora.
  double scaling() const;
};

/// A folder of PEFT's LN_TUNING: new values (not differences) of the targeted LayerNorms.
struct LnTuningDelta {
  PeftTargets targets;
  std::vector<std::string> modules_to_save = {"classifier"};
  std::string base_model_name_or_path;
  /// Plain model names: "bert.encoder.layer.0.output.LayerNorm.weight", "classifier.bias". Sorted when read.
  std::vector<NamedTensor> tensors;
};

/// Reads adapter_config.json and adapter_model.safetensors (or adapter_model.bin). Throws
/// Error(ErrorKind::model) naming file, key or tensor for what is malformed, incomplete (A without B, another
/// rank than r, no classifier) or a variant that we do not compute (DoRA, rank patterns, quantised, ...).
LoraDelta read_lora_folder(const std::filesystem::path& folder);
LnTuningDelta read_ln_tuning_folder(const std::filesystem::path& folder);

/// Writes a folder that peft loads. Throws Error(ErrorKind::write).
void write_lora_folder(const std::filesystem::path& folder, const LoraDelta& delta);
void write_ln_tuning_folder(const std::filesystem::path& folder, const LnTuningDelta& delta);

}  // namespace normtune
