#include "experiments/submission.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/data_file.h"
#include "experiments/metrics.h"
#include "experiments/run_folder.h"
#include "experiments/zip_file.h"
#include "nn/atomic_file.h"
#include "nn/printable.h"
#include "tensor/error.h"

namespace normtune {
namespace {

using std::filesystem::path;

constexpr std::string_view header = "index\tprediction";

std::string score_text(double score) {
  return fmt::format("{:.3f}", std::clamp(score, 0.0, 5.0));
}

/// What the file says for each class of the data set, in the data set's class order.
std::vector<std::string> class_texts(const Task& task, const Dataset& dataset) {
  std::vector<std::string> texts;
  for (const std::string& name : dataset.label_names) {
    const auto found = std::find(task.label_names.begin(), task.label_names.end(), name);
    check(found != task.label_names.end(), "predictions of {}: unknown class {}", task.name, name);
    texts.push_back(task.file_labels[static_cast<size_t>(found - task.label_names.begin())]);
  }
  return texts;
}

std::vector<std::string> prediction_texts(const Task& task, const Dataset& dataset,
                                          std::span<const double> logits) {
  std::vector<std::string> texts;
  const std::vector<int32_t> classes = argmax_rows(logits, task.num_labels);
  if (task.regression) {
    for (double score : logits)
      texts.push_back(task.name == "stsb" ? score_text(score) : fmt::format("{}", score));
    return texts;
  }
  const std::vector<std::string> names = class_texts(task, dataset);
  for (int32_t label : classes) texts.push_back(names[static_cast<size_t>(label)]);
  return texts;
}

}  // namespace

std::string prediction_file_name(const Task& task, const std::string& split) {
  if (task.splits.empty()) return "predictions.tsv";
  const TaskSplit& found = find_split(task, split);
  return found.submission_file.empty() ? fmt::format("{}.{}.tsv", task.folder, split) : found.submission_file;
}

path write_predictions(const Task& task, const Dataset& dataset, std::span<const double> logits,
                       const path& folder) {
  check(logits.size() == dataset.examples.size() * static_cast<size_t>(task.num_labels),
        "write_predictions: expected {} x {} logits, found {}", dataset.examples.size(), task.num_labels,
        logits.size());
  const std::vector<std::string> texts = prediction_texts(task, dataset, logits);
  path file = folder / prediction_file_name(task, dataset.split);
  std::string content = fmt::format("{}\n", header);
  for (size_t i = 0; i < texts.size(); ++i)
    content += fmt::format("{}\t{}\n", dataset.examples[i].idx, texts[i]);
  write_file_atomically(file, content);
  return file;
}

void write_logits(const Dataset& dataset, std::span<const double> logits, const path& file) {
  const size_t rows = dataset.examples.size();
  check(rows > 0 && logits.size() % rows == 0, "write_logits: expected {} rows, found {} values", rows,
        logits.size());
  const size_t width = logits.size() / rows;
  std::string content;
  for (size_t i = 0; i < rows; ++i) {
    const auto row = logits.subspan(i * width, width);
    const nlohmann::ordered_json line = {{"idx", dataset.examples[i].idx},
                                         {"logits", std::vector<double>(row.begin(), row.end())}};
    content += line.dump() + "\n";
  }
  write_file_atomically(file, content);
}

namespace {

/// One of the eleven files of a submission.
struct SubmissionFile {
  const Task& task;
  const TaskSplit& split;

