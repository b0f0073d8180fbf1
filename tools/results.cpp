#include "tools/results.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

namespace normtune {

namespace {

using Json = nlohmann::ordered_json;

/// Rates, counts and what is repeated elsewhere.
bool is_score(std::string_view key) {
  if (!key.starts_with("eval_")) return false;
  constexpr std::array<std::string_view, 5> others = {"eval_samples", "eval_samples_mm", "eval_runtime",
                                                      "eval_samples_per_second", "eval_steps_per_second"};
  for (const std::string_view other : others) {
    if (key == other) return false;
  }
  return key != "eval_score";
}

std::string format_score(std::string_view key, const Json& value) {
  if (!value.is_number()) return "undefined";
  const double score = value.get<double>();
  const bool is_loss = key.starts_with("eval_loss") || key.ends_with("_loss");
  return is_loss ? fmt::format("{:.4f}", score) : fmt::format("{:.2f} %", 100 * score);
}

}  // namespace

std::string score_table(const Json& results) {
  std::vector<std::vector<std::string>> rows = {{"score", ""}};
  for (const auto& [key, value] : results.items()) {
    if (is_score(key)) rows.push_back({key, format_score(key, value)});
  }
  for (const char* key : {"eval_samples", "eval_samples_mm"}) {
    if (results.contains(key)) rows.push_back({key, with_thousands(results[key].get<int64_t>())});
  }
  return format_table(rows);
}

std::string cost_lines(const Json& results) {
  std::vector<std::vector<std::string>> rows = {{"cost", ""}};
  if (results["ms_per_step"].is_number()) {
    rows.push_back({"time per step", fmt::format("{:.1f} ms", results["ms_per_step"].get<double>())});
  }
  rows.push_back({"peak memory", format_bytes(results["peak_rss_bytes"].get<double>())});
  const auto trainable = results["trainable_parameters"].get<int64_t>();
  const auto total = results["total_parameters"].get<int64_t>();
  rows.push_back({"trainable parameters",
                  fmt::format("{} of {} ({:.4g} %)", with_thousands(trainable), with_thousands(total),
                              100.0 * static_cast<double>(trainable) / static_cast<double>(total))});
  return format_table(rows);
}

std::string format_bytes(double bytes) {
  constexpr std::array<const char*, 4> units = {"KiB", "MiB", "GiB", "TiB"};
  double amount = bytes / 1024;
  size_t unit = 0;
  while (amount >= 1024 && unit + 1 < units.size()) {
    amount /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", amount, amount < 10 ? 2 : amount < 100 ? 1 : 0, units[unit]);
}

void print_figures(const Console& console, const DrawnFigures& figures) {
  for (const std::filesystem::path& file : figures.files) console.result(file.string());
  if (!figures.note.empty()) console.note(figures.note);
}

}  // namespace normtune
