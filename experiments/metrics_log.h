#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "experiments/append_file.h"

namespace normtune {

/// metrics.jsonl: one JSON object per line, appended and flushed line by line. Every line begins with `v`
/// (the schema number), `t` (UTC, ISO 8601), `run` and `kind`. Values that are not finite are written as
/// null. Kinds: start, resume, step, eval, checkpoint, drift, fisher, end; a reader skips those that it does
/// not know.
class MetricsLog {
 public:
  static constexpr int schema_version = 1;

  /// Opens `file` for appending, and creates it if need be. Throws Error(write).
  MetricsLog(std::filesystem::path file, std::string run);

  /// Appends a line; `fields` is an object without the four keys above. Throws Error(write).
  void write(const std::string& kind, const nlohmann::ordered_json& fields);

 private:
  AppendFile file_;
  std::string run_;
};

/// Makes the log what it was at the checkpoint of `step`: takes out lines with a larger `step`, `end` lines
/// and a last line that a kill left unfinished, and replaces the file in one rename. Call before opening the
/// log. A missing file is fine. Throws Error(data) that names file and line if a line is not a JSON object.
void truncate_metrics_log(const std::filesystem::path& file, int64_t step);

/// Now, in UTC: 2024-05-17T08:30:00.125Z.
std::string utc_time();

}  // namespace normtune
