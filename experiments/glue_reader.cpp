#include <algorithm>
#include <set>
#include <utility>

#include "experiments/data_file.h"
#include "experiments/dataset.h"
#include "experiments/dataset_reader.h"
#include "nn/printable.h"
#include "tensor/error.h"

namespace normtune {
namespace {

using detail::finish_dataset;

std::vector<std::string_view> split_fields(std::string_view line) {
  std::vector<std::string_view> fields;
  for (size_t begin = 0;;) {
    const size_t end = line.find('\t', begin);
    fields.push_back(line.substr(begin, end == std::string_view::npos ? end : end - begin));
    if (end == std::string_view::npos) return fields;
    begin = end + 1;
  }
}

/// Places of the columns in a row; none: the layout has no such column.
struct Columns {
  size_t count = 0;
  size_t sentence1 = 0;
  std::optional<size_t> sentence2, label, index;
};

std::string join_names(const auto& names) {
  return fmt::format("{}", fmt::join(names, "|"));
}

std::optional<size_t> find_column(const std::vector<std::string_view>& header, const std::string& name,
                                  const TableLayout& layout, const std::filesystem::path& file) {
  if (name.empty()) return std::nullopt;
  const auto found = std::find(header.begin(), header.end(), name);
  if (found == header.end() || std::find(found + 1, header.end(), name) != header.end()) {
    fail(ErrorKind::data, "{}, line 1: expected a header with one column '{}' ({}), found {}", file.string(),
         name, join_names(layout.columns), printable(join_names(header)));
  }
  return static_cast<size_t>(found - header.begin());
}

Columns find_columns(const std::vector<std::string_view>& header, const TableLayout& layout,
                     const std::filesystem::path& file) {
  return {.count = header.size(),
          .sentence1 = *find_column(header, layout.sentence1, layout, file),
          .sentence2 = find_column(header, layout.sentence2, layout, file),
          .label = find_column(header, layout.label, layout, file),
          .index = find_column(header, layout.index, layout, file)};
}

/// The file's own header where it has one; a harmless difference from the published one is a warning.
Columns read_header(const std::vector<std::string_view>& lines, const TableLayout& layout,
                    const std::filesystem::path& file, std::vector<std::string>& warnings) {
  const std::vector<std::string_view> expected(layout.columns.begin(), layout.columns.end());
  if (!layout.header) return find_columns(expected, layout, file);
  if (lines.empty())
    fail(ErrorKind::data, "{}: expected a header and rows, found an empty file", file.string());
  const std::vector<std::string_view> header = split_fields(lines[0]);
  const Columns columns = find_columns(header, layout, file);
  if (header != expected) {
    warnings.push_back(fmt::format("{}, line 1: expected the header {}, found {}; columns are taken by name",
                                   file.string(), join_names(expected), printable(join_names(header))));
  }
  return columns;
}

/// Reads the rows of one TAB-separated file of a GLUE task into a data set. There is no quoting: a double
/// quote is a character like any other.
class TableReader {
 public:
  TableReader(const Task& task, const TableLayout& layout, const std::filesystem::path& path)
      : task_(task), layout_(layout), file_(path), lines_(file_.lines()) {}

  void read(Dataset& dataset) {
    columns_ = read_header(lines_, layout_, file_.path(), dataset.warnings);
    for (size_t i = layout_.header ? 1 : 0; i < lines_.size(); ++i) {
      line_ = static_cast<int64_t>(i) + 1;
      const auto fields = split_fields(lines_[i]);
      if (skip_short(fields) || skip_without_gold_label(fields)) continue;
      dataset.examples.push_back(read_row(fields, static_cast<int64_t>(dataset.examples.size())));
    }
    report_skipped(dataset.warnings);
  }

 private:
  template <typename... Args>
  [[noreturn]] void fail_here(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorKind::data, "{}, line {}: {}", file_.path().string(), line_,
         fmt::format(format, std::forward<Args>(args)...));
  }

  bool skip_short(const std::vector<std::string_view>& fields) {
    if (task_.max_short_rows == 0 || !columns_.label || fields.size() >= columns_.count) return false;
    if (++num_short_ > task_.max_short_rows) {
      fail_here("more than {} rows with fewer than {} fields; the file is damaged", task_.max_short_rows,
                columns_.count);
    }
    return true;
  }

