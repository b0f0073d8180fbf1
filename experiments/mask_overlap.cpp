#include "experiments/mask_overlap.h"

#include <fmt/format.h>

#include <algorithm>

#include "experiments/json_values.h"
#include "experiments/text_table.h"
#include "nn/atomic_file.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace {

/// The stem where no other file has it, else the path.
std::string name_of(const fs::path& file, const std::vector<fs::path>& files) {
  const auto same_stem = std::count_if(files.begin(), files.end(),
                                       [&](const fs::path& other) { return other.stem() == file.stem(); });
  return same_stem > 1 ? file.string() : file.stem().string();
}

ordered_json groups_json(const std::vector<ComponentGroup>& groups) {
  ordered_json list = ordered_json::array();
  for (const ComponentGroup& group : groups) list.push_back(group_json(group));
  return list;
}

std::string or_blank(const std::optional<double>& value, int digits) {
  return value ? fmt::format("{:.{}f}", *value, digits) : "";
}

}  // namespace

MaskOverlap measure_overlap(const std::vector<fs::path>& files) {
  MaskOverlap overlap;
  std::vector<ElementMask> masks;
  for (const fs::path& file : files) {
    masks.push_back(read_mask(file));
    overlap.masks.push_back({.name = name_of(file, files), .file = file.string(), .mask = masks.back()});
  }
  overlap.pairs = compare_masks(masks);
  return overlap;
}

ordered_json mask_json(const std::string& file, const ElementMask& mask) {
  const ComponentLists lists = count_mask(mask);
  const int64_t candidates = mask.origin.candidates;
  return {{"file", file},
          {"elements", mask.count()},
          {"candidates", candidates > 0 ? ordered_json(candidates) : ordered_json()},
          {"method", mask.origin.method},
          {"selector", mask.origin.selector},
          {"base_model_sha256", mask.origin.base_model_sha256},
          {"components", groups_json(lists.components)},
          {"component_parts", groups_json(lists.component_parts)},
          {"component_layers", groups_json(lists.component_layers)},
          {"tensors", groups_json(lists.tensors)}};
}

ordered_json to_json(const MaskOverlap& overlap) {
  ordered_json masks = ordered_json::array(), pairs = ordered_json::array();
  for (const ComparedMask& compared : overlap.masks) {
    ordered_json entry = {{"name", compared.name}};
    entry.update(mask_json(compared.file, compared.mask));
    masks.push_back(std::move(entry));
  }
  for (const MaskPair& pair : overlap.pairs) {
    pairs.push_back({{"a", overlap.masks[pair.a].name},
                     {"b", overlap.masks[pair.b].name},
                     {"shared", pair.shared},
                     {"jaccard", pair.jaccard},
                     {"shared_by_chance", or_null<ordered_json>(pair.shared_by_chance)},
                     {"jaccard_by_chance", or_null<ordered_json>(pair.jaccard_by_chance)}});
  }
  return {{"masks", masks}, {"pairs", pairs}};
}

std::string mask_sizes_table(const MaskOverlap& overlap) {
  TableRows table = {{"mask", "elements", "of", "chosen as"}};
  for (const ComparedMask& compared : overlap.masks) {
    const SubsetOrigin& origin = compared.mask.origin;
    table.push_back({compared.name, with_thousands(compared.mask.count()),
                     origin.candidates > 0 ? with_thousands(origin.candidates) : "", origin.selector});
  }
  return format_table(table);
}

std::string overlap_table(const MaskOverlap& overlap) {
  TableRows table = {{"pair", "shared", "by chance", "Jaccard", "by chance"}};
  for (const MaskPair& pair : overlap.pairs) {
    table.push_back({overlap.masks[pair.a].name + " and " + overlap.masks[pair.b].name,
                     with_thousands(pair.shared), or_blank(pair.shared_by_chance, 1),
                     fmt::format("{:.4f}", pair.jaccard), or_blank(pair.jaccard_by_chance, 4)});
  }
  return format_table(table);
}

void write_mask_overlap(const MaskOverlap& overlap, const fs::path& folder) {
  const auto number = [](const std::optional<double>& value) {
    return value ? fmt::format("{}", *value) : "";
  };
  std::string csv = "a,b,elements_a,elements_b,shared,jaccard,shared_by_chance,jaccard_by_chance\n";
  for (const MaskPair& pair : overlap.pairs) {
    const ComparedMask &a = overlap.masks[pair.a], &b = overlap.masks[pair.b];
    csv +=
        fmt::format("{},{},{},{},{},{},{},{}\n", a.name, b.name, a.mask.count(), b.mask.count(), pair.shared,
                    pair.jaccard, number(pair.shared_by_chance), number(pair.jaccard_by_chance));
  }
  fs::create_directories(folder);
  write_file_atomically(folder / "overlap.csv", csv);
  write_file_atomically(folder / "overlap.json", to_json(overlap).dump(2) + "\n");
}

}  // namespace normtune
