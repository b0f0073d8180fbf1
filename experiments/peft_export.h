#pragma once

#include <filesystem>
#include <string>

#include "experiments/method.h"
#include "nn/bert.h"

namespace normtune {

/// Writes what a LoRA or LayerNorm method changed as a folder that peft loads over `base_model`: low-rank
/// matrices, or new values of the trained LayerNorms, and the classifier (and the pooler if it is trained).
/// Throws Error(usage) for a method without such a form, Error(write).
void write_peft_delta(Bert& model, const MethodOptions& method, const std::string& base_model,
                      const std::filesystem::path& folder);

}  // namespace normtune
