#include "experiments/baseline.h"

#include "experiments/csv_file.h"
#include "nn/printable.h"
#include "tensor/error.h"

namespace normtune {

namespace {

double parse_score(const std::string& text, const std::string& where) {
  const std::optional<double> score = parse_number(text);
  if (!score || *score < -1 || *score > 1) {
    fail(ErrorKind::data, "{}: score: expected a fraction from -1 to 1, found {}", where, printable(text));
  }
  return *score;
}

}  // namespace

std::vector<Baseline> read_baselines(const std::filesystem::path& path) {
  const DataFile file(path);
  const std::vector<CsvRow> rows = read_csv(file);
  const std::vector<std::string> header = {"method", "task", "score", "source"};
  if (rows.empty() || rows.front().fields != header) {
    fail(ErrorKind::data, "{}: expected the header method,task,score,source in the first line",
         path.string());
  }
  std::vector<Baseline> baselines;
  for (size_t i = 1; i < rows.size(); ++i) {
    const std::vector<std::string>& fields = rows[i].fields;
    const std::string where = fmt::format("{}:{}", path.string(), rows[i].line);
    if (fields.size() != header.size()) {
      fail(ErrorKind::data, "{}: expected 4 fields, found {}", where, fields.size());
    }
    baselines.push_back({.method = fields[0],
                         .task = fields[1],
                         .score = parse_score(fields[2], where),
                         .source = fields[3]});
  }
  return baselines;
}

}  // namespace normtune
