#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "experiments/dataset.h"

// What the readers of GLUE folders and of own files share.
namespace normtune::detail {

/// Sets the score, or throws Error(data): STS-B's run from 0 to 5, others are any finite number.
double parse_score(std::string_view text, bool from_zero_to_five, const std::filesystem::path& file,
                   int64_t line);

/// Refuses a data set without rows, and keeps the first `max_samples`.
void finish_dataset(Dataset& dataset, int64_t max_samples);

}  // namespace normtune::detail
