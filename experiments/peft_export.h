#pragma once

#include <filesystem>
#include <string>

#include "experiments/method.h"
#include "nn/bert.h"

namespace normtune {

/// Whether a method's changes have a PEFT format: lora and all layernorm methods.
bool has_peft_form(const std::string& method);

/// Throws Error(usage) naming the first trainable tensor of `model` for which the PEFT folder of the method
/// has no place. To be asked before a training, on a model that apply_method has prepared.
void require_peft_form(Bert& model, const MethodOptions& method);

/// Writes what a method with a PEFT form changed as a folder that peft loads over `base_model`: low-rank
/// matrices, or new values of the LayerNorms, and the classifier (and the pooler if it is trained).
/// Throws Error(write).
void write_peft_delta(Bert& model, const MethodOptions& method, const std::string& base_model,
                      const std::filesystem::path& folder);

}  // namespace normtune
