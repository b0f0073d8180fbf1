#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "experiments/csv_file.h"
#include "experiments/data_file.h"
#include "experiments/dataset.h"
#include "experiments/dataset_reader.h"
#include "nn/json_file.h"
#include "nn/printable.h"
#include "tensor/error.h"

namespace normtune {
namespace {

using nlohmann::json;
using std::filesystem::path;

enum class LabelKind { none, integer, decimal, text };

/// A label as the file has it, before it is known what labels mean.
struct RawLabel {
  LabelKind kind = LabelKind::none;
  std::string text;
};

struct RawRow {
  int64_t line = 0;
  std::string sentence1;
  std::optional<std::string> sentence2;
  RawLabel label;
  std::optional<int64_t> idx;
};

struct RawFile {
  std::vector<RawRow> rows;
  std::vector<std::string> warnings;
};

template <typename... Args>
[[noreturn]] void fail_at(const path& file, int64_t line, fmt::format_string<Args...> format,
                          Args&&... args) {
  fail(ErrorKind::data, "{}, line {}: {}", file.string(), line,
       fmt::format(format, std::forward<Args>(args)...));
}

/// The names of a file's text columns.
struct TextColumns {
  std::string sentence1;
  std::string sentence2;  // empty: one text
};

/// Our own names, and those of the GLUE data sets on the Hugging Face hub.
TextColumns find_text_columns(const std::set<std::string>& names, const path& file, int64_t line) {
  static const std::vector<TextColumns> known = {{"sentence1", "sentence2"}, {"sentence1", ""},
                                                 {"question1", "question2"}, {"premise", "hypothesis"},
                                                 {"question", "sentence"},   {"sentence", ""}};
  for (const TextColumns& columns : known) {
    if (names.contains(columns.sentence1) &&
        (columns.sentence2.empty() || names.contains(columns.sentence2))) {
      return columns;
    }
  }
  fail_at(file, line, "expected the columns sentence1[,sentence2],label, found {}",
          printable(fmt::format("{}", fmt::join(names, ","))));
}

void warn_about_unused(const std::set<std::string>& names, const TextColumns& text, const path& file,
                       std::vector<std::string>& warnings) {
  std::vector<std::string> unused;
  for (const std::string& name : names) {
    const bool used = name == text.sentence1 || name == text.sentence2 || name == "label" || name == "idx";
    if (!used) unused.push_back(printable(name));
  }
  if (unused.empty()) return;
  warnings.push_back(
      fmt::format("{}: columns that are not used: {}", file.string(), fmt::join(unused, ", ")));
}

/// CSV has no types: `3` is an integer, `3.5` and `1e-2` have a decimal point or exponent, all else is text.
RawLabel classify_label(const std::string& text) {
  if (text.empty()) return {};
  if (const auto integer = parse_integer(text)) return {LabelKind::integer, std::to_string(*integer)};
  const bool fractional = text.find_first_of(".eE") != std::string::npos;
  if (fractional && parse_number(text)) return {LabelKind::decimal, text};
  return {LabelKind::text, text};
}

int64_t parse_idx(const std::string& text, const path& file, int64_t line) {
  const auto idx = parse_integer(text);
  if (!idx) fail_at(file, line, "expected an integer as idx, found {}", printable(text));
  return *idx;
}

RawFile read_csv_rows(const path& file) {
  const std::vector<CsvRow> rows = read_csv(DataFile(file));
  if (rows.empty()) fail(ErrorKind::data, "{}: expected a header and rows, found no rows", file.string());
  const std::vector<std::string>& header = rows[0].fields;
  const std::set<std::string> names(header.begin(), header.end());
  if (names.size() != header.size()) {
    fail_at(file, rows[0].line, "expected distinct column names, found {}",
            printable(fmt::format("{}", fmt::join(header, ","))));
  }
  const TextColumns text = find_text_columns(names, file, rows[0].line);
  RawFile raw;
  warn_about_unused(names, text, file, raw.warnings);
  const auto column = [&](const std::string& name) {
    return static_cast<size_t>(std::find(header.begin(), header.end(), name) - header.begin());
  };
  const size_t sentence1 = column(text.sentence1), sentence2 = column(text.sentence2);
  const size_t label = column("label"), idx = column("idx");
  for (size_t i = 1; i < rows.size(); ++i) {
    const std::vector<std::string>& fields = rows[i].fields;
    if (fields.size() != header.size()) {
      fail_at(file, rows[i].line, "expected {} fields ({}), found {}", header.size(), fmt::join(header, ","),
              fields.size());
    }
    RawRow row{.line = rows[i].line, .sentence1 = fields[sentence1]};
    if (sentence2 < fields.size()) row.sentence2 = fields[sentence2];
    if (label < fields.size()) row.label = classify_label(fields[label]);
    if (idx < fields.size()) row.idx = parse_idx(fields[idx], file, rows[i].line);
    raw.rows.push_back(std::move(row));
  }
  return raw;
}

std::string json_text_of(const json& object, const std::string& key, const path& file, int64_t line) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) {
    fail_at(file, line, "expected a text as \"{}\", found {}", key,
            found == object.end() ? "none" : printable(found->dump()));
  }
  return found->get<std::string>();
}

