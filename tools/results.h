#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "experiments/figures.h"
#include "tools/console.h"

namespace normtune {

/// The scores in flat results ("eval_accuracy", "eval_loss_mm", ...) as a table for people: shares and
/// correlations in per cent, losses as they are.
std::string score_table(const nlohmann::ordered_json& results);

/// What a run cost, line by line: time per step, peak memory, trainable parameters.
std::string cost_lines(const nlohmann::ordered_json& results);

/// 1,234,567,890 bytes as "1.15 GiB".
std::string format_bytes(double bytes);

/// The figure files, one a line; and why there are none, or not all.
void print_figures(const Console& console, const DrawnFigures& figures);

}  // namespace normtune
