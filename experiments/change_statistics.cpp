#include "experiments/change_statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace normtune {

namespace {

constexpr int64_t block_size = 1 << 16;  // elements
/// A double's bits without sign, shifted so that this many of the mantissa are left: bins 1/64 of an octave.
constexpr int mantissa_bits = 6;
constexpr int shift = 52 - mantissa_bits;
constexpr uint64_t exponent_bias = 1023;
/// From 2^-160, below the least float32, to 2^130, above the largest.
constexpr uint64_t first_bin = (exponent_bias - 160) << mantissa_bits;
constexpr uint64_t num_bins = 290u << mantissa_bits;

template <typename T>
ChangeSums sums_of(const T* before, const T* after, int64_t count, MagnitudeHistogram* histogram) {
  ChangeSums sums{.elements = count};
  for (int64_t i = 0; i < count; ++i) {
    const double b = before[i], a = after[i], change = std::abs(a - b);
    sums.changed += a != b;
    sums.abs_change += change;
    sums.sq_change += change * change;
    sums.sq_before += b * b;
    sums.sq_after += a * a;
    sums.product += a * b;
    sums.max_abs = std::max(sums.max_abs, change);
    if (histogram != nullptr) histogram->add(change);
  }
  return sums;
}

template <typename T>
ChangeSums measure_blocks(const T* before, const T* after, int64_t count, MagnitudeHistogram* histogram) {
  const int64_t num_blocks = (count + block_size - 1) / block_size;
  std::vector<ChangeSums> sums(static_cast<size_t>(num_blocks));
#pragma omp parallel
  {
    MagnitudeHistogram own;
#pragma omp for schedule(static)
    for (int64_t block = 0; block < num_blocks; ++block) {
      const int64_t begin = block * block_size, length = std::min(block_size, count - begin);
      sums[static_cast<size_t>(block)] =
          sums_of(before + begin, after + begin, length, histogram != nullptr ? &own : nullptr);
    }
#pragma omp critical
    if (histogram != nullptr) histogram->add(own);
  }
  ChangeSums total;
  for (const ChangeSums& block : sums) total.add(block);
  return total;
}

/// Calls `function` with both tensors in one dtype.
template <typename Function>
decltype(auto) in_one_dtype(const Tensor& before, const Tensor& after, Function&& function) {
  check(before.shape() == after.shape(), "change: expected tensors of one shape, found {} and {}",
        before.shape(), after.shape());
  const bool wide = before.dtype() == DType::float64 || after.dtype() == DType::float64;
  const DType dtype = wide ? DType::float64 : DType::float32;
  const Tensor b = before.to(dtype), a = after.to(dtype);
  return dispatch_floating(dtype, [&]<typename T>() { return function(b.data<T>(), a.data<T>()); });
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

// ---- The histogram: bin 0 holds the zeros

MagnitudeHistogram::MagnitudeHistogram() : counts_(num_bins + 1) {}

size_t MagnitudeHistogram::bin_of(double magnitude) {
  if (magnitude == 0) return 0;
  const uint64_t bits = std::bit_cast<uint64_t>(magnitude) >> shift;
  return 1 + std::clamp(bits, first_bin, first_bin + num_bins - 1) - first_bin;
}

/// The middle of a bin.
double MagnitudeHistogram::value_of(size_t bin) {
  if (bin == 0) return 0;
  const uint64_t bits = first_bin + bin - 1;
  return std::bit_cast<double>((bits << shift) | (uint64_t{1} << (shift - 1)));
}

void MagnitudeHistogram::add(const MagnitudeHistogram& other) {
  for (size_t bin = 0; bin < counts_.size(); ++bin) counts_[bin] += other.counts_[bin];
}

double MagnitudeHistogram::quantile(double q) const {
  int64_t total = 0, below = 0;
  for (const int64_t count : counts_) total += count;
  for (size_t bin = 0; bin < counts_.size(); ++bin) {
    below += counts_[bin];
    if (below > 0 && static_cast<double>(below) >= q * static_cast<double>(total)) return value_of(bin);
  }
  return 0;
}

// ---- Tensors

ChangeSums measure_change(const Tensor& before, const Tensor& after, MagnitudeHistogram* histogram) {
  return in_one_dtype(before, after, [&](const auto* b, const auto* a) {
    return measure_blocks(b, a, before.numel(), histogram);
  });
}

std::vector<ChangeSums> measure_row_changes(const Tensor& before, const Tensor& after) {
  check(before.shape().rank() == 2, "change: expected a matrix, found {}", before.shape());
  const int64_t rows = before.size(0), columns = before.size(1);
  std::vector<ChangeSums> sums(static_cast<size_t>(rows));
  in_one_dtype(before, after, [&](const auto* b, const auto* a) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
      sums[static_cast<size_t>(row)] = sums_of(b + row * columns, a + row * columns, columns, nullptr);
    }
  });
  return sums;
}

Tensor absolute_change(const Tensor& before, const Tensor& after) {
  Tensor change = Tensor::empty(before.shape(), DType::float32);
  float* values = change.data<float>();
  in_one_dtype(before, after, [&](const auto* b, const auto* a) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < before.numel(); ++i) {
      values[i] = static_cast<float>(std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    }
  });
  return change;
}

}  // namespace normtune