RawLabel json_label(const json& object, const path& file, int64_t line) {
  const auto found = object.find("label");
  if (found == object.end() || found->is_null()) return {};
  if (found->is_number_float()) return {LabelKind::decimal, found->dump()};
  if (found->is_string() || found->is_number_integer()) {
    // A text that is an integer means what the integer means; a text with a decimal point stays a text.
    const std::string text = found->is_string() ? found->get<std::string>() : found->dump();
    if (const auto integer = parse_integer(text)) return {LabelKind::integer, std::to_string(*integer)};
    if (!text.empty()) return {LabelKind::text, text};
    return {};
  }
  fail_at(file, line, "expected an integer, a number or a text as \"label\", found {}",
          printable(found->dump()));
}

RawRow json_row(const json& object, const TextColumns& text, const path& file, int64_t line) {
  RawRow row{.line = line, .sentence1 = json_text_of(object, text.sentence1, file, line)};
  if (!text.sentence2.empty()) row.sentence2 = json_text_of(object, text.sentence2, file, line);
  row.label = json_label(object, file, line);
  if (const auto idx = object.find("idx"); idx != object.end()) row.idx = parse_idx(idx->dump(), file, line);
  return row;
}

/// The first row decides which columns the file has.
RawFile read_json_rows(const path& file) {
  const DataFile data(file);
  RawFile raw;
  TextColumns text;
  int64_t line = 0;
  for (std::string_view content : data.lines()) {
    ++line;
    const json object = parse_json(content, file.string(), ErrorKind::data, line);
    if (!object.is_object()) {
      fail_at(file, line, "expected a JSON object, found {}", printable(content));
    }
    if (line == 1) {
      std::set<std::string> names;
      for (const auto& [key, value] : object.items()) names.insert(key);
      text = find_text_columns(names, file, line);
      warn_about_unused(names, text, file, raw.warnings);
    }
    raw.rows.push_back(json_row(object, text, file, line));
  }
  return raw;
}

RawFile read_raw(const path& file) {
  const std::string extension = file.extension().string();
  if (extension == ".csv") return read_csv_rows(file);
  if (extension == ".jsonl" || extension == ".json") return read_json_rows(file);
  fail(ErrorKind::usage,
       "{}: expected a file named .csv, .jsonl or .json, found '{}'; GLUE folders are read with "
       "--task_name and --glue_dir",
       file.string(), extension);
}

const RawRow* first_of_kind(const RawFile& raw, LabelKind kind) {
  const auto found = std::find_if(raw.rows.begin(), raw.rows.end(),
                                  [&](const RawRow& row) { return row.label.kind == kind; });
  return found == raw.rows.end() ? nullptr : &*found;
}

/// The labels of a file of scores: every one a number.
LabelScheme score_scheme(const RawFile& raw, const RawRow& decimal, const path& file) {
  if (const RawRow* text = first_of_kind(raw, LabelKind::text)) {
    fail_at(file, text->line, "expected a number as label, since line {} has the score {}, found {}",
            decimal.line, printable(decimal.label.text), printable(text->label.text));
  }
  return {.regression = true};
}

/// Integer labels in numeric order, others in byte order.
LabelScheme class_scheme(const RawFile& raw) {
  std::set<std::string> distinct;
  for (const RawRow& row : raw.rows) {
    if (row.label.kind != LabelKind::none) distinct.insert(row.label.text);
  }
  std::vector<std::string> names(distinct.begin(), distinct.end());
  if (first_of_kind(raw, LabelKind::text) == nullptr) {
    std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
      return *parse_integer(a) < *parse_integer(b);
    });
  }
  return {.names = names};
}

/// The scheme that the file itself defines.
LabelScheme scheme_of_file(const RawFile& raw, const path& file) {
  if (const RawRow* decimal = first_of_kind(raw, LabelKind::decimal))
    return score_scheme(raw, *decimal, file);
  return class_scheme(raw);
}

