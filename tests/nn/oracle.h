#pragma once

// Reference data recorded from transformers and PyTorch: reader, weight generator and comparisons.
// Layout of the files and the generator: tests/files/bert/README.md.

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "nn/bert_config.h"
#include "nn/packed_batch.h"
#include "nn/parameter.h"
#include "nn/safetensors.h"

namespace normtune::oracle {

inline uint64_t fnv1a_64(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325;
  for (unsigned char byte : text) hash = (hash ^ byte) * 0x100000001B3;
  return hash;
}

/// The output function of SplitMix64 (Steele, Lea and Flood 2014).
inline uint64_t splitmix64(uint64_t state) {
  state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9;
  state = (state ^ (state >> 27)) * 0x94D049BB133111EB;
  return state ^ (state >> 31);
}

/// Element i of the stream of values in [-1, 1) that belongs to a name.
class UniformStream {
 public:
  explicit UniformStream(std::string_view name) : hash_(fnv1a_64(name)) {}
  double operator[](int64_t i) const {
    const uint64_t bits = splitmix64(hash_ + (static_cast<uint64_t>(i) + 1) * 0x9E3779B97F4A7C15);
    return 2.0 * (static_cast<double>(bits >> 11) * 0x1p-53) - 1.0;
  }

 private:
  uint64_t hash_;
};

/// The initial value of a parameter: float64 numbers that float32 can hold, in `dtype`.
inline Tensor generated_weight(std::string_view name, const Shape& shape, DType dtype) {
  if (name.ends_with("lora_B.weight")) return Tensor::zeros(shape, dtype);
  const double gain = name.ends_with("query.weight") || name.ends_with("key.weight") ? 2.0 : 1.0;
  const double matrix_scale = gain / std::sqrt(static_cast<double>(shape.back()));
  const UniformStream uniform(name);
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) {
    double value = uniform[static_cast<int64_t>(i)];
    if (name.ends_with("LayerNorm.weight")) {
      value = 1.0 + 0.25 * value;
    } else {
      value *= shape.rank() == 1 ? 0.25 : matrix_scale;
    }
    values[i] = static_cast<double>(static_cast<float>(value));
  }
  return Tensor::from_values(shape, values).to(dtype);
}

/// Overwrites a parameter with its generated value.
inline void fill_with_generated_weight(const Parameter& parameter) {
  Tensor value = parameter.variable.tensor();
  value.copy_from(generated_weight(parameter.name, value.shape(), value.dtype()));
}

/// The folder of all recorded cases.
inline const std::filesystem::path recorded_cases = std::filesystem::path(NORMTUNE_TEST_FILES) / "bert";

/// One recorded case, `NAME.json` and `NAME.safetensors` in `folder`.
class Case {
 public:
  Case(const std::filesystem::path& folder, const std::string& name)
      : config(read_bert_config(folder / (name + ".json"))), file_(folder / (name + ".safetensors")) {}

  BertConfig config;

  /// A recorded tensor: float64 or int64.
  Tensor tensor(const std::string& name) const { return file_.read(name); }
  std::vector<double> values(const std::string& name) const { return tensor(name).to_vector<double>(); }
  std::vector<int64_t> integers(const std::string& name) const { return tensor(name).to_vector<int64_t>(); }
  double scalar(const std::string& name) const { return values(name).at(0); }
  bool contains(const std::string& name) const { return file_.contains(name); }

  /// The names behind `prefix` ("grad." or "weight.").
  std::vector<std::string> names(std::string_view prefix) const {
    std::vector<std::string> result;
    for (const std::string& name : file_.names()) {
      if (name.starts_with(prefix)) result.push_back(name.substr(prefix.size()));
    }
    return result;
  }

  int64_t num_examples() const { return file_.entry("lengths").shape[0]; }
  /// Some examples as a batch, in the given order.
  PackedBatch batch(const std::vector<int64_t>& examples) const;
  /// The whole recorded batch.
  PackedBatch batch() const { return batch(all_examples()); }
  std::vector<int64_t> all_examples() const {
    std::vector<int64_t> examples;
    for (int64_t i = 0; i < num_examples(); ++i) examples.push_back(i);
    return examples;
  }

 private:
  SafetensorsFile file_;
};

