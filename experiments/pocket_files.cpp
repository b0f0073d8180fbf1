#include "experiments/pocket_files.h"

#include <fmt/format.h>

#include "experiments/pocket_corpus.h"
#include "nn/atomic_file.h"
#include "nn/tensor_file.h"
#include "tensor/error.h"

namespace normtune {
namespace {

namespace fs = std::filesystem;

std::string label_text(const Task& task, const Example& example) {
  if (task.regression) return fmt::format("{:.3f}", example.target);
  return task.file_labels[static_cast<size_t>(example.label)];
}

/// The text of one field. Columns that no reader uses (sources, parses, identifiers) hold a dash.
std::string field_text(const Task& task, const TableLayout& layout, const std::string& column,
                       const Example& example) {
  if (column == layout.sentence1) return example.sentence1;
  if (column == layout.sentence2) return *example.sentence2;
  if (column == layout.label) return label_text(task, example);
  if (column == layout.index) return fmt::format("{}", example.idx);
  return "-";
}

std::string table_text(const Task& task, const TableLayout& layout, const Dataset& dataset) {
  std::string text;
  if (layout.header) text += fmt::format("{}\n", fmt::join(layout.columns, "\t"));
  for (const Example& example : dataset.examples) {
    for (size_t i = 0; i < layout.columns.size(); ++i) {
      if (i > 0) text += '\t';
      text += field_text(task, layout, layout.columns[i], example);
    }
    text += '\n';
  }
  return text;
}

/// Writes the rows as the split that they are, and again without labels if they are the test rows. Appends a
/// line for each file to `row_counts`.
void write_split(const Task& task, const Dataset& dataset, const fs::path& glue_dir,
                 std::string& row_counts) {
  const auto write_as = [&](const std::string& split_name) {
    const TaskSplit& split = find_split(task, split_name);
    write_file_atomically(glue_dir / split.files[0], table_text(task, split.layout, dataset));
    row_counts += fmt::format("{}\t{}\n", split.files[0], dataset.examples.size());
  };
  write_as(dataset.split);
  if (dataset.split == "test_labelled") write_as("test");
}

void write_tasks(const PocketFilesOptions& options) {
  const fs::path glue_dir = options.output_dir / "glue";
  std::string row_counts = "file\trows\n";
  for (const std::string& name : pocket_task_names()) {
    const Task& task = find_task(name);
    make_folder(glue_dir / task.folder);
    for (const Dataset& dataset : draw_pocket_task(name, options.seed, options.rows)) {
      write_split(task, dataset, glue_dir, row_counts);
    }
  }
  write_file_atomically(glue_dir / "row_counts.tsv", row_counts);
}

void write_corpus(const PocketFilesOptions& options) {
  const PretrainingCorpora corpora = pocket_corpora(options.seed);
  AtomicFile file(options.output_dir / "corpus.txt");
  int64_t written = 0;
  for (int64_t i = 0; written < options.corpus_pairs; ++i) {
    const int64_t size = corpora.train->size();
    const CorpusExample example = corpora.train->example(i / size, i % size);
    if (example.wrong_pair) continue;
    const std::string second = example.text_pair.empty() ? "" : example.text_pair + "\n";
    file.write(fmt::format("{}\n{}\n", example.text, second));
    ++written;
  }
  file.commit();
}

}  // namespace

void write_pocket_files(const PocketFilesOptions& options) {
  make_folder(options.output_dir);
  write_corpus(options);
  write_tasks(options);
}

}  // namespace normtune
