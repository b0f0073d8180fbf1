#pragma once

#include <cstdint>
#include <string_view>

#include "nn/bert_config.h"
#include "nn/parameter.h"

namespace normtune {

// Initial values are drawn on the host, element by element, as a function of (seed, name, index): a tensor's
// values do not depend on which other tensors are drawn, nor on the device.

/// Normal with mean 0.
void fill_normal(const Tensor& tensor, std::string_view name, uint64_t seed, double standard_deviation);
/// Normal with mean 0, redrawn beyond two standard deviations.
void fill_truncated_normal(const Tensor& tensor, std::string_view name, uint64_t seed,
                           double standard_deviation);
/// Uniform in (-bound, bound).
void fill_uniform(const Tensor& tensor, std::string_view name, uint64_t seed, double bound);

/// BERT's initial values: LayerNorm gain 1, every bias 0, all else N(0, initializer_range), the padding row
/// of the word embeddings 0.
void initialize_parameter(const Parameter& parameter, const BertConfig& config, uint64_t seed);

}  // namespace normtune