  bool skip_without_gold_label(const std::vector<std::string_view>& fields) {
    if (task_.no_gold_label.empty() || !columns_.label || fields.size() != columns_.count) return false;
    const bool skipped = fields[*columns_.label] == task_.no_gold_label;
    num_without_gold_label_ += skipped ? 1 : 0;
    return skipped;
  }

  void report_skipped(std::vector<std::string>& warnings) const {
    if (num_short_ > 0) {
      warnings.push_back(
          fmt::format("{}: skipped {} rows with too few fields", file_.path().string(), num_short_));
    }
    if (num_without_gold_label_ > 0) {
      warnings.push_back(fmt::format("{}: skipped {} rows whose {} is '{}'", file_.path().string(),
                                     num_without_gold_label_, layout_.label, task_.no_gold_label));
    }
  }

  Example read_row(const std::vector<std::string_view>& fields, int64_t row_number) const {
    if (fields.size() != columns_.count) {
      fail_here("expected {} fields ({}), found {}", columns_.count, join_names(layout_.columns),
                fields.size());
    }
    Example example{.sentence1 = std::string(fields[columns_.sentence1]), .idx = row_number};
    if (columns_.sentence2) example.sentence2 = std::string(fields[*columns_.sentence2]);
    if (columns_.index) example.idx = read_index(fields[*columns_.index]);
    if (columns_.label) read_label(fields[*columns_.label], example);
    if (!columns_.label && task_.regression) example.target = std::numeric_limits<double>::quiet_NaN();
    return example;
  }

  int64_t read_index(std::string_view text) const {
    const auto index = parse_integer(text);
    if (!index || *index < 0) {
      fail_here("expected a row index ({}), found {}", layout_.index, printable(text));
    }
    return *index;
  }

  void read_label(std::string_view text, Example& example) const {
    if (task_.regression) {
      example.target = detail::parse_score(text, true, file_.path(), line_);
      return;
    }
    const auto found = std::find(task_.file_labels.begin(), task_.file_labels.end(), text);
    if (found == task_.file_labels.end()) {
      fail_here("expected a label of {} ({}), found {}", task_.name, fmt::join(task_.file_labels, ", "),
                printable(text));
    }
    example.label = static_cast<int32_t>(found - task_.file_labels.begin());
  }

