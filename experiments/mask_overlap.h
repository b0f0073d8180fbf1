#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "experiments/element_mask.h"

namespace normtune {

/// A mask of a comparison.
struct ComparedMask {
  std::string name;  ///< the file's, without folder and extension where that tells it from the others
  std::string file;
  ElementMask mask;
};

/// What masks have in common, as a value.
struct MaskOverlap {
  std::vector<ComparedMask> masks;
  std::vector<MaskPair> pairs;
};

/// Throws Error(model) for a file that is no mask.
MaskOverlap measure_overlap(const std::vector<std::filesystem::path>& files);

/// What a mask holds: `file`, `elements`, `candidates` (null if not known), `method`, `selector`,
/// `base_model_sha256`, and the lists `components`, `component_parts`, `component_layers` and `tensors`,
/// whose `elements` are those chosen.
nlohmann::ordered_json mask_json(const std::string& file, const ElementMask& mask);

/// `masks` (each as above, with `name`) and `pairs` of `a`, `b` (names), `shared`, `jaccard`,
/// `shared_by_chance`, `jaccard_by_chance` (null if not known).
nlohmann::ordered_json to_json(const MaskOverlap& overlap);

/// The masks and their sizes, and the pairs, as tables for people.
std::string mask_sizes_table(const MaskOverlap& overlap);
std::string overlap_table(const MaskOverlap& overlap);

/// Writes overlap.json and overlap.csv. Throws Error(write).
void write_mask_overlap(const MaskOverlap& overlap, const std::filesystem::path& folder);

}  // namespace normtune
