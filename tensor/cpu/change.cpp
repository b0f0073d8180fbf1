#include "tensor/change.h"

#include <vector>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/parallel.h"

namespace normtune {
namespace {

/// Writes the sums of a piece and the changes, and counts into `bins`; these two may be null.
template <typename T>
void sum_piece(const T* before, const T* after, int64_t count, double* sums, float* changes, int64_t* bins) {
  std::fill_n(sums, ChangeTerms::num_results, 0.0);
  double& max_change = sums[ChangeTerms::max_change];
  for (int64_t i = 0; i < count; ++i) {
    const ChangeTerms terms = ChangeTerms::of(before[i], after[i]);
    for (int term = 0; term < ChangeTerms::count; ++term) sums[term] += terms.values[term];
    const double change = terms.values[ChangeTerms::abs_change];
    max_change = std::max(max_change, change);
    if (changes != nullptr) changes[i] = static_cast<float>(change);
    if (bins != nullptr) ++bins[MagnitudeBins::bin_of(change)];
  }
}

template <typename T>
void sum_changes_of(const Backend::SumChanges& args) {
  const T *before = args.before.data<T>(), *after = args.after.data<T>();
  auto* sums = args.sums.data<double>();
  auto* changes = args.change == nullptr ? nullptr : args.change->data<float>();
  auto* histogram = args.histogram == nullptr ? nullptr : args.histogram->data<int64_t>();
  const int64_t count = args.before.numel(), pieces = divide_up(count, args.piece);
#pragma omp parallel if (pieces > 1)
  {
    std::vector<int64_t> own(histogram == nullptr ? 0 : MagnitudeBins::count);
#pragma omp for schedule(static)
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const int64_t begin = piece * args.piece;
      sum_piece(before + begin, after + begin, std::min(args.piece, count - begin),
                sums + piece * ChangeTerms::num_results, changes == nullptr ? nullptr : changes + begin,
                own.empty() ? nullptr : own.data());
    }
#pragma omp critical
    for (size_t bin = 0; bin < own.size(); ++bin) histogram[bin] += own[bin];
  }
}

}  // namespace

void CpuBackend::sum_changes(const SumChanges& args) {
  dispatch_floating(args.before.dtype(), [&]<typename T>() { sum_changes_of<T>(args); });
}

}  // namespace normtune
