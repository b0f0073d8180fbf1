#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "nn/packed_batch.h"
#include "tensor/backend.h"

namespace normtune {

/// Places in the model that drop values. The numbers are part of the reproducibility promise: a mask is keyed
/// by (dropout_seed, step, site), never by an order of calls.
enum class DropoutPlace : int32_t {
  attention_probs = 0,
  attention_output = 1,
  ffn_output = 2,
  lora_query = 3,
  lora_key = 4,
  lora_value = 5,
  lora_attention_output = 6,
  lora_intermediate = 7,
  lora_ffn_output = 8,
};
constexpr int32_t dropout_site_embeddings = 0;
constexpr int32_t dropout_site_pooled_output = 1;
constexpr int32_t dropout_site_lora_pooler = 2;
constexpr int32_t dropout_site(int64_t layer, DropoutPlace place) {
  return 16 * (static_cast<int32_t>(layer) + 1) + static_cast<int32_t>(place);
}

/// What a forward pass must know beside its inputs.
struct ForwardContext {
  bool training = false;  ///< dropout acts in training only
  uint64_t dropout_seed = 0;
  int64_t step = 0;  ///< update step; all micro-batches of an accumulated update share it
  /// For captured work: the keys of all sites, dropout_keys(), on the device.
  Tensor dropout_keys;
};

/// The key of every dropout site of a model with so many layers, [number of sites] int64 on the host.
inline Tensor dropout_keys(uint64_t dropout_seed, int64_t step, int64_t num_layers) {
  const int32_t num_sites = dropout_site(num_layers, DropoutPlace{});  // the first that there is not
  std::vector<int64_t> keys(static_cast<size_t>(num_sites));
  for (size_t site = 0; site < keys.size(); ++site) {
    keys[site] = std::bit_cast<int64_t>(dropout_key(dropout_seed, step, static_cast<int32_t>(site)));
  }
  return Tensor::from_values({std::ssize(keys)}, keys);
}

/// Rows of a tensor seen as (example, position): all tokens of a batch, or its [CLS] rows only.
struct RowIndex {
  Tensor example_ids;  // [num_rows] int64
  Tensor positions;    // [num_rows] int32
};
inline RowIndex all_rows(const PackedBatch& batch) {
  return {batch.example_ids, batch.position_ids};
}
inline RowIndex cls_rows(const PackedBatch& batch) {
  return {batch.cls_example_ids, batch.cls_positions};
}

/// The mask of one use of dropout; inactive outside training.
inline DropoutMask dropout_mask(const ForwardContext& context, double probability, int32_t site,
                                const RowIndex& rows) {
  if (!context.training || probability == 0) return {};
  return {.probability = probability,
          .key = dropout_key(context.dropout_seed, context.step, site),
          .example_ids = rows.example_ids,
          .positions = rows.positions,
          .key_on_device =
              context.dropout_keys.defined() ? context.dropout_keys.slice(site, site + 1) : Tensor()};
}

}  // namespace normtune
