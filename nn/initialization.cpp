#include "nn/initialization.h"

#include <cmath>
#include <numbers>

namespace normtune {

namespace {

/// FNV-1a: a stable number for a name (std::hash differs between libraries).
uint64_t hash_name(std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char character : name) hash = (hash ^ static_cast<uint8_t>(character)) * 0x100000001B3;
  return hash;
}

/// Random numbers that belong to one tensor.
class TensorStream {
 public:
  TensorStream(std::string_view name, uint64_t seed) {
    const uint64_t mixed = mix64(mix64(seed) ^ hash_name(name));
    key_ = {static_cast<uint32_t>(mixed), static_cast<uint32_t>(mixed >> 32)};
  }

  /// In (0, 1). `attempt` gives further numbers for the same element.
  double uniform(int64_t index, uint32_t attempt) const { return open_unit(words(index, attempt)[0]); }
  /// Standard normal, by Box and Muller's transform.
  double normal(int64_t index, uint32_t attempt) const {
    const auto random = words(index, attempt);
    const double radius = std::sqrt(-2 * std::log(open_unit(random[0])));
    return radius * std::cos(2 * std::numbers::pi * open_unit(random[1]));
  }

 private:
  std::array<uint32_t, 4> words(int64_t index, uint32_t attempt) const {
    const auto position = static_cast<uint64_t>(index);
    return philox4x32({static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), attempt, 0},
                      key_);
  }
  static double open_unit(uint32_t word) { return (word + 0.5) / 4294967296.0; }

  PhiloxKey key_;
};

/// tensor[i] = value(i), computed on the host in double precision.
template <typename Value>
void fill_elements(const Tensor& tensor, Value&& value) {
  dispatch_floating(tensor.dtype(), [&]<typename T>() {
    std::vector<T> values(static_cast<size_t>(tensor.numel()));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<T>(value(static_cast<int64_t>(i)));
    Tensor(tensor).copy_from(Tensor::from_values(tensor.shape(), values));
  });
}

}  // namespace

void fill_normal(const Tensor& tensor, std::string_view name, uint64_t seed, double standard_deviation) {
  const TensorStream stream(name, seed);
  fill_elements(tensor, [&](int64_t i) { return standard_deviation * stream.normal(i, 0); });
}

void fill_truncated_normal(const Tensor& tensor, std::string_view name, uint64_t seed,
                           double standard_deviation) {
  const TensorStream stream(name, seed);
  fill_elements(tensor, [&](int64_t i) {
    double sample = stream.normal(i, 0);
    for (uint32_t attempt = 1; std::abs(sample) > 2; ++attempt) sample = stream.normal(i, attempt);
    return standard_deviation * sample;
  });
}

void fill_uniform(const Tensor& tensor, std::string_view name, uint64_t seed, double bound) {
  const TensorStream stream(name, seed);
  fill_elements(tensor, [&](int64_t i) { return bound * (2 * stream.uniform(i, 0) - 1); });
}

void initialize_parameter(const Parameter& parameter, const BertConfig& config, uint64_t seed) {
  Tensor tensor = parameter.variable.tensor();
  if (parameter.is_bias) {
    tensor.fill(0);
  } else if (parameter.component.ends_with("LayerNorm")) {
    tensor.fill(1);
  } else {
    fill_normal(tensor, parameter.name, seed, config.initializer_range);
    if (parameter.component == "embeddings.word_embeddings" && config.pad_token_id >= 0) {
      tensor.slice(config.pad_token_id, config.pad_token_id + 1).fill(0);
    }
  }
}

}  // namespace normtune
