#pragma once

#include <memory>
#include <vector>

#include "autograd/variable.h"

namespace normtune {

/// The weights of a linear layer as factors of its products, on the device of its input. Beside an input in
/// bfloat16 they are the copies that somebody keeps rounded (below); without these, trainable ones are
/// rounded here, once for the products of forward and backward, and frozen ones stay as they are: each
/// product rounds them. Weights that are adjacent, of query, key and value, stay so. Throws
/// std::invalid_argument if one is on another device.
std::vector<Tensor> weight_factors(const std::vector<Variable>& weights, const Variable& input);

/// Rounds weights that train to the dtype that the device has for activations, adjacent ones together, and
/// keeps the copies (Variable::rounded_copy) as long as the returned object lives. Until then the weights may
/// be changed by an optimiser alone, which writes the copies too: so they need not be rounded in every step.
/// Null where activations have the dtype of the weights.
std::shared_ptr<const void> keep_rounded_weights(const std::vector<Variable>& weights);

/// The same for frozen weights and for good: they are on their device rounded alone from now on, and their
/// values on the host. They may not change any more.
void leave_rounded_weights(std::vector<Variable> weights);

}  // namespace normtune
