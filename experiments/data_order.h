#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace normtune {

/// The order in which an epoch visits the examples 0 .. num_examples - 1: a permutation that is a function of
/// (data_seed, epoch) alone (Fisher and Yates's shuffle, indices drawn from Philox without bias), or the
/// order of the file without `shuffle`.
std::vector<int64_t> epoch_order(int64_t num_examples, uint64_t data_seed, int64_t epoch, bool shuffle);

/// How a data set is cut into batches and updates. The last batch of an epoch may be smaller; the last update
/// of an epoch may have fewer batches.
struct BatchPlan {
  int64_t num_examples = 0;
  int64_t batch_size = 8;
  int64_t accumulation_steps = 1;  ///< batches per update

  int64_t batches_per_epoch() const;
  int64_t updates_per_epoch() const;
  /// max_steps if it is positive, else ceil(num_epochs * updates_per_epoch).
  int64_t total_updates(double num_epochs, int64_t max_steps) const;
};

/// Says which examples belong to an update. Updates are counted from 0 over all epochs.
class DataOrder {
 public:
  DataOrder(BatchPlan plan, uint64_t data_seed, bool shuffle);

  const BatchPlan& plan() const { return plan_; }
  /// The epoch that an update belongs to.
  int64_t epoch_of(int64_t update) const { return update / plan_.updates_per_epoch(); }
  /// The examples of an update, in order; its batches are consecutive runs of plan().batch_size of them.
  /// Valid until the next call.
  std::span<const int64_t> update_examples(int64_t update);

 private:
  BatchPlan plan_;
  uint64_t data_seed_;
  bool shuffle_;
  int64_t epoch_ = -1;          // that order_ belongs to
  std::vector<int64_t> order_;  // [num_examples]
};

}  // namespace normtune
