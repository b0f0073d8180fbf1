#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "nn/adapterhub_folder.h"
#include "nn/bert.h"
#include "nn/checkpoint.h"
#include "nn/tokenizer.h"

namespace normtune {

struct LoadOptions {
  BertHead head = BertHead::classification;
  DType dtype = DType::float32;
  Device device;
  /// The classes of the task (one for a regression). A classifier of this size in the folder is kept, any
  /// other is replaced by a new one. Empty: the folder decides.
  std::vector<std::string> label_names;
  /// What problem_type becomes where label_names are given.
  bool regression = false;
  bool fresh_pooler = false;  ///< draw a new pooler
  bool random_init = false;   ///< draw every weight; the folder needs no weights
  uint64_t init_seed = 42;    ///< of all that is drawn
};

/// A model as a folder gives it: network, tokenizer, and where everything came from.
struct Model {
  std::filesystem::path folder;  ///< as asked for
  std::filesystem::path
      base_folder;  ///< that holds config.json and the tokenizer; differs for a delta folder
  std::filesystem::path weights_file;  ///< the file read; empty with random_init
  Bert bert;
  Tokenizer tokenizer;
  LoadReport report;
  bool fresh_classifier = false;           ///< the classifier was drawn
  std::optional<AdapterHubDelta> adapter;  ///< settings of the adapters that came with the folder
  std::vector<std::string> warnings;
};

/// Loads a Hugging Face folder; a folder written by finetune with `adapterhub/` inside (its adapters are
/// inserted); or a PEFT or AdapterHub folder, over the base model that it names.
///
/// Every parameter is either in the file or drawn and listed in report.fresh: a classifier that is missing or
/// of another size, a pre-training head of which the file holds nothing, with `fresh_pooler` the pooler, with
/// `random_init` everything. Throws Error(model) naming
/// file and tensor for any other missing tensor, a surplus tensor, a wrong shape, a vocabulary that does not
/// fit the word embeddings.
Model load_model(const std::filesystem::path& folder, const LoadOptions& options);

/// The folder that holds config.json and the tokenizer of the model in `folder`: itself, or the base that a
/// delta in it names. Throws Error(model) if that base is not there.
std::filesystem::path base_model_folder(const std::filesystem::path& folder);

/// Throws Error(model) naming file and tensor if `state` holds a tensor that the model has no place for. The
/// heads of other models (cls.* of pre-training, a classifier, qa_outputs.*) may be there and are left out.
void require_no_surplus(const Bert& model, const StateDict& state);

/// Copies the tensors of `state` into the model's parameters of the same name. A name in `replaced` is not
/// loaded but drawn from `init_seed`, as is one in `optional_names` that the state lacks. Throws Error(model)
/// for any other missing tensor, and for a surplus one.
LoadReport load_parameters(Bert& model, const StateDict& state, const std::vector<std::string>& replaced,
                           const std::vector<std::string>& optional_names, uint64_t init_seed);

/// All tensors under their published names, low-rank updates merged and adapters left out: what
/// model.safetensors holds.
std::vector<NamedTensor> plain_tensors(Bert& model);

/// Writes a folder that transformers loads: config.json, model.safetensors, tokenizer files; adapters, if the
/// model has some, into adapterhub/.
void save_model(Model& model, const std::filesystem::path& folder);

}  // namespace normtune