std::optional<int32_t> find_class(const RawLabel& label, const LabelScheme& scheme) {
  const auto found = std::find(scheme.names.begin(), scheme.names.end(), label.text);
  if (found != scheme.names.end()) return static_cast<int32_t>(found - scheme.names.begin());
  if (!scheme.integers_are_classes || label.kind != LabelKind::integer) return std::nullopt;
  const int64_t number = *parse_integer(label.text);
  if (number < 0 || number >= static_cast<int64_t>(scheme.names.size())) return std::nullopt;
  return static_cast<int32_t>(number);
}

bool is_unknown(const RawLabel& label, const LabelScheme& scheme) {
  // The hub writes -1 (or -1.0) where the label is not published.
  if (label.kind == LabelKind::none) return true;
  if (label.text != "-1" && label.text != "-1.0") return false;
  return scheme.integers_are_classes ||
         (!scheme.regression &&
          std::find(scheme.names.begin(), scheme.names.end(), "-1") == scheme.names.end());
}

struct LabelRules {
  const LabelScheme& scheme;
  bool required;
  bool from_zero_to_five;
};

/// Sets label or target; false: the row has none.
bool set_label(const RawRow& row, const LabelRules& rules, const path& file, Example& example) {
  const LabelScheme& scheme = rules.scheme;
  if (is_unknown(row.label, scheme)) {
    if (rules.required) {
      fail_at(file, row.line, "expected a label, found {}", row.label.text.empty() ? "none" : row.label.text);
    }
    if (scheme.regression) example.target = std::numeric_limits<double>::quiet_NaN();
    return false;
  }
  if (scheme.regression) {
    example.target = detail::parse_score(row.label.text, rules.from_zero_to_five, file, row.line);
    return true;
  }
  const auto label = find_class(row.label, scheme);
  if (!label) {
    fail_at(file, row.line, "expected a label of {}, found {}", fmt::join(scheme.names, ", "),
            printable(row.label.text));
  }
  example.label = *label;
  return true;
}

Dataset make_dataset(RawFile raw, const LabelRules& rules, const path& file) {
  Dataset dataset{.task = "own",
                  .label_names = rules.scheme.names,
                  .regression = rules.scheme.regression,
                  .warnings = std::move(raw.warnings),
                  .files = {file}};
  for (RawRow& row : raw.rows) {
    const auto row_number = static_cast<int64_t>(dataset.examples.size());
    Example example{.sentence1 = std::move(row.sentence1),
                    .sentence2 = std::move(row.sentence2),
                    .idx = row.idx.value_or(row_number)};
    if (!set_label(row, rules, file, example)) dataset.labelled = false;
    dataset.examples.push_back(std::move(example));
  }
  return dataset;
}

/// A file that defines its classes must show at least two of them.
void check_class_count(const LabelScheme& scheme, const path& file) {
  if (scheme.regression || scheme.names.size() >= 2) return;
  fail(ErrorKind::data, "{}: expected labels of at least two classes, found {}", file.string(),
       scheme.names.empty() ? "no labels" : "only " + printable(scheme.names[0]));
}

bool task_has_pairs(const Task& task) {
  return !task.splits.at(0).layout.sentence2.empty();
}

}  // namespace

Dataset load_own_file(const path& file, const std::string& split, const std::optional<LabelScheme>& scheme,
                      bool labels_required, int64_t max_samples) {
  RawFile raw = read_raw(file);
  const LabelScheme used = scheme ? *scheme : scheme_of_file(raw, file);
  Dataset dataset = make_dataset(std::move(raw), {used, labels_required, false}, file);
  dataset.split = split;
  detail::finish_dataset(dataset, max_samples);
  if (!scheme && labels_required) check_class_count(used, file);
  const bool has_minus_one = std::find(used.names.begin(), used.names.end(), "-1") != used.names.end();
  if (!scheme && has_minus_one) {
    dataset.warnings.push_back(fmt::format(
        "{}: the label -1 is taken as a class of its own; leave out rows in which it stands for no label",
        file.string()));
  }
  return dataset;
}

Dataset load_own_file(const path& file, const std::string& split, const Task& task, bool labels_required,
                      int64_t max_samples) {
  RawFile raw = read_raw(file);
  if (!raw.rows.empty() && raw.rows[0].sentence2.has_value() != task_has_pairs(task)) {
    fail_at(file, raw.rows[0].line, "expected {} per row ({}), found {}",
            task_has_pairs(task) ? "two texts" : "one text", task.name, task_has_pairs(task) ? "one" : "two");
  }
  const LabelScheme scheme{task.label_names, task.regression, true};
  Dataset dataset = make_dataset(std::move(raw), {scheme, labels_required, task.regression}, file);
  dataset.task = task.name;
  dataset.split = split;
  detail::finish_dataset(dataset, max_samples);
  return dataset;
}

}  // namespace normtune
