#pragma once

#include <cstdint>

#include "experiments/tokenized_dataset.h"
#include "nn/model.h"

namespace normtune {

/// The rows as the model reads them, cut to `max_seq_length` tokens. Throws Error(model) if they have two
/// texts and the model one token type.
TokenizedDataset tokenize(const Dataset& dataset, const Model& model, int64_t max_seq_length);

}  // namespace normtune
