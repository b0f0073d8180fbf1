#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "experiments/dataset.h"
#include "experiments/task.h"

namespace normtune {

/// The name that predictions of a split are written to: `CoLA.tsv` for the test split, `CoLA.dev.tsv` for
/// others (never to be mistaken for a submission), `predictions.tsv` for own files.
std::string prediction_file_name(const Task& task, const std::string& split);

/// Writes `index<TAB>prediction` rows in file order into `folder`, named by prediction_file_name. Classes are
/// written as the benchmark expects them (0/1 or names), scores of STS-B are clipped to [0, 5] with 3 digits.
/// logits  [examples, num_labels]
/// Returns the file.
std::filesystem::path write_predictions(const Task& task, const Dataset& dataset,
                                        std::span<const double> logits, const std::filesystem::path& folder);

/// Writes {"idx":0,"logits":[..]} per example, with digits enough to read the same double back.
void write_logits(const Dataset& dataset, std::span<const double> logits, const std::filesystem::path& file);

struct SubmissionReport {
  std::vector<std::string> taken;   ///< `CoLA.tsv from DIR/CoLA.tsv`
  std::vector<std::string> filled;  ///< `WNLI.tsv with 0`
};

/// Writes the flat zip that the GLUE server takes: 11 files. A file that none of the folders holds is filled
/// with a constant. Throws Error(data) that names file and line for a row count, an index or a value that the
/// server would refuse, and Error(usage) for a file that two folders hold.
SubmissionReport write_submission(const std::vector<std::filesystem::path>& folders,
                                  const std::filesystem::path& zip_file);

}  // namespace normtune
