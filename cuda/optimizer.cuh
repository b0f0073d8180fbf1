#pragma once

#include "cuda/tensor_table.cuh"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// A parameter that an update writes to, and the copy of it that is kept rounded.
struct UpdatedParameter {
  float* values;
  bfloat16* rounded;  // or null

  __device__ void store(int64_t i, float value) const {
    values[i] = value;
    if (rounded != nullptr) rounded[i] = normtune::cuda::rounded<bfloat16>(value);
  }
  __device__ void store(int64_t i, const Four& four, int64_t count, FourAccess access) const {
    access.store(values + i, four, count);
    if (rounded != nullptr) access.store(rounded + i, four, count);
  }
};

inline UpdatedParameter updated(const Tensor& parameter, const Tensor* rounded) {
  return {.values = floats(parameter), .rounded = elements<bfloat16>(rounded)};
}

/// Each thread calls body(i, count) for neighbours i, ..., i + count - 1 of the piece, of which it works on
/// the first four.
template <typename Body>
__device__ void for_each_four(const Piece& piece, const Body& body) {
  for (int64_t i = piece.begin + 4 * threadIdx.x; i < piece.end; i += 4 * blockDim.x) body(i, piece.end - i);
}

/// Each thread calls body(i, indices[i]) for places i of the list.
template <typename Body>
__device__ void for_each_listed(const Piece& piece, const int64_t* indices, const Body& body) {
  for (int64_t i = piece.begin + threadIdx.x; i < piece.end; i += blockDim.x) body(i, indices[i]);
}

/// A tensor of an AdamW update. With `indices` the elements are the listed ones, whose moments lie at their
/// place in the list.
struct AdamWEntry {
  UpdatedParameter parameter;
  float *first_moment, *second_moment;
  const float* gradient;
  const int64_t* indices;  // or null
  const AdamWFactors* factors;
  int64_t count;
  FourAccess access;  // without a list
};
#if defined(__CUDACC__)
static_assert(TensorTable<AdamWEntry>::capacity >= 393,
              "an update of all tensors of BERT-large is one launch");
#endif

inline AdamWEntry entry_of(const Backend::AdamWTensor& tensor) {
  AdamWEntry entry{.parameter = updated(tensor.parameter, tensor.rounded),
                   .first_moment = floats(tensor.first_moment),
                   .second_moment = floats(tensor.second_moment),
                   .gradient = floats(tensor.gradient),
                   .indices = int64s(tensor.indices),
                   .factors = reinterpret_cast<const AdamWFactors*>(tensor.factors.data<double>()),
                   .count = tensor.first_moment.numel(),
                   .access = {}};
  entry.access = four_access(0, entry.parameter.values, entry.parameter.rounded, entry.first_moment,
                             entry.second_moment, entry.gradient);
  return entry;
}

template <typename Launcher>
void adamw_step(const Launcher& launch, const Backend::AdamWStep& args) {
  std::vector<AdamWEntry> entries;
  for (const Backend::AdamWTensor& tensor : args.tensors) entries.push_back(entry_of(tensor));
  const auto* gradient_scale = args.gradient_scale.data<double>();
  for_each_piece_of(launch, entries, [=] __device__(const AdamWEntry& tensor, const Piece& piece) {
    const auto scale = static_cast<float>(*gradient_scale);
    if (!is_finite(scale)) return;
    const AdamWScalars<float> scalars = adamw_scalars<float>(*tensor.factors);
    if (tensor.indices != nullptr) {
      return for_each_listed(piece, tensor.indices, [&](int64_t i, int64_t at) {
        float value = tensor.parameter.values[at];
        adamw_element(value, tensor.gradient[at], scale, tensor.first_moment[i], tensor.second_moment[i],
                      scalars);
        tensor.parameter.store(at, value);
      });
    }
    for_each_four(piece, [&](int64_t i, int64_t count) {
      const Four gradient = tensor.access.load(tensor.gradient + i, count);
      Four value = tensor.access.load(tensor.parameter.values + i, count),
           first = tensor.access.load(tensor.first_moment + i, count),
           second = tensor.access.load(tensor.second_moment + i, count);
      for (int k = 0; k < 4; ++k) {
        adamw_element(value[k], gradient[k], scale, first[k], second[k], scalars);
      }
      tensor.access.store(tensor.first_moment + i, first, count);
      tensor.access.store(tensor.second_moment + i, second, count);
      tensor.parameter.store(i, value, count, tensor.access);
    });
  });
}

struct SgdEntry {
  UpdatedParameter parameter;
  const float* gradient;
  const int64_t* indices;  // or null
  int64_t count;
  float weight_decay;
  FourAccess access;  // without a list
};

inline SgdEntry entry_of(const Backend::SgdTensor& tensor) {
  SgdEntry entry{.parameter = updated(tensor.parameter, tensor.rounded),
                 .gradient = floats(tensor.gradient),
                 .indices = int64s(tensor.indices),
                 .count = count_of(tensor.parameter, tensor.indices),
                 .weight_decay = static_cast<float>(tensor.weight_decay),
                 .access = {}};
  entry.access = four_access(0, entry.parameter.values, entry.parameter.rounded, entry.gradient);
  return entry;
}

template <typename Launcher>
void sgd_step(const Launcher& launch, const Backend::SgdStep& args) {
  std::vector<SgdEntry> entries;
  for (const Backend::SgdTensor& tensor : args.tensors) entries.push_back(entry_of(tensor));
  const auto *lr_of_step = args.lr.data<double>(), *gradient_scale = args.gradient_scale.data<double>();
  for_each_piece_of(launch, entries, [=] __device__(const SgdEntry& tensor, const Piece& piece) {
    const auto lr = static_cast<float>(*lr_of_step), scale = static_cast<float>(*gradient_scale);
    if (!is_finite(scale)) return;
    if (tensor.indices != nullptr) {
      return for_each_listed(piece, tensor.indices, [&](int64_t, int64_t at) {
        float value = tensor.parameter.values[at];
        sgd_element(value, tensor.gradient[at], lr, tensor.weight_decay, scale);
        tensor.parameter.store(at, value);
      });
    }
    for_each_four(piece, [&](int64_t i, int64_t count) {
      const Four gradient = tensor.access.load(tensor.gradient + i, count);
      Four value = tensor.access.load(tensor.parameter.values + i, count);
      for (int k = 0; k < 4; ++k) sgd_element(value[k], gradient[k], lr, tensor.weight_decay, scale);
      tensor.parameter.store(i, value, count, tensor.access);
    });
  });
}

/// One block.
static __global__ void clipping_factor_kernel(const double* squared_norms, int64_t num_norms,
                                              const float* losses, int64_t num_losses, double max_norm,
                                              double* factor) {
  Sums<2> sums{};
  for (int64_t i = threadIdx.x; i < num_norms; i += blockDim.x) sums[0] += squared_norms[i];
  for (int64_t i = threadIdx.x; i < num_losses; i += blockDim.x) sums[1] += static_cast<double>(losses[i]);
  sums = block_sum(sums);
  // A sum of floats in double is finite where all of them are.
  if (threadIdx.x == 0) *factor = clipping_factor(sums[0], is_finite(sums[1]), max_norm);
}

template <typename Launcher>
void clipping_factor(const Launcher& launch, const Backend::ClippingFactor& args) {
  launch(clipping_factor_kernel, Grid{.blocks = 1, .threads = element_threads},
         args.squared_norms.data<double>(), args.squared_norms.numel(), floats(args.losses),
         args.losses.numel(), args.max_norm, args.factor.data<double>());
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