  const Task& task_;
  const TableLayout& layout_;
  DataFile file_;
  std::vector<std::string_view> lines_;
  Columns columns_;
  int64_t line_ = 0;
  int64_t num_short_ = 0;
  int64_t num_without_gold_label_ = 0;
};

Dataset empty_dataset(const Task& task, const TaskSplit& split) {
  return {.task = task.name,
          .split = split.name,
          .label_names = task.label_names,
          .regression = task.regression,
          .labelled = !split.layout.label.empty()};
}

/// Pairs of ids, one per line, as in MRPC's dev_ids.tsv.
std::set<std::pair<std::string, std::string>> read_id_pairs(const std::filesystem::path& path) {
  const DataFile file(path);
  std::set<std::pair<std::string, std::string>> pairs;
  int64_t line = 0;
  for (std::string_view text : file.lines()) {
    ++line;
    const auto fields = split_fields(text);
    if (fields.size() != 2) {
      fail(ErrorKind::data, "{}, line {}: expected 2 ids, found {} fields", path.string(), line,
           fields.size());
    }
    pairs.emplace(fields[0], fields[1]);
  }
  return pairs;
}

/// MRPC as its licence makes people download it: train and dev are parts of one file, told apart by
/// dev_ids.tsv.
Dataset load_mrpc_from_corpus(const Task& task, const TaskSplit& split, const std::filesystem::path& folder) {
  Dataset dataset = empty_dataset(task, split);
  dataset.files = {folder / "msr_paraphrase_train.txt", folder / "dev_ids.tsv"};
  const auto dev_ids = read_id_pairs(dataset.files[1]);
  Dataset all = empty_dataset(task, split);
  TableReader(task, split.layout, dataset.files[0]).read(all);
  const DataFile file(dataset.files[0]);
  const auto lines = file.lines();
  const auto header = split_fields(lines[0]);
  const auto id_column = [&](const std::string& name) {
    return *find_column(header, name, split.layout, dataset.files[0]);
  };
  const size_t id1 = id_column("#1 ID"), id2 = id_column("#2 ID");
  for (Example& example : all.examples) {
    const auto fields = split_fields(lines[static_cast<size_t>(example.idx) + 1]);
    const bool in_dev = dev_ids.contains({std::string(fields[id1]), std::string(fields[id2])});
    if (in_dev != (split.name == "dev")) continue;
    example.idx = static_cast<int64_t>(dataset.examples.size());
    dataset.examples.push_back(std::move(example));
  }
  dataset.warnings = std::move(all.warnings);
  return dataset;
}

/// The rows that row_counts.tsv of the folder states for `file`; none if it does not, or if there is no such
/// file. A folder of other tasks in GLUE's layout says so how long its files are.
std::optional<int64_t> stated_row_count(const std::filesystem::path& glue_dir,
                                        const std::filesystem::path& file) {
  const std::filesystem::path path = glue_dir / "row_counts.tsv";
  if (!std::filesystem::exists(path)) return std::nullopt;
  const DataFile counts(path);
  int64_t line = 0;
  for (const std::string_view text : counts.lines()) {
    const auto fields = split_fields(text);
    if (++line == 1 && text == "file\trows") continue;
    const auto rows = fields.size() == 2 ? parse_integer(fields[1]) : std::nullopt;
    if (line == 1 || !rows) {
      fail(ErrorKind::data, "{}: line {}: expected {}, found {}", path.string(), line,
           line == 1 ? "the header file|rows" : "a file and its number of rows", printable(text));
    }
    if (glue_dir / fields[0] == file) return rows;
  }
  return std::nullopt;
}

void warn_about_row_count(Dataset& dataset, const TaskSplit& split, const std::filesystem::path& glue_dir) {
  const auto stated = stated_row_count(glue_dir, dataset.files[0]);
  const std::vector<int64_t> expected = stated ? std::vector{*stated} : split.expected_rows;
  const auto rows = static_cast<int64_t>(dataset.examples.size());
  if (expected.empty() || std::find(expected.begin(), expected.end(), rows) != expected.end()) return;
  dataset.warnings.push_back(fmt::format("{}: expected {} rows ({} {}), found {}", dataset.files[0].string(),
                                         fmt::join(expected, " or "), dataset.task, dataset.split, rows));
}

/// The first of the split's files that is there, as TSV or else as JSON Lines; empty if none is.
std::filesystem::path find_file(const TaskSplit& split, const std::filesystem::path& glue_dir) {
  for (const char* extension : {".tsv", ".jsonl"}) {
    for (const std::string& name : split.files) {
      std::filesystem::path file = (glue_dir / name).replace_extension(extension);
      if (std::filesystem::exists(file)) return file;
    }
  }
  return {};
}

Dataset load_rows(const Task& task, const TaskSplit& split, const std::filesystem::path& glue_dir) {
  const std::filesystem::path file = find_file(split, glue_dir);
  if (file.extension() == ".jsonl") return load_own_file(file, split.name, task, !split.layout.label.empty());
  if (!file.empty()) {
    Dataset dataset = empty_dataset(task, split);
    dataset.files = {file};
    TableReader(task, split.layout, file).read(dataset);
    return dataset;
  }
  const std::filesystem::path folder = glue_dir / task.folder;
  const bool from_corpus = task.name == "mrpc" && (split.name == "train" || split.name == "dev");
  if (from_corpus && std::filesystem::exists(folder / "msr_paraphrase_train.txt")) {
    return load_mrpc_from_corpus(task, split, folder);
  }
  fail(ErrorKind::data, "{}: no such file ({} {}); --glue_dir is the folder that holds CoLA, SST-2, ...",
       (glue_dir / split.files[0]).string(), task.name, split.name);
}

}  // namespace

Dataset load_glue(const Task& task, const std::filesystem::path& glue_dir, const std::string& split_name,
                  int64_t max_samples) {
  const TaskSplit& split = find_split(task, split_name);
  Dataset dataset = load_rows(task, split, glue_dir);
  warn_about_row_count(dataset, split, glue_dir);
  finish_dataset(dataset, max_samples);
  return dataset;
}

}  // namespace normtune
