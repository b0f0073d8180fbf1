#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "nn/safetensors.h"

namespace normtune {

/// Bottleneck adapters as AdapterHub stores them. With h = dropout(dense(x)), x0 the residual input, LN the
/// block's own LayerNorm and f(u) = up(act(down(u))):
///
///   original_ln_before false (double_seq_bn, Houlsby):  out = LN(f(h) + h + x0)
///   original_ln_before true  (seq_bn, Pfeiffer):        out = LN(f(LN(h + x0)) + h + x0)
struct AdapterHubDelta {
  std::string name;  // of the adapter, part of its tensors' names
  int64_t hidden_size = 0;
  int64_t bottleneck_size = 0;         // floor(hidden_size / reduction_factor)
  bool mh_adapter = false;             // an adapter behind the attention of each block
  bool output_adapter = true;          // an adapter behind the feed-forward layer of each block
  std::string non_linearity = "relu";  // relu, gelu or swish
  bool original_ln_before = true;
  double scaling = 1.0;
  double dropout = 0.0;
  std::string init_weights = "bert";  // bert or houlsby: how the values were drawn
  std::string model_name;             // of the base model; may be empty
  std::string model_class = "BertForSequenceClassification";

  /// Full model names: "bert.encoder.layer.0.output.adapters.NAME.adapter_down.0.weight" [m, H], ".bias" [m],
  /// "...adapter_up.weight" [H, m], ".bias" [H]; "...attention.output.adapters.NAME..." with mh_adapter.
  /// Sorted when read.
  std::vector<NamedTensor> tensors;
  /// "classifier.weight" [C, H] and "classifier.bias" [C]; empty if the folder has no head.
  std::vector<NamedTensor> head;
  /// Names of the head's classes, in order; may be empty.
  std::vector<std::string> labels;
};

/// Reads adapter_config.json with adapter.safetensors or pytorch_adapter.bin and, where it is there,
/// head_config.json with model_head.safetensors or pytorch_model_head.bin. Throws Error(ErrorKind::model)
/// naming file, key or tensor for what is malformed, incomplete, or a variant that we do not compute.
AdapterHubDelta read_adapterhub_folder(const std::filesystem::path& folder);

/// Writes a folder that the adapters library loads. Throws Error(ErrorKind::write).
void write_adapterhub_folder(const std::filesystem::path& folder, const AdapterHubDelta& delta);

}  // namespace normtune
