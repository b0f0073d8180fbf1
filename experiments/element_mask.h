#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "experiments/component_groups.h"
#include "nn/mask_file.h"
#include "nn/safetensors.h"

namespace normtune {

/// A score for every element of a model: Fisher information, or absolute change.
struct ElementScores {
  std::string method;             ///< "from-fisher" or "from-drift"
  std::string base_model_sha256;  ///< of the model that all files are about; empty if they differ
  std::vector<NamedTensor> tensors;
};

/// Reads files of scores with the same tensors (fisher.safetensors, drift.safetensors of several tasks or
/// seeds) and takes the mean of each element over them, so that every file counts the same. Tensors outside
/// the scope, and the classifier, are left out. Throws Error(model) for a file whose tensors are others, or
/// hold negative or not finite values.
ElementScores read_element_scores(const std::vector<std::filesystem::path>& files, const std::string& method,
                                  const std::string& scope = "*");

/// How many elements of which tensors.
struct MaskSize {
  std::optional<int64_t> top_k;
  std::optional<double> top_share;       ///< of the elements in the scope, rounded; one of the two is given
  std::string scope = "bert.encoder.*";  ///< comma-separated globs over tensor names
  bool lowest = false;                   ///< the smallest scores instead of the largest
};

/// A mask, and what people should know about it.
struct ChosenElements {
  ElementMask mask;
  std::vector<std::string> notes;
};

/// The elements with the largest scores in the scope. Equal scores are taken in the order of the model's
/// tensors, then by flat index. A tensor whose gradient is rounding noise (attention.self.key.bias) ranks
/// behind everything else. The classifier is in no mask. Throws Error(usage) for a scope without tensors or
/// that is smaller than top_k.
ChosenElements choose_by_score(const ElementScores& scores, const MaskSize& size);

/// As many elements drawn without replacement from the scope. With the default scope these are the elements
/// of
/// `--method random` with the same number and seed.
ElementMask choose_at_random(const std::vector<TensorSize>& tensors, const MaskSize& size, uint64_t seed,
                             const std::string& base_model_sha256);

/// Throws Error(model), naming two files, if masks were made for different models (base_model_sha256): an
/// index means another element there. Masks that do not say theirs pass.
void require_one_base(const std::vector<ElementMask>& masks, const std::vector<std::filesystem::path>& files);

/// Elements that are in some mask; in all masks.
ElementMask unite(const std::vector<ElementMask>& masks);
ElementMask intersect(const std::vector<ElementMask>& masks);

/// How much two masks have in common.
struct MaskPair {
  size_t a = 0, b = 0;
  int64_t shared = 0;
  double jaccard = 0;  ///< shared / (elements in either); 1 for two empty masks
  /// What two masks of these sizes share on average if they are drawn at random from the same candidates;
  /// none where the masks do not say how many these were, or differ in it.
  std::optional<double> shared_by_chance, jaccard_by_chance;
};
/// All pairs, the first mask with each later one, and so on.
std::vector<MaskPair> compare_masks(const std::vector<ElementMask>& masks);

/// Where the elements of a mask lie: groups in the order of a report, in which `elements` counts those
/// chosen.
ComponentLists count_mask(const ElementMask& mask);

/// k different numbers in [0, n), ascending, a function of the seed.
std::vector<int64_t> sample_without_replacement(int64_t k, int64_t n, uint64_t seed);

/// Lays tensors end to end and gives each those of the ascending positions that fall into it.
std::vector<MaskedTensor> split_positions(const std::vector<int64_t>& positions,
                                          const std::vector<TensorSize>& tensors);

}  // namespace normtune
