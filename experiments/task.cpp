#include "experiments/task.h"

#include <algorithm>

#include "experiments/nearest_name.h"
#include "tensor/error.h"

namespace normtune {
namespace {

using Names = std::vector<std::string>;

struct RowCounts {
  std::vector<int64_t> train;
  int64_t dev;
  int64_t test;
};

/// The four splits of every task but MNLI and AX. test_labelled.tsv is a test file with the labels of a task
/// that somebody made, laid out as dev.tsv.
std::vector<TaskSplit> usual_splits(const std::string& folder, const TableLayout& labelled,
                                    const TableLayout& unlabelled, const RowCounts& rows) {
  return {
      {.name = "train", .files = {folder + "/train.tsv"}, .layout = labelled, .expected_rows = rows.train},
      {.name = "dev", .files = {folder + "/dev.tsv"}, .layout = labelled, .expected_rows = {rows.dev}},
      {.name = "test",
       .files = {folder + "/test.tsv"},
       .layout = unlabelled,
       .expected_rows = {rows.test},
       .submission_file = folder + ".tsv"},
      {.name = "test_labelled", .files = {folder + "/test_labelled.tsv"}, .layout = labelled},
  };
}

Task cola() {
  const TableLayout labelled{.columns = {"source", "label", "mark", "sentence"},
                             .sentence1 = "sentence",
                             .label = "label",
                             .header = false};
  const TableLayout unlabelled{.columns = {"index", "sentence"}, .sentence1 = "sentence", .index = "index"};
  return {.name = "cola",
          .folder = "CoLA",
          .label_names = {"unacceptable", "acceptable"},
          .file_labels = {"0", "1"},
          .num_labels = 2,
          .metric = MetricKind::matthews,
          .default_metric = "matthews_correlation",
          .splits = usual_splits("CoLA", labelled, unlabelled, {{8551}, 1043, 1063})};
}

Task sst2() {
  const TableLayout labelled{.columns = {"sentence", "label"}, .sentence1 = "sentence", .label = "label"};
  const TableLayout unlabelled{.columns = {"index", "sentence"}, .sentence1 = "sentence", .index = "index"};
  return {.name = "sst2",
          .folder = "SST-2",
          .label_names = {"negative", "positive"},
          .file_labels = {"0", "1"},
          .num_labels = 2,
          .metric = MetricKind::accuracy,
          .default_metric = "accuracy",
          .splits = usual_splits("SST-2", labelled, unlabelled, {{67349}, 872, 1821})};
}

Task mrpc() {
  const TableLayout labelled{.columns = {"Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"},
                             .sentence1 = "#1 String",
                             .sentence2 = "#2 String",
                             .label = "Quality"};
  const TableLayout unlabelled{.columns = {"index", "#1 ID", "#2 ID", "#1 String", "#2 String"},
                               .sentence1 = "#1 String",
                               .sentence2 = "#2 String",
                               .index = "index"};
  return {.name = "mrpc",
          .folder = "MRPC",
          .label_names = {"not_equivalent", "equivalent"},
          .file_labels = {"0", "1"},
          .num_labels = 2,
          .metric = MetricKind::accuracy_f1,
          .default_metric = "f1",
          .splits = usual_splits("MRPC", labelled, unlabelled, {{3668}, 408, 1725})};
}

Task qqp() {
  const TableLayout labelled{.columns = {"id", "qid1", "qid2", "question1", "question2", "is_duplicate"},
                             .sentence1 = "question1",
                             .sentence2 = "question2",
                             .label = "is_duplicate",
                             .index = "id"};
  const TableLayout unlabelled{.columns = {"id", "question1", "question2"},
                               .sentence1 = "question1",
                               .sentence2 = "question2",
                               .index = "id"};
  return {.name = "qqp",
          .folder = "QQP",
          .label_names = {"not_duplicate", "duplicate"},
          .file_labels = {"0", "1"},
          .num_labels = 2,
          .metric = MetricKind::accuracy_f1,
          .default_metric = "f1",
          .splits = usual_splits("QQP", labelled, unlabelled, {{363846, 363849}, 40430, 390965}),
          .max_short_rows = 100};
}

Task stsb() {
  const Names common = {"index",   "genre",   "filename",  "year",     "old_index",
                        "source1", "source2", "sentence1", "sentence2"};
  Names scored = common;
  scored.push_back("score");
  const TableLayout labelled{.columns = scored,
                             .sentence1 = "sentence1",
                             .sentence2 = "sentence2",
                             .label = "score",
                             .index = "index"};
  const TableLayout unlabelled{
      .columns = common, .sentence1 = "sentence1", .sentence2 = "sentence2", .index = "index"};
  return {.name = "stsb",
          .folder = "STS-B",
          .num_labels = 1,
          .regression = true,
          .metric = MetricKind::pearson_spearman,
          .default_metric = "spearmanr",
          .splits = usual_splits("STS-B", labelled, unlabelled, {{5749}, 1500, 1379})};
}

const Names mnli_labels = {"entailment", "neutral", "contradiction"};

/// MNLI's columns: the annotators' labels (one in train, five in dev, none in test) precede gold_label.
TableLayout mnli_layout(int num_annotators) {
  TableLayout layout{
      .columns = {"index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse",
                  "sentence1_parse", "sentence2_parse", "sentence1", "sentence2"},
      .sentence1 = "sentence1",
      .sentence2 = "sentence2",
      .index = "index"};
  for (int i = 1; i <= num_annotators; ++i) layout.columns.push_back(fmt::format("label{}", i));
  if (num_annotators > 0) {
    layout.label = "gold_label";
    layout.columns.push_back(layout.label);
  }
  return layout;
}

Task mnli() {
  const TableLayout train = mnli_layout(1), dev = mnli_layout(5), test = mnli_layout(0);
  return {
      .name = "mnli",
      .folder = "MNLI",
      .label_names = mnli_labels,
      .file_labels = mnli_labels,
      .num_labels = 3,
      .metric = MetricKind::accuracy,
      .default_metric = "mean_accuracy",
      .splits =
          {{.name = "train", .files = {"MNLI/train.tsv"}, .layout = train, .expected_rows = {392702}},
           {.name = "dev_matched", .files = {"MNLI/dev_matched.tsv"}, .layout = dev, .expected_rows = {9815}},
           {.name = "dev_mismatched",
            .files = {"MNLI/dev_mismatched.tsv"},
            .layout = dev,
            .expected_rows = {9832}},
           {.name = "test_matched",
            .files = {"MNLI/test_matched.tsv"},
            .layout = test,
            .expected_rows = {9796},
            .submission_file = "MNLI-m.tsv"},
           {.name = "test_mismatched",
            .files = {"MNLI/test_mismatched.tsv"},
            .layout = test,
            .expected_rows = {9847},
            .submission_file = "MNLI-mm.tsv"},
           {.name = "test_labelled_matched", .files = {"MNLI/test_labelled_matched.tsv"}, .layout = dev},
           {.name = "test_labelled_mismatched",
            .files = {"MNLI/test_labelled_mismatched.tsv"},
            .layout = dev}},
      .no_gold_label = "-"};
}

/// QNLI, RTE and WNLI: index, two texts, label.
Task sentence_pair_task(const std::string& name, const std::string& folder, const Names& text_columns,
                        const Names& label_names, const Names& file_labels, const RowCounts& rows) {
  const TableLayout labelled{.columns = {"index", text_columns[0], text_columns[1], "label"},
                             .sentence1 = text_columns[0],
                             .sentence2 = text_columns[1],
                             .label = "label",
                             .index = "index"};
  const TableLayout unlabelled{.columns = {"index", text_columns[0], text_columns[1]},
                               .sentence1 = text_columns[0],
                               .sentence2 = text_columns[1],
                               .index = "index"};
  return {.name = name,
          .folder = folder,
          .label_names = label_names,
          .file_labels = file_labels,
          .num_labels = 2,
          .metric = MetricKind::accuracy,
          .default_metric = "accuracy",
          .splits = usual_splits(folder, labelled, unlabelled, rows)};
}

/// The diagnostic set: a test split only, predicted by a model of MNLI. Its file has been published under
/// several names.
Task ax() {
  const TableLayout layout{.columns = {"index", "sentence1", "sentence2"},
                           .sentence1 = "sentence1",
                           .sentence2 = "sentence2",
                           .index = "index"};
  return {.name = "ax",
          .folder = "diagnostic",
          .label_names = mnli_labels,
          .file_labels = mnli_labels,
          .num_labels = 3,
          .metric = MetricKind::accuracy,
          .default_metric = "accuracy",
          .splits = {{.name = "test",
                      .files = {"diagnostic/diagnostic.tsv", "diagnostic/AX.tsv", "MNLI/diagnostic.tsv",
                                "AX/AX.tsv", "AX.tsv"},
                      .layout = layout,
                      .expected_rows = {1104},
                      .submission_file = "AX.tsv"}}};
}

std::vector<Task> make_tasks() {
  const Names entailment = {"entailment", "not_entailment"};
  return {cola(),
          sst2(),
          mrpc(),
          qqp(),
          stsb(),
          mnli(),
          sentence_pair_task("qnli", "QNLI", {"question", "sentence"}, entailment, entailment,
                             {{104743}, 5463, 5463}),
          sentence_pair_task("rte", "RTE", {"sentence1", "sentence2"}, entailment, entailment,
                             {{2490}, 277, 3000}),
          sentence_pair_task("wnli", "WNLI", {"sentence1", "sentence2"}, {"not_entailment", "entailment"},
                             {"0", "1"}, {{635}, 71, 146}),
          ax()};
}

Names names_of_splits(const Task& task) {
  Names names;
  for (const TaskSplit& split : task.splits) names.push_back(split.name);
  return names;
}

}  // namespace

const std::vector<Task>& glue_tasks() {
  static const std::vector<Task> tasks = make_tasks();
  return tasks;
}

const Task& find_task(std::string_view name) {
  Names names;
  for (const Task& task : glue_tasks()) {
    if (plain_name(task.name) == plain_name(name)) return task;
    names.push_back(task.name);
  }
  fail(ErrorKind::usage, "unknown task '{}': did you mean '{}'? The tasks are {}", name,
       nearest_name(name, names), fmt::join(names, ", "));
}

Task own_task(const std::vector<std::string>& label_names, bool regression) {
  return {.name = "own",
          .folder = "",
          .label_names = label_names,
          .file_labels = label_names,
          .num_labels = regression ? 1 : static_cast<int64_t>(label_names.size()),
          .regression = regression,
          .metric = regression ? MetricKind::own_scores : MetricKind::own_classes,
          .default_metric = regression ? "pearson" : "accuracy"};
}

std::vector<std::string> split_names(const Task& task, std::string_view split) {
  if (task.name == "mnli" && (split == "dev" || split == "test" || split == "test_labelled")) {
    return {fmt::format("{}_matched", split), fmt::format("{}_mismatched", split)};
  }
  return {find_split(task, split).name};
}

const TaskSplit& find_split(const Task& task, std::string_view split) {
  const auto found = std::find_if(task.splits.begin(), task.splits.end(),
                                  [&](const TaskSplit& candidate) { return candidate.name == split; });
  if (found != task.splits.end()) return *found;
  const Names names = names_of_splits(task);
  check(!names.empty(), "task {} is read from files and has no splits", task.name);
  fail(ErrorKind::usage, "task {} has no split '{}': did you mean '{}'? Its splits are {}", task.name, split,
       nearest_name(split, names), fmt::join(names, ", "));
}

}  // namespace normtune