  const std::string& name() const { return split.submission_file; }
  int64_t rows() const { return split.expected_rows.at(0); }
  /// What stands in for a task that nobody trained.
  std::string filler() const {
    if (task.regression) return "0.000";
    return task.num_labels == 3 ? "neutral" : task.file_labels[0] == "0" ? "0" : "entailment";
  }
};

std::vector<SubmissionFile> submission_files() {
  std::vector<SubmissionFile> files;
  for (const Task& task : glue_tasks()) {
    for (const TaskSplit& split : task.splits) {
      if (!split.submission_file.empty()) files.push_back({task, split});
    }
  }
  return files;
}

bool is_valid_value(const Task& task, std::string_view text) {
  if (!task.regression) {
    return std::find(task.file_labels.begin(), task.file_labels.end(), text) != task.file_labels.end();
  }
  const auto score = parse_number(text);
  return score && *score >= 0.0 && *score <= 5.0;
}

void check_row(const SubmissionFile& file, const path& source, std::string_view line, int64_t row) {
  const size_t tab = line.find('\t');
  const std::string_view value = tab == std::string_view::npos ? "" : line.substr(tab + 1);
  const bool in_order = parse_integer(line.substr(0, tab)) == row;
  if (in_order && is_valid_value(file.task, value)) return;
  const std::string values =
      file.task.regression ? "a score from 0 to 5" : fmt::format("{}", fmt::join(file.task.file_labels, "|"));
  fail(ErrorKind::data, "{}, line {}: expected the index {}, a TAB and {}, found {}", source.string(),
       row + 2, row, values, printable(line));
}

/// The checked content of a prediction file.
std::string read_predictions(const SubmissionFile& file, const path& source) {
  const DataFile data(source);
  const std::vector<std::string_view> lines = data.lines();
  if (lines.empty() || lines[0] != header) {
    fail(ErrorKind::data, "{}, line 1: expected the header index, TAB, prediction, found {}", source.string(),
         lines.empty() ? "nothing" : printable(lines[0]));
  }
  std::string content = fmt::format("{}\n", header);
  for (size_t i = 1; i < lines.size(); ++i) {
    check_row(file, source, lines[i], static_cast<int64_t>(i) - 1);
    content += fmt::format("{}\n", lines[i]);
  }
  const auto rows = static_cast<int64_t>(lines.size()) - 1;
  if (rows != file.rows()) {
    fail(ErrorKind::data,
         "{}, line {}: expected {} rows, one for each row of {}, found {}; the server refuses others",
         source.string(), lines.size(), file.rows(), file.split.files[0], rows);
  }
  return content;
}

std::string constant_predictions(const SubmissionFile& file) {
  std::string content = fmt::format("{}\n", header);
  for (int64_t row = 0; row < file.rows(); ++row) content += fmt::format("{}\t{}\n", row, file.filler());
  return content;
}

/// The file of that name in the folders; empty if none has it.
path find_source(const SubmissionFile& file, const std::vector<path>& folders) {
  path source;
  for (const path& folder : folders) {
    if (!std::filesystem::exists(folder / file.name())) continue;
    if (!source.empty()) {
      fail(ErrorKind::usage, "{}: expected in one folder, found in {} and {}; name only one of them",
           file.name(), source.parent_path().string(), folder.string());
    }
    source = folder / file.name();
  }
  return source;
}

void check_folders(const std::vector<path>& folders, const std::vector<SubmissionFile>& files) {
  for (const path& folder : folders) {
    const bool holds_one = std::any_of(files.begin(), files.end(), [&](const SubmissionFile& file) {
      return std::filesystem::exists(folder / file.name());
    });
    if (holds_one) continue;
    std::vector<std::string> names;
    for (const SubmissionFile& file : files) names.push_back(file.name());
    fail(ErrorKind::data, "{}: expected a folder with predictions of a test split ({}), found none",
         folder.string(), fmt::join(names, ", "));
  }
}

}  // namespace

SubmissionReport write_submission(const std::vector<path>& folders, const path& zip_file) {
  const std::vector<SubmissionFile> files = submission_files();
  check_folders(folders, files);
  SubmissionReport report;
  std::vector<ZipEntry> entries;
  for (const SubmissionFile& file : files) {
    const path source = find_source(file, folders);
    if (source.empty()) {
      entries.push_back({file.name(), constant_predictions(file)});
      report.filled.push_back(fmt::format("{} with {}", file.name(), file.filler()));
    } else {
      require_outside_inputs("output_file", zip_file, {source});
      entries.push_back({file.name(), read_predictions(file, source)});
      report.taken.push_back(fmt::format("{} from {}", file.name(), source.string()));
    }
  }
  write_file_atomically(zip_file, zip_bytes(entries));
  return report;
}

}  // namespace normtune
