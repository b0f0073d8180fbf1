#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "nn/safetensors.h"

namespace normtune {

/// The tensors of a model folder under the names that transformers gives them today.
struct StateDict {
  std::vector<NamedTensor> tensors;  // sorted by name
  std::filesystem::path source;      // the file read (of a sharded model, its index)
  std::vector<std::string> ignored;  // names as in the file: id buffers, tied copies

  /// The tensor of this name; null if there is none.
  const Tensor* find(std::string_view name) const;
};

/// Reads model.safetensors, else model.safetensors.index.json with its shards, else pytorch_model.bin, else
/// pytorch_model.bin.index.json. Names are mapped: `LayerNorm.gamma` and `.beta` to `.weight` and `.bias`;
/// `module.` in front is stripped; `bert.` is added to a bare encoder; the id buffers are dropped; a
/// `cls.predictions.decoder` equal to the tensor that it is tied to is dropped. Throws
/// Error(ErrorKind::model) if no such file is there, one is malformed, two tensors get one name, or a tied
/// copy differs.
StateDict read_state_dict(const std::filesystem::path& folder);

/// What became of the tensors of a file and of the parameters of a model, for people to read.
struct LoadReport {
  std::vector<std::string> loaded;
  std::vector<std::string> missing;  // parameters that the file lacks and nobody initialised: an error
  std::vector<std::string> surplus;  // tensors of the file that the model has no place for
  std::vector<std::string> fresh;    // parameters drawn at random
};

/// A few lines: counts, and the names behind them, those of many layers drawn together
/// ("bert.encoder.layer.{0-11}.output.dense.weight").
std::string to_text(const LoadReport& report);

/// Writes config.json and model.safetensors (names sorted, float64 converted to float32) into `folder`, which
/// is made if need be. Throws Error(ErrorKind::write).
void write_model_folder(const std::filesystem::path& folder, std::string_view config_json,
                        std::vector<NamedTensor> tensors);

/// Copies those of vocab.txt, tokenizer.json, tokenizer_config.json and special_tokens_map.json that `from`
/// has. Throws Error(ErrorKind::model) if there is neither vocab.txt nor tokenizer.json, Error(write).
void copy_tokenizer_files(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace normtune
