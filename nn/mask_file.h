#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "nn/safetensors.h"

namespace normtune {

/// Where a mask or a subset delta comes from; kept in the file's metadata.
struct SubsetOrigin {
  std::string method;             // "random", "from-fisher", "bitfit"; may be empty
  std::string base_model_sha256;  // of the model file that it belongs to; may be empty
  std::string selector;           // in words or as a pattern; may be empty
  int64_t candidates = 0;         // number of elements that were chosen from; 0 if not known
};

/// Selected elements of one tensor, by flat (row-major) index, ascending.
struct MaskedTensor {
  std::string name;  // of the tensor in the model
  std::vector<int64_t> indices;
};

/// A choice of elements over a whole model.
struct ElementMask {
  SubsetOrigin origin;
  std::vector<MaskedTensor> tensors;  // sorted by name when read

  int64_t count() const;  ///< of selected elements
};

/// New values of some elements of one tensor.
struct SparseValues {
  std::string name;
  std::vector<int64_t> indices;  // flat, ascending
  Tensor values;                 // [indices.size()] float32 or float64
};

/// New values (not differences) of part of a model: whole tensors, and single elements of others.
struct SubsetDelta {
  SubsetOrigin origin;
  std::vector<NamedTensor> tensors;  // sorted by name when read, as are the elements
  std::vector<SparseValues> elements;
  std::vector<std::string> removed;  // tensors of the base that the changed model lacks
  std::string config_json;           // the changed model's config.json; empty: that of the base

  int64_t count() const;  ///< of new values
};

/// Reads `NAME.indices` entries. Throws Error(ErrorKind::model) naming file and tensor if indices are not
/// ascending or negative, the count in the metadata differs, or the file holds values (a delta).
ElementMask read_mask(const std::filesystem::path& path);
void write_mask(const std::filesystem::path& path, const ElementMask& mask);

/// Reads plain tensors and pairs of `NAME.indices` and `NAME.values`, under the same rules.
SubsetDelta read_subset_delta(const std::filesystem::path& path);
void write_subset_delta(const std::filesystem::path& path, const SubsetDelta& delta);

}  // namespace normtune
