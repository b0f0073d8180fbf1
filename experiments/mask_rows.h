#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/comparison_inputs.h"
#include "experiments/comparison_options.h"
#include "experiments/element_mask.h"
#include "experiments/progress.h"

namespace normtune {

/// A row of an experiment on parts of the post-FFN output.LayerNorm of all layers, `mask:KIND-PERCENT`:
///
///   fisher-20            the 20 % of its elements with the highest Fisher information on the task itself
///   bottom-20            those with the lowest
///   random-20            20 % at random, drawn anew for each seed
///   others-20            the union of the other tasks' fisher-20
///   own-as-others-20     as many elements as others-20 has, by the task itself
///   random-as-others-20  as many at random
///
/// Fisher information is that of the start model with a newly drawn classifier (of the first seed), on the
/// first `keep.fisher_samples` training rows.
struct MaskRow {
  std::string kind;
  double percent = 0;
};
/// Throws Error(usage), with the kinds that there are, for a row `mask:...` that is none of these.
MaskRow parse_mask_row(std::string_view row);

/// Throws Error(usage) for a row `mask:...` that the comparison's tasks do not allow, or parse_mask_row()
/// does not.
void check_mask_rows(const ComparisonOptions& options);

/// What is known of a mask, with or without its file.
struct MaskRecord {
  std::string recipe;  ///< hash of all that the mask follows from
  std::string sha256;  ///< of the file
  int64_t elements = 0;
  int64_t candidates = 0;                    ///< elements that it was chosen from
  std::map<std::string, int64_t> by_tensor;  ///< elements by tensor
};

/// The masks of a comparison's rows, in the folder `masks/` of its output folder, with what is known of each
/// in `masks/masks.json`: that record stands for files which are not there, as long as no run needs them.
class MaskRows {
 public:
  /// `inputs` are those of the comparison. Nothing is read or made yet.
  MaskRows(const ComparisonOptions& options, const ComparisonInputs& inputs, const ProgressOutput& progress);

  /// Fills options.row_masks. Masks that the record does not know are made; with `make_files` also those
  /// whose file is not there. False if a signal stopped it. Throws Error(usage), Error(model), Error(data),
  /// Error(write).
  bool prepare(ComparisonOptions& options, bool make_files);
  /// The record knows all of them.
  bool are_known() const;
  /// Fills options.row_masks with what the record knows and, for the others, with an empty hash.
  void fill(ComparisonOptions& options) const;

  const std::map<std::string, MaskRecord>& records() const { return records_; }

 private:
  struct Wanted {
    MaskRow row;
    std::string task;
    uint64_t seed = 0;
    std::string name;  ///< of the file, without extension
  };
  void collect_wanted(const ComparisonOptions& options);
  std::filesystem::path file_of(const std::string& name) const;
  std::string recipe_of(const Wanted& wanted) const;
  bool is_known(const Wanted& wanted) const;
  ElementMask choose_by_others(const Wanted& wanted, const MaskSize& size) const;
  ElementMask choose(const Wanted& wanted, const ElementScores& scores) const;
  bool measure_for(const Wanted& wanted);
  bool make(const Wanted& wanted);
  bool measure(const std::string& task);
  std::filesystem::path scores_of(const std::string& task) const;
  void write_records() const;

  const ComparisonOptions& options_;
  const ComparisonInputs& inputs_;
  const ProgressOutput& progress_;
  std::filesystem::path folder_;
  std::string scope_;  ///< globs of the tensors that are chosen from
  std::map<std::tuple<std::string, std::string, uint64_t>, Wanted> wanted_;  // by row, task, seed
  std::map<std::string, MaskRecord> records_;
};

}  // namespace normtune
