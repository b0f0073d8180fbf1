#pragma once

#include <optional>
#include <string>

#include "autograd/variable.h"
#include "nn/forward_context.h"
#include "nn/parameter.h"

namespace normtune {

/// Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): W x becomes W x + scaling * B A x, scaling = alpha
/// / r.
struct Lora {
  Variable lora_A;  // [r, in_features]
  Variable lora_B;  // [out_features, r]
  double scaling = 1;
  double dropout = 0;  ///< of the input of A
  int32_t dropout_site = 0;

  /// base + scaling * dropout(input) A^T B^T, in columns [column, column + out_features) of base.
  Variable add_to(Variable base, const Variable& input, const ForwardContext& context, const RowIndex& rows,
                  int64_t column = 0) const;
};

/// y = x W^T + b, with an optional low-rank update.
struct Linear {
  Variable weight;  // [out_features, in_features]
  Variable bias;    // [out_features]
  std::optional<Lora> lora;

  /// Registers "<path>.weight" and "<path>.bias", zero until loaded or initialised.
  static Linear make(ParameterList& parameters, const std::string& path, int64_t in_features,
                     int64_t out_features, DType dtype, Device device);

  int64_t in_features() const { return weight.size(1); }
  int64_t out_features() const { return weight.size(0); }

  Variable forward(const Variable& input, const ForwardContext& context, const RowIndex& rows) const;
  /// The layer applied to activation(input), of which only what backward needs is kept
  /// (autograd/activation_linear.h); an input that the caller gives away may be written over.
  Variable forward_activated(Variable input, Activation activation, const ForwardContext& context,
                             const RowIndex& rows) const;
};

/// Layer normalization with its parameters; see autograd/layer_norm.h.
struct LayerNorm {
  Variable weight;  // [hidden_size], the gain
  Variable bias;    // [hidden_size]
  double eps = 1e-12;

  static LayerNorm make(ParameterList& parameters, const std::string& path, int64_t hidden_size, double eps,
                        DType dtype, Device device);
};

/// Bottleneck adapter (Houlsby et al. 2019, arXiv:1902.00751): up(activation(down(x))), without its skip
/// connection.
struct Adapter {
  Linear down;  // [bottleneck_size, hidden_size]
  Linear up;    // [hidden_size, bottleneck_size]
  Activation activation = Activation::gelu;

  Variable forward(const Variable& input, const ForwardContext& context, const RowIndex& rows) const;
};

}  // namespace normtune
