#pragma once

#include <cstdint>
#include <span>

#include "nn/bert.h"

namespace normtune {

/// Floating-point operations (2 for a multiply-add) of the matrix products that one training step of a
/// classification model needs, given which parameters require gradients. For a linear layer with r rows, one
/// product of 2 r in out each for the output; for the input's gradient if something below it is trained; and
/// for the weight's gradient if the weight is trained. Attention: 4 S Sq H forward for S keys and Sq queries,
/// and twice that backward. What an implementation recomputes on top (attention scores in backward) is not
/// counted. `lengths` are those of the batch's sequences.
double needed_step_flops(Bert& model, std::span<const int64_t> lengths);

/// The same for a pre-training model: `num_masked` tokens are predicted, and with `next_sentence` the pooler
/// and its head answer for every sequence.
double needed_pretraining_flops(Bert& model, std::span<const int64_t> lengths, int64_t num_masked,
                                bool next_sentence);

}  // namespace normtune
