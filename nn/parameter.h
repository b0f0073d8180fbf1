#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/variable.h"

namespace normtune {

/// A named, labelled variable of a model.
struct Parameter {
  std::string name;       ///< the Hugging Face name, "bert.encoder.layer.3.output.LayerNorm.bias"
  std::string component;  ///< the whole path below the layer, without weight/bias: "output.LayerNorm"
  int64_t layer = -1;     ///< index of the encoder layer; -1 outside the encoder
  bool is_bias = false;   ///< told apart from weight (for a LayerNorm: gain) beside the component
  Variable variable;

  int64_t numel() const { return variable.tensor().numel(); }
};

/// Splits a Hugging Face name into its labels; `variable` is left undefined.
///
///   "bert.encoder.layer.3.output.LayerNorm.bias" -> component "output.LayerNorm", layer 3, is_bias
///   "bert.embeddings.word_embeddings.weight"     -> component "embeddings.word_embeddings", layer -1
Parameter label_parameter(std::string name);

/// The parameters of a model in the order of construction, which is the order of every report and every
/// top-k.
class ParameterList {
 public:
  /// Registers `value` under `name` and returns its variable, frozen. Throws std::invalid_argument for a name
  /// in use.
  Variable add(const std::string& name, Tensor value);
  void remove(std::string_view name);

  const Parameter* find(std::string_view name) const;  ///< null if there is none
  const Parameter& at(std::string_view name) const;    ///< throws std::invalid_argument if there is none

  std::vector<Parameter>::iterator begin() { return parameters_.begin(); }
  std::vector<Parameter>::iterator end() { return parameters_.end(); }
  std::vector<Parameter>::const_iterator begin() const { return parameters_.begin(); }
  std::vector<Parameter>::const_iterator end() const { return parameters_.end(); }
  size_t size() const { return parameters_.size(); }

  int64_t numel() const;  ///< elements in all
  std::vector<Variable> variables() const;
  void zero_grad();

 private:
  std::vector<Parameter> parameters_;
};

}  // namespace normtune
