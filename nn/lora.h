#pragma once

#include <cstdint>
#include <vector>

#include "nn/bert.h"
#include "nn/peft_folder.h"
#include "nn/safetensors.h"

namespace normtune {

/// Puts a low-rank update on every linear layer that `delta.targets` matches and registers its matrices as
/// "<module>.lora_A.weight" and "<module>.lora_B.weight". A is uniform in +-1/sqrt(in_features) (Kaiming with
/// a = sqrt(5), as in peft), drawn from `init_seed`; B is zero, so the model's function is unchanged.
/// Throws Error(usage) if nothing matches.
void attach_lora(Bert& model, const LoraDelta& delta, uint64_t init_seed);

/// W + scaling * B A: the weight of a layer with its update merged in; the weight itself if it has none.
Tensor merged_weight(const Linear& linear);

/// Adds every update to its weight for good and removes the low-rank matrices.
void merge_lora(Bert& model);

/// The low-rank matrices and the head, as a PEFT folder holds them.
LoraDelta extract_lora(Bert& model, LoraDelta settings);

}  // namespace normtune
