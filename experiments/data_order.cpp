#include "experiments/data_order.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tensor/error.h"
#include "tensor/philox.h"

namespace normtune {

namespace {

/// The random words of one shuffle. A stream of its own, so that no dropout mask shares them.
class ShuffleStream {
 public:
  ShuffleStream(uint64_t data_seed, int64_t epoch) {
    constexpr uint64_t purpose = 0x53687566666C6521;  // "Shuffle!"
    const uint64_t mixed = mix64(mix64(mix64(data_seed) ^ purpose) ^ static_cast<uint64_t>(epoch));
    key_ = {static_cast<uint32_t>(mixed), static_cast<uint32_t>(mixed >> 32)};
  }

  /// Uniform in [0, bound): the 64-bit words below 2^64 mod bound are drawn again, so that every remainder
  /// comes from equally many words. `draw` tells the numbers of one shuffle apart.
  uint64_t below(uint64_t bound, uint64_t draw) const {
    const uint64_t rejected = (0 - bound) % bound;
    for (uint32_t attempt = 0;; ++attempt) {
      const auto words =
          philox4x32({static_cast<uint32_t>(draw), static_cast<uint32_t>(draw >> 32), attempt, 0}, key_);
      const uint64_t word = words[0] | static_cast<uint64_t>(words[1]) << 32;
      if (word >= rejected) return word % bound;
    }
  }

 private:
  PhiloxKey key_;
};

int64_t divide_up(int64_t numerator, int64_t denominator) {
  return (numerator + denominator - 1) / denominator;
}

}  // namespace

std::vector<int64_t> epoch_order(int64_t num_examples, uint64_t data_seed, int64_t epoch, bool shuffle) {
  std::vector<int64_t> order(static_cast<size_t>(num_examples));
  std::iota(order.begin(), order.end(), 0);
  if (!shuffle) return order;
  const ShuffleStream stream(data_seed, epoch);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[stream.below(i, i)]);
  return order;
}

int64_t BatchPlan::batches_per_epoch() const {
  return divide_up(num_examples, batch_size);
}

int64_t BatchPlan::updates_per_epoch() const {
  return divide_up(batches_per_epoch(), accumulation_steps);
}

int64_t BatchPlan::total_updates(double num_epochs, int64_t max_steps) const {
  if (max_steps > 0) return max_steps;
  return static_cast<int64_t>(std::ceil(num_epochs * static_cast<double>(updates_per_epoch())));
}

DataOrder::DataOrder(BatchPlan plan, uint64_t data_seed, bool shuffle)
    : plan_(plan), data_seed_(data_seed), shuffle_(shuffle) {
  check(plan.num_examples > 0 && plan.batch_size > 0 && plan.accumulation_steps > 0,
        "data order: expected positive sizes, found {} examples, batches of {}, {} batches per update",
        plan.num_examples, plan.batch_size, plan.accumulation_steps);
}

std::span<const int64_t> DataOrder::update_examples(int64_t update) {
  const int64_t epoch = epoch_of(update);
  if (epoch != epoch_) {
    order_ = epoch_order(plan_.num_examples, data_seed_, epoch, shuffle_);
    epoch_ = epoch;
  }
  const int64_t examples_per_update = plan_.batch_size * plan_.accumulation_steps;
  const int64_t begin = update % plan_.updates_per_epoch() * examples_per_update;
  const int64_t end = std::min(begin + examples_per_update, plan_.num_examples);
  return std::span<const int64_t>(order_).subspan(static_cast<size_t>(begin),
                                                  static_cast<size_t>(end - begin));
}

}  // namespace normtune