inline PackedBatch Case::batch(const std::vector<int64_t>& examples) const {
  const auto narrow = [&](const std::string& name) {
    const std::vector<int64_t> wide = integers(name);
    return std::vector<int32_t>(wide.begin(), wide.end());
  };
  const std::vector<int32_t> input_ids = narrow("input_ids"), token_type_ids = narrow("token_type_ids");
  std::vector<size_t> begins = {0};
  for (int64_t length : integers("lengths")) begins.push_back(begins.back() + static_cast<size_t>(length));
  std::vector<TokenizedExample> tokenized;
  for (int64_t i : examples) {
    const size_t begin = begins.at(static_cast<size_t>(i)),
                 length = begins.at(static_cast<size_t>(i) + 1) - begin;
    tokenized.push_back({.input_ids = std::span(input_ids).subspan(begin, length),
                         .token_type_ids = std::span(token_type_ids).subspan(begin, length),
                         .example_id = i});
  }
  return pack(tokenized);
}

/// int64 labels of some rows as the int32 tensor that losses take.
inline Tensor select_labels(const std::vector<int64_t>& labels, const std::vector<int64_t>& rows) {
  std::vector<int32_t> selected;
  for (int64_t row : rows) selected.push_back(static_cast<int32_t>(labels.at(static_cast<size_t>(row))));
  return Tensor::from_values(Shape{static_cast<int64_t>(selected.size())}, selected);
}

/// Values of a float32 or float64 tensor as double.
inline std::vector<double> doubles(const Tensor& tensor) {
  return tensor.to(DType::float64).to_vector<double>();
}

/// The larger of two errors; a NaN on either side wins, so that `error <= tolerance` fails.
inline double worse(double a, double b) {
  return !(a <= b) ? a : b;
}

/// max |found - expected|; infinite for other sizes.
inline double max_abs_error(const std::vector<double>& found, const std::vector<double>& expected) {
  if (found.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double error = 0;
  for (size_t i = 0; i < found.size(); ++i) error = worse(std::abs(found[i] - expected[i]), error);
  return error;
}

inline double norm(const std::vector<double>& values) {
  double sum = 0;
  for (double value : values) sum += value * value;
  return std::sqrt(sum);
}

/// norm(found - expected) / norm(scale); an exactly zero scale demands exact equality.
inline double relative_l2_error(const std::vector<double>& found, const std::vector<double>& expected,
                                const std::vector<double>& scale) {
  if (found.size() != expected.size()) return std::numeric_limits<double>::infinity();
  std::vector<double> difference(found.size());
  for (size_t i = 0; i < found.size(); ++i) difference[i] = found[i] - expected[i];
  const double error = norm(difference);
  return error == 0 ? 0 : error / norm(scale);
}
inline double relative_l2_error(const std::vector<double>& found, const std::vector<double>& expected) {
  return relative_l2_error(found, expected, expected);
}

/// The gradient of `attention.self.key.bias` is zero in mathematics and noise in practice: it is held against
/// the gradient of the query bias instead.
inline bool is_key_bias(std::string_view name) {
  return name.ends_with("attention.self.key.bias");
}
inline std::string query_bias_of(std::string key_bias) {
  return key_bias.replace(key_bias.rfind("key.bias"), 3, "query");
}

/// Largest errors allowed against the float64 reference.
struct Tolerances {
  double max_abs;        // hidden states and logits
  double relative;       // the same, relative L2
  double loss;           // relative
  double gradient;       // relative L2, of every parameter
  double key_bias;       // norm(g_key.bias) / norm(g_query.bias)
  double moved;          // trained weights: error / distance moved, of every parameter
  double training_loss;  // absolute, of each of the first updates
};
inline Tolerances tolerances(DType dtype) {
  if (dtype == DType::float64) {
    return {.max_abs = 1e-10,
            .relative = 1e-10,
            .loss = 1e-10,
            .gradient = 1e-10,
            .key_bias = 1e-12,
            .moved = 1e-9,
            .training_loss = 1e-12};
  }
  return {.max_abs = 5e-5,
          .relative = 1e-5,
          .loss = 1e-5,
          .gradient = 1e-4,
          .key_bias = 1e-5,
          .moved = 1e-3,
          .training_loss = 1e-5};
}

}  // namespace normtune::oracle
