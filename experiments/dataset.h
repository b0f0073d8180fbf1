#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "experiments/task.h"

namespace normtune {

struct Example {
  std::string sentence1;
  std::optional<std::string> sentence2;
  int32_t label = -1;   ///< class; -1: unknown
  double target = 0.0;  ///< the score of a regression task; NaN: unknown
  int64_t idx = 0;      ///< the file's own index where it has one, else the row number from 0
};

/// One split of one task, read whole into memory.
struct Dataset {
  std::string task;   ///< `cola`; `own` for a user's files
  std::string split;  ///< `train`, `dev_matched`, ...
  std::vector<Example> examples;
  std::vector<std::string> label_names;  ///< class order of `Example::label`; empty for regression
  int32_t positive_class = 1;            ///< the class that F1 of two classes is about
  bool regression = false;
  bool labelled = true;  ///< every example has a label or target
  std::vector<std::string>
      warnings;  ///< one line each: rows skipped, a row count that is not the published one
  std::vector<std::filesystem::path> files;  ///< what was read
};

inline constexpr int64_t all_samples = std::numeric_limits<int64_t>::max();

/// Reads one split of a GLUE task from the folder that holds `CoLA`, `SST-2`, ... (or `CoLA/train.jsonl` with
/// the column names of the Hugging Face hub where there is no train.tsv). Keeps the first `max_samples` rows,
/// after all rows were checked. `split` is a single one (see split_names). A number of rows that is neither
/// the published one nor the one that the folder's own `row_counts.tsv` states is a warning.
/// Throws Error(data) that names file and line of the first malformed row.
Dataset load_glue(const Task& task, const std::filesystem::path& glue_dir, const std::string& split,
                  int64_t max_samples = all_samples);

/// What a user's labels mean: classes in order, or scores.
struct LabelScheme {
  std::vector<std::string> names;  ///< empty for regression
  bool regression = false;
  /// An integer label is the number of a class whatever its name, and -1 is an unknown one (a published
  /// task's or a model's classes); false: it is a name like any other (classes that a file of the user's
  /// defined).
  bool integers_are_classes = false;
};

/// Reads a CSV (RFC 4180, with a header) or JSON Lines file with `sentence1[,sentence2],label` or the column
/// names of the Hugging Face hub. Without `scheme` the file defines it: integer or text labels are classes
/// (integers in numeric order, texts in byte order), labels with a decimal point are scores. With `scheme` a
/// label outside it is Error(data). `labels_required` is false for test files: their labels may be missing.
Dataset load_own_file(const std::filesystem::path& file, const std::string& split,
                      const std::optional<LabelScheme>& scheme, bool labels_required,
                      int64_t max_samples = all_samples);

/// The same with the labels of a GLUE task: integers in its class order, or its label names.
Dataset load_own_file(const std::filesystem::path& file, const std::string& split, const Task& task,
                      bool labels_required, int64_t max_samples = all_samples);

/// The scheme of the data set, to read validation and test files with.
LabelScheme label_scheme(const Dataset& dataset);

/// The scheme that a model's configuration stands for: one label is regression, `LABEL_i` are the classes
/// `i`.
LabelScheme label_scheme(const std::vector<std::string>& id2label);

/// True for names such as LABEL_0, which a configuration gets when nobody named its classes.
bool has_default_label_names(const std::vector<std::string>& id2label);

/// Renumbers the labels of `dataset` to the class order of a model, by name (case, `-`, `_` and blanks count
/// for nothing), and sets label_names and positive_class accordingly. Names that were never given leave the
/// order as it is, with a warning for MNLI, whose classes published scripts order differently; so does a set
/// of names that is not the task's, with a warning.
void map_labels(Dataset& dataset, const std::vector<std::string>& id2label);

}  // namespace normtune
