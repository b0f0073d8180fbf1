#pragma once

#include <filesystem>

#include "nn/model.h"

namespace normtune {

/// load_model for a PEFT or AdapterHub folder over the base model in `base`, whatever base the folder names.
Model load_delta_over(const std::filesystem::path& base, const std::filesystem::path& delta,
                      const LoadOptions& options);

}  // namespace normtune
