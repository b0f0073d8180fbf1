#pragma once

#include <cstdint>

#include "nn/adapterhub_folder.h"
#include "nn/bert.h"

namespace normtune {

/// Inserts bottleneck adapters into every block as `settings` describe (placement, size, non-linearity) and
/// registers their tensors under AdapterHub's names. Matrices are drawn from `init_seed` by
/// settings.init_weights: "bert" = N(0, 0.02), "houlsby" = N(0, 0.01) cut at two standard deviations; biases
/// are zero. Throws Error(model) for a non-linearity, scaling or hidden size that does not fit.
void attach_adapters(Bert& model, const AdapterHubDelta& settings, uint64_t init_seed);

/// Inserts the adapters of a folder, values included, and its head where it has one that fits.
void load_adapters(Bert& model, const AdapterHubDelta& delta);

/// The adapters and the head of a model, as an AdapterHub folder holds them.
AdapterHubDelta extract_adapters(const Bert& model, AdapterHubDelta settings);

/// Whether a parameter belongs to an adapter.
bool is_adapter(const Parameter& parameter);

}  // namespace normtune
