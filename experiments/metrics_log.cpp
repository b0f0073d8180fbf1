#include "experiments/metrics_log.h"

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "nn/atomic_file.h"
#include "nn/json_file.h"
#include "nn/mapped_file.h"
#include "tensor/error.h"

namespace normtune {

MetricsLog::MetricsLog(std::filesystem::path file, std::string run)
    : file_(std::move(file)), run_(std::move(run)) {}

void MetricsLog::write(const std::string& kind, const nlohmann::ordered_json& fields) {
  nlohmann::ordered_json line = {{"v", schema_version}, {"t", utc_time()}, {"run", run_}, {"kind", kind}};
  for (const auto& [key, value] : fields.items()) {
    check(!line.contains(key), "metrics log: the field '{}' is the log's own", key);
    line[key] = value;
  }
  // dump() writes NaN and infinities as null.
  file_.append(line.dump() + "\n");
}

namespace {

/// Whether a line was written no later than the checkpoint; run-time ends are not part of what is resumed.
bool belongs_before(const nlohmann::json& line, int64_t step) {
  if (line.value("kind", nlohmann::json()) == "end") return false;
  const auto found = line.find("step");
  return found == line.end() || !found->is_number() || found->get<double>() <= static_cast<double>(step);
}

}  // namespace

void truncate_metrics_log(const std::filesystem::path& file, int64_t step) {
  if (!std::filesystem::exists(file)) return;
  const std::string content = read_file(file, ErrorKind::data);
  std::string kept;
  int64_t number = 0;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = content.find('\n', begin);
    if (end == std::string::npos) break;  // a kill left it unfinished
    const std::string_view line = std::string_view(content).substr(begin, end - begin);
    const nlohmann::json parsed = parse_json(line, file.string(), ErrorKind::data, ++number);
    if (!parsed.is_object()) {
      fail(ErrorKind::data, "{}, line {}: expected a JSON object", file.string(), number);
    }
    if (belongs_before(parsed, step)) kept.append(line).append("\n");
    begin = end + 1;
  }
  write_file_atomically(file, kept);
}

std::string utc_time() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const std::time_t seconds = static_cast<std::time_t>(milliseconds / 1000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, milliseconds % 1000);
}

}  // namespace normtune
