#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace normtune {

/// Which scores a task reports; the keys are those of the GLUE benchmark's common script.
enum class MetricKind {
  matthews,          ///< matthews_correlation
  accuracy,          ///< accuracy
  accuracy_f1,       ///< accuracy, f1, combined_score
  pearson_spearman,  ///< pearson, spearmanr, combined_score
  own_classes,       ///< accuracy, f1: a user's own files with classes
  own_scores,        ///< pearson, spearmanr: a user's own files with scores
};

/// One way the rows of a TAB-separated file are laid out. A column is found by its name in the file's header;
/// a file without header has exactly these columns in this order.
struct TableLayout {
  std::vector<std::string> columns;
  std::string sentence1;
  std::string sentence2 = "";  ///< empty: the task has one text
  std::string label = "";      ///< empty: the rows carry no label
  std::string index = "";      ///< empty: the row number is the index
  bool header = true;
};

/// A split of a task: `dev`, or MNLI's `dev_matched`.
struct TaskSplit {
  std::string name;
  std::vector<std::string> files;  ///< below the GLUE folder; the first that exists is read
  TableLayout layout;
  std::vector<int64_t> expected_rows;  ///< published row counts; empty: not known
  std::string submission_file = "";    ///< of the test splits: `CoLA.tsv`
};

/// A GLUE task, or a user's own one (own_task): everything that reading, scoring and submitting it need.
struct Task {
  std::string name;                      ///< option value: `cola`
  std::string folder;                    ///< in the GLUE folder: `CoLA`; empty for own files
  std::vector<std::string> label_names;  ///< in class order, as in `id2label` of published checkpoints; empty
                                         ///< for regression
  std::vector<std::string> file_labels;  ///< the same classes as the TSV and submission files write them
  int64_t num_labels;                    ///< 1 for regression
  bool regression;
  MetricKind metric;
  std::string default_metric;  ///< the score of tables and of --metric_for_best_model
  std::vector<TaskSplit> splits;
  int64_t max_short_rows = 0;  ///< QQP's older files: so many labelled rows may lack fields and are skipped
  std::string no_gold_label = "";  ///< MNLI: rows with this label are skipped
};

/// The ten tasks: cola sst2 mrpc qqp stsb mnli qnli rte wnli ax.
const std::vector<Task>& glue_tasks();

/// The GLUE task of that name, whatever its case. Throws Error(usage) that names the nearest task.
const Task& find_task(std::string_view name);

/// A task for a user's own files; `label_names` in class order (empty if `regression`).
Task own_task(const std::vector<std::string>& label_names, bool regression);

/// The splits that `split` stands for: itself, or for MNLI's `dev`, `test` and `test_labelled` matched and
/// then mismatched. Throws Error(usage) that names the nearest split.
std::vector<std::string> split_names(const Task& task, std::string_view split);

/// The split of exactly this name. Throws Error(usage) as above.
const TaskSplit& find_split(const Task& task, std::string_view split);

}  // namespace normtune
