#include <math.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/vector/dispatch.h"

namespace normtune {
namespace {

#define NORMTUNE_INLINE inline
#include "tensor/formulas/clipping.h"
#undef NORMTUNE_INLINE

constexpr int64_t gathered_elements = 512;

/// Calls update(parameter, gradient, begin, count) on pieces of contiguous copies of the listed elements, and
/// writes the parameters back.
template <typename T, typename Update>
void update_listed(const Tensor& parameter, const Tensor& gradient, const Tensor& indices,
                   const Update& update) {
  T* values = parameter.data<T>();
  const T* gradients = gradient.data<T>();
  const int64_t* index = indices.data<int64_t>();
  parallel_pieces(indices.numel(), gathered_elements, [&](int64_t begin, int64_t end) {
    T value[gathered_elements] = {}, grad[gathered_elements] = {};
    const int64_t count = end - begin;
    for (int64_t i = 0; i < count; ++i) {
      value[i] = values[index[begin + i]];
      grad[i] = gradients[index[begin + i]];
    }
    update(value, grad, begin, count);
    for (int64_t i = 0; i < count; ++i) values[index[begin + i]] = value[i];
  });
}

template <typename T, typename Update>
void update_elements(const Tensor& parameter, const Tensor& gradient, const Tensor* indices,
                     const Update& update) {
  if (indices != nullptr) return update_listed<T>(parameter, gradient, *indices, update);
  T* values = parameter.data<T>();
  const T* gradients = gradient.data<T>();
  parallel_pieces(parameter.numel(), elements_per_piece, [&](int64_t begin, int64_t end) {
    update(values + begin, gradients + begin, begin, end - begin);
  });
}

/// A gradient of some rows [k, columns] of a parameter, where each finds its own.
template <typename T>
class GradientOfRows {
 public:
  GradientOfRows(const Tensor& parameter, const Tensor& gradient, const Tensor& gradient_rows)
      : columns_(parameter.size(1)),
        gradient_(gradient.data<T>()),
        places_(Tensor::full({parameter.size(0)}, -1, DType::int32)),
        zeros_(Tensor::zeros({columns_}, parameter.dtype())) {
    const int32_t* rows = gradient_rows.data<int32_t>();
    for (int32_t i = 0; i < gradient_rows.numel(); ++i) places_.data<int32_t>()[rows[i]] = i;
  }

  bool has(int64_t row) const { return place(row) >= 0; }
  /// [columns]
  const T* of(int64_t row) const { return has(row) ? gradient_ + place(row) * columns_ : zeros_.data<T>(); }

  /// Calls update(row) for the rows of which is_moved(row) holds. They are listed first, since those of
  /// frequent words stand together and would all fall to one thread.
  template <typename IsMoved, typename Update>
  void for_each_row(const IsMoved& is_moved, const Update& update) const {
    const Tensor moved = Tensor::empty(places_.shape(), DType::int32);
    int64_t count = 0;
    for (int32_t row = 0; row < moved.numel(); ++row) {
      if (is_moved(row)) moved.data<int32_t>()[count++] = row;
    }
    parallel_rows(count, columns_, [&](int64_t i) { update(moved.data<int32_t>()[i]); });
  }

 private:
  int32_t place(int64_t row) const { return places_.data<int32_t>()[row]; }

