#include <math.h>

#include <algorithm>
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

}  // namespace

void CpuBackend::adamw_step(const AdamWStep& args) {
  const double gradient_scale = args.gradient_scale.item();
  if (!is_finite(gradient_scale)) return;
  for (const AdamWTensor& tensor : args.tensors) {
    const AdamWFactors factors = adamw_factors(args, tensor.weight_decay);
    dispatch_floating(tensor.parameter.dtype(), [&]<typename T>() {
      T *first = tensor.first_moment.data<T>(), *second = tensor.second_moment.data<T>();
      const auto& loops = vector::loops<T>();
      update_elements<T>(tensor.parameter, tensor.gradient, tensor.indices,
                         [&](T* parameter, const T* gradient, int64_t begin, int64_t count) {
                           loops.adamw(parameter, gradient, first + begin, second + begin, factors,
                                       static_cast<T>(gradient_scale), count);
                         });
    });
  }
}

void CpuBackend::sgd_step(const SgdStep& args) {
  const double gradient_scale = args.gradient_scale.item();
  if (!is_finite(gradient_scale)) return;
  for (const SgdTensor& tensor : args.tensors) {
    dispatch_floating(tensor.parameter.dtype(), [&]<typename T>() {
      const auto& loops = vector::loops<T>();
      const auto lr = static_cast<T>(args.lr), weight_decay = static_cast<T>(tensor.weight_decay),
                 scale = static_cast<T>(gradient_scale);
      update_elements<T>(tensor.parameter, tensor.gradient, tensor.indices,
                         [&](T* parameter, const T* gradient, int64_t, int64_t count) {
                           loops.sgd(parameter, gradient, lr, weight_decay, scale, count);
                         });
    });
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
