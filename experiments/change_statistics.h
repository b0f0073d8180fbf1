#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tensor/change.h"
#include "tensor/tensor.h"

namespace normtune {

/// Sums over pairs of elements, before b and after a, from which every measure of change follows. All in
/// double precision; sums of two sets of elements add up to those of their union.
struct ChangeSums {
  int64_t elements = 0;
  int64_t changed = 0;    ///< elements with a != b
  double abs_change = 0;  ///< sum |a - b|
  double sq_change = 0;   ///< sum (a - b)^2
  double sq_before = 0;   ///< sum b^2
  double sq_after = 0;    ///< sum a^2
  double product = 0;     ///< sum a b
  double max_abs = 0;     ///< max |a - b|

  void add(const ChangeSums& other);

  /// D = (1/n) sum |a - b|, the paper's change of a component. 0 for no elements.
  double mean_abs() const;
  /// ||a - b|| / ||b||; none if all of b is zero.
  std::optional<double> rel_l2() const;
  /// a b / (||a|| ||b||), exactly 1 where nothing changed; none if all of a or all of b is zero.
  std::optional<double> cosine() const;
  /// Share of the elements that changed, from 0 to 1.
  double changed_share() const;
};

/// How |a - b| is distributed, in MagnitudeBins.
class MagnitudeHistogram {
 public:
  MagnitudeHistogram() : counts_(MagnitudeBins::count) {}

  /// `counts` [MagnitudeBins::count] int64.
  void add(const Tensor& counts);
  void add(const MagnitudeHistogram& other);
  /// The magnitude below which a share `q` of the elements lies; 0 for an empty histogram.
  double quantile(double q) const;

 private:
  std::vector<int64_t> counts_;
};

// Of two tensors of one shape, dtype (float32, on the CPU also float64) and device, where the sums are taken.

/// The sums over all elements. Pieces of a fixed size are added in order, so the result does not depend on
/// the number of threads. Unless they are null, `histogram` counts the magnitudes of the changes besides, and
/// `change` becomes |after - before| as float32.
ChangeSums measure_change(const Tensor& before, const Tensor& after, MagnitudeHistogram* histogram = nullptr,
                          Tensor* change = nullptr);

/// The sums over each row of two matrices [rows, columns].
std::vector<ChangeSums> measure_row_changes(const Tensor& before, const Tensor& after);

}  // namespace normtune