  int64_t columns_;
  const T* gradient_;
  Tensor places_;  // [num_rows] of the row in gradient_, -1 for none
  Tensor zeros_;
};

AdamWFactors factors_from(const Tensor& tensor) {
  AdamWFactors factors{};
  std::memcpy(&factors, tensor.raw_data(), sizeof(factors));
  return factors;
}

/// A row that never had a gradient has no moments, and without weight decay it stays as it is.
template <typename T>
void adamw_rows(const Backend::AdamWTensor& tensor, const AdamWFactors& factors, T gradient_scale) {
  const GradientOfRows<T> gradient(tensor.parameter, tensor.gradient, *tensor.gradient_rows);
  int32_t* has_moments = tensor.rows_with_moments->data<int32_t>();
  const int64_t columns = tensor.parameter.size(1);
  T *values = tensor.parameter.data<T>(), *first = tensor.first_moment.data<T>(),
    *second = tensor.second_moment.data<T>();
  const auto& loops = vector::loops<T>();
  const int32_t* rows = tensor.gradient_rows->data<int32_t>();
  for (int64_t i = 0; i < tensor.gradient_rows->numel(); ++i) has_moments[rows[i]] = 1;
  const bool decays = factors.decay_before != 1 || factors.decay_after != 1;
  gradient.for_each_row([&](int64_t row) { return has_moments[row] != 0 || decays; },
                        [&](int64_t row) {
                          const int64_t at = row * columns;
                          loops.adamw(values + at, gradient.of(row), first + at, second + at, factors,
                                      gradient_scale, columns);
                        });
}

template <typename T>
void sgd_rows(const Backend::SgdTensor& tensor, T lr, T gradient_scale) {
  const GradientOfRows<T> gradient(tensor.parameter, tensor.gradient, *tensor.gradient_rows);
  const int64_t columns = tensor.parameter.size(1);
  T* values = tensor.parameter.data<T>();
  const auto& loops = vector::loops<T>();
  gradient.for_each_row([&](int64_t row) { return gradient.has(row) || tensor.weight_decay != 0; },
                        [&](int64_t row) {
                          loops.sgd(values + row * columns, gradient.of(row), lr,
                                    static_cast<T>(tensor.weight_decay), gradient_scale, columns);
                        });
}

}  // namespace

void CpuBackend::adamw_step(const AdamWStep& args) {
  const double gradient_scale = args.gradient_scale.item();
  if (!is_finite(gradient_scale)) return;
  for (const AdamWTensor& tensor : args.tensors) {
    const AdamWFactors factors = factors_from(tensor.factors);
    dispatch_floating(tensor.parameter.dtype(), [&]<typename T>() {
      if (tensor.gradient_rows != nullptr) {
        return adamw_rows<T>(tensor, factors, static_cast<T>(gradient_scale));
      }
      T *first = tensor.first_moment.data<T>(), *second = tensor.second_moment.data<T>();
      const auto& loops = vector::loops<T>();
      update_elements<T>(tensor.parameter, tensor.gradient, tensor.indices,
                         [&](T* parameter, const T* gradient, int64_t begin, int64_t count) {
                           loops.adamw(parameter, gradient, first + begin, second + begin, factors,
                                       static_cast<T>(gradient_scale), count);
                         });
    });
    if (tensor.rounded != nullptr) convert(tensor.parameter, *tensor.rounded);
  }
}

void CpuBackend::sgd_step(const SgdStep& args) {
  const double gradient_scale = args.gradient_scale.item(), lr_of_step = args.lr.item();
  if (!is_finite(gradient_scale)) return;
  for (const SgdTensor& tensor : args.tensors) {
    dispatch_floating(tensor.parameter.dtype(), [&]<typename T>() {
      if (tensor.gradient_rows != nullptr) {
        return sgd_rows<T>(tensor, static_cast<T>(lr_of_step), static_cast<T>(gradient_scale));
      }
      const auto& loops = vector::loops<T>();
      const auto lr = static_cast<T>(lr_of_step), weight_decay = static_cast<T>(tensor.weight_decay),
                 scale = static_cast<T>(gradient_scale);
      update_elements<T>(tensor.parameter, tensor.gradient, tensor.indices,
                         [&](T* parameter, const T* gradient, int64_t, int64_t count) {
                           loops.sgd(parameter, gradient, lr, weight_decay, scale, count);
                         });
    });
    if (tensor.rounded != nullptr) convert(tensor.parameter, *tensor.rounded);
  }
}

void CpuBackend::clipping_factor(const ClippingFactor& args) {
  const auto* squares = args.squared_norms.data<double>();
  const double squared_norm = std::accumulate(squares, squares + args.squared_norms.numel(), 0.0);
  dispatch_floating(args.losses.dtype(), [&]<typename T>() {
    const T* losses = args.losses.data<T>();
    const bool all_finite = std::all_of(losses, losses + args.losses.numel(), is_finite<T>);
    *args.factor.data<double>() = normtune::clipping_factor(squared_norm, all_finite, args.max_norm);
  });
}

}  // namespace normtune
