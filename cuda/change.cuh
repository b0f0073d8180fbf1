#pragma once

#include "cuda/arguments.h"
#include "cuda/block.cuh"
#include "tensor/change.h"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

struct ChangeArguments {
  const float *before, *after;
  int64_t count, piece;
  double* sums;              // [pieces, ChangeTerms::num_results]
  float* change;             // [count] or null
  unsigned long long* bins;  // [MagnitudeBins::count] or null
};

/// A block has a piece. Counts are whole numbers, whose sum does not depend on the order in which blocks add
/// to it. Zeros, which may be all, are counted once for a block.
static __global__ void sum_changes_kernel(ChangeArguments args) {
  const int64_t begin = blockIdx.x * args.piece;
  const int64_t end = begin + args.piece < args.count ? begin + args.piece : args.count;
  Sums<ChangeTerms::count> sums{};
  double max_change = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
    const auto terms =
        ChangeTerms::of(static_cast<double>(args.before[i]), static_cast<double>(args.after[i]));
    for (int term = 0; term < ChangeTerms::count; ++term) sums[term] += terms.values[term];
    const double change = terms.values[ChangeTerms::abs_change];
    max_change = larger(change, max_change);
    if (args.change != nullptr) args.change[i] = static_cast<float>(change);
    if (args.bins != nullptr && change != 0) atomicAdd(args.bins + MagnitudeBins::bin_of(change), 1ULL);
  }
  sums = block_sum(sums);
  max_change = block_max(max_change);
  if (threadIdx.x != 0) return;
  double* result = args.sums + blockIdx.x * ChangeTerms::num_results;
  for (int term = 0; term < ChangeTerms::count; ++term) result[term] = sums[term];
  result[ChangeTerms::max_change] = max_change;
  const int64_t zeros = end - begin - static_cast<int64_t>(sums[ChangeTerms::changed]);
  if (args.bins != nullptr) atomicAdd(args.bins, static_cast<unsigned long long>(zeros));
}

template <typename Launcher>
void sum_changes(const Launcher& launch, const Backend::SumChanges& args) {
  const int64_t count = args.before.numel();
  const ChangeArguments arguments{.before = floats(args.before),
                                  .after = floats(args.after),
                                  .count = count,
                                  .piece = args.piece,
                                  .sums = args.sums.data<double>(),
                                  .change = floats(args.change),
                                  .bins = args.histogram == nullptr ? nullptr
                                                                    : reinterpret_cast<unsigned long long*>(
                                                                          args.histogram->data<int64_t>())};
  launch(sum_changes_kernel, Grid{.blocks = divide_up(count, args.piece), .threads = element_threads},
         arguments);
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
