#include "experiments/change_statistics.h"

#include <algorithm>
#include <cmath>

#include "tensor/backend.h"

namespace normtune {

namespace {

constexpr int64_t elements_of_a_piece = 1 << 16;

/// The sums of each piece of so many elements.
std::vector<ChangeSums> sums_of_pieces(const Tensor& before, const Tensor& after, int64_t piece,
                                       const Tensor* change, const Tensor* histogram) {
  check(before.shape() == after.shape() && before.dtype() == after.dtype(),
        "change: expected tensors of one shape and dtype, found {} {} and {} {}", to_string(before.dtype()),
        before.shape(), to_string(after.dtype()), after.shape());
  const int64_t elements = before.numel(), pieces = (elements + piece - 1) / piece;
  const Tensor sums = Tensor::empty({pieces, ChangeTerms::num_results}, DType::float64, before.device());
  before.backend().sum_changes({.before = before,
                                .after = after,
                                .piece = piece,
                                .sums = sums,
                                .change = change,
                                .histogram = histogram});
  const std::vector<double> values = sums.to_vector<double>();
  std::vector<ChangeSums> of_pieces;
  for (int64_t i = 0; i < pieces; ++i) {
    const double* of_piece = values.data() + i * ChangeTerms::num_results;
    of_pieces.push_back({.elements = std::min(piece, elements - i * piece),
                         .changed = static_cast<int64_t>(of_piece[ChangeTerms::changed]),
                         .abs_change = of_piece[ChangeTerms::abs_change],
                         .sq_change = of_piece[ChangeTerms::sq_change],
                         .sq_before = of_piece[ChangeTerms::sq_before],
                         .sq_after = of_piece[ChangeTerms::sq_after],
                         .product = of_piece[ChangeTerms::product],
                         .max_abs = of_piece[ChangeTerms::max_change]});
  }
  return of_pieces;
}

}  // namespace

void ChangeSums::add(const ChangeSums& other) {
  elements += other.elements;
  changed += other.changed;
  abs_change += other.abs_change;
  sq_change += other.sq_change;
  sq_before += other.sq_before;
  sq_after += other.sq_after;
  product += other.product;
  max_abs = std::max(max_abs, other.max_abs);
}

double ChangeSums::mean_abs() const {
  return elements == 0 ? 0 : abs_change / static_cast<double>(elements);
}

std::optional<double> ChangeSums::rel_l2() const {
  if (sq_before == 0) return std::nullopt;
  return std::sqrt(sq_change / sq_before);
}

std::optional<double> ChangeSums::cosine() const {
  if (sq_before == 0 || sq_after == 0) return std::nullopt;
  if (changed == 0) return 1;
  return std::clamp(product / (std::sqrt(sq_before) * std::sqrt(sq_after)), -1.0, 1.0);
}

double ChangeSums::changed_share() const {
  return elements == 0 ? 0 : static_cast<double>(changed) / static_cast<double>(elements);
}

// ---- The histogram

void MagnitudeHistogram::add(const Tensor& counts) {
  const std::vector<int64_t> added = counts.to_vector<int64_t>();
  for (size_t bin = 0; bin < counts_.size(); ++bin) counts_[bin] += added[bin];
}

void MagnitudeHistogram::add(const MagnitudeHistogram& other) {
  for (size_t bin = 0; bin < counts_.size(); ++bin) counts_[bin] += other.counts_[bin];
}

double MagnitudeHistogram::quantile(double q) const {
  int64_t total = 0, below = 0;
  for (const int64_t count : counts_) total += count;
  for (size_t bin = 0; bin < counts_.size(); ++bin) {
    below += counts_[bin];
    if (below > 0 && static_cast<double>(below) >= q * static_cast<double>(total)) {
      return MagnitudeBins::value_of(static_cast<int64_t>(bin));
    }
  }
  return 0;
}

// ---- Tensors

ChangeSums measure_change(const Tensor& before, const Tensor& after, MagnitudeHistogram* histogram,
                          Tensor* change) {
  Tensor counts;
  if (histogram != nullptr) counts = Tensor::zeros({MagnitudeBins::count}, DType::int64, before.device());
  if (change != nullptr) *change = Tensor::empty(before.shape(), DType::float32, before.device());
  ChangeSums total;
  for (const ChangeSums& piece :
       sums_of_pieces(before, after, elements_of_a_piece, change, histogram == nullptr ? nullptr : &counts)) {
    total.add(piece);
  }
  if (histogram != nullptr) histogram->add(counts);
  return total;
}

std::vector<ChangeSums> measure_row_changes(const Tensor& before, const Tensor& after) {
  check(before.shape().rank() == 2, "change: expected a matrix, found {}", before.shape());
  return sums_of_pieces(before, after, std::max<int64_t>(1, before.size(1)), nullptr, nullptr);
}

}  // namespace normtune
