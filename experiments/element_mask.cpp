#include "experiments/element_mask.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <map>
#include <unordered_set>

#include "experiments/method.h"
#include "tensor/philox.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

// ---- Scores

void check_scores(const NamedTensor& named, const fs::path& file) {
  const double* values = named.tensor.data<double>();
  for (int64_t i = 0; i < named.tensor.numel(); ++i) {
    if (values[i] >= 0 && std::isfinite(values[i])) continue;
    fail(ErrorKind::model, "{}: tensor '{}': expected scores of at least 0, found {} at place {}",
         file.string(), named.name, values[i], i);
  }
}

/// The classifier of another task may have another size, and is in no mask.
std::vector<NamedTensor> read_scores(const SafetensorsFile& file, const std::string& scope) {
  std::vector<NamedTensor> tensors;
  for (const std::string& name : file.names()) {
    if (name.starts_with("classifier.") || !matches_pattern(name, scope)) continue;
    Tensor tensor = file.read(name);
    if (!is_floating(tensor.dtype())) {
      fail(ErrorKind::model, "{}: tensor '{}': expected floating-point scores, found {} (a mask?)",
           file.path().string(), name, to_string(tensor.dtype()));
    }
    tensors.push_back({name, tensor.to(DType::float64)});
    check_scores(tensors.back(), file.path());
  }
  return tensors;
}

void require_same_tensors(const std::vector<NamedTensor>& first, const std::vector<NamedTensor>& other,
                          const fs::path& file) {
  for (size_t i = 0; i < std::max(first.size(), other.size()); ++i) {
    const bool same = i < first.size() && i < other.size() && first[i].name == other[i].name;
    if (!same) {
      const std::string& name = i < first.size() ? first[i].name : other[i].name;
      fail(ErrorKind::model, "{}: expected the tensors of the first file, found a difference at '{}'",
           file.string(), name);
    }
    if (first[i].tensor.shape() != other[i].tensor.shape()) {
      fail(ErrorKind::model, "{}: tensor '{}': expected shape {} as in the first file, found {}",
           file.string(), first[i].name, first[i].tensor.shape(), other[i].tensor.shape());
    }
  }
}

std::string base_hash(const SafetensorsFile& file) {
  const auto found = file.metadata().find("base_model_sha256");
  return found == file.metadata().end() ? "" : found->second;
}

// ---- Scope

/// The tensors that the scope names, in the order of a model. Throws Error(usage) if there are none.
std::vector<TensorSize> tensors_in_scope(const std::vector<TensorSize>& tensors, const std::string& scope) {
  std::vector<TensorSize> chosen;
  for (const ComponentGroup& group : group_by_component(tensors).tensors) {
    const bool is_head = group.component == "classifier";
    if (!is_head && matches_pattern(group.tensor, scope)) chosen.push_back({group.tensor, group.elements});
  }
  if (chosen.empty()) {
    fail(ErrorKind::usage,
         "--scope: expected a pattern that names tensors (the classifier is always trained), found none for "
         "'{}'",
         scope);
  }
  return chosen;
}

int64_t total_elements(const std::vector<TensorSize>& tensors) {
  int64_t total = 0;
  for (const TensorSize& tensor : tensors) total += tensor.elements;
  return total;
}

/// The number of elements to choose out of `candidates`.
int64_t number_to_choose(const MaskSize& size, int64_t candidates) {
  if (size.top_k.has_value() == size.top_share.has_value()) {
    fail(ErrorKind::usage, "expected either --top_k or --top_share");
  }
  if (size.top_share) return std::llround(*size.top_share * static_cast<double>(candidates));
  if (*size.top_k > candidates) {
    fail(ErrorKind::usage, "--top_k: expected at most the {} elements of '{}', found {}", candidates,
         size.scope, *size.top_k);
  }
  return *size.top_k;
}

std::string selector_text(const MaskSize& size, int64_t k, int64_t candidates, std::string_view which) {
  return fmt::format("{} {} of {} elements of {}", which, k, candidates, size.scope);
}

// ---- Ranking

/// A number for each element of the tensors laid end to end: the smaller, the sooner it is chosen.
std::vector<double> rank_elements(const ElementScores& scores, const std::vector<TensorSize>& tensors,
                                  bool lowest) {
  std::map<std::string_view, const Tensor*> by_name;
  for (const NamedTensor& named : scores.tensors) by_name[named.name] = &named.tensor;
  std::vector<double> ranks;
  ranks.reserve(static_cast<size_t>(total_elements(tensors)));
  for (const TensorSize& tensor : tensors) {
    const bool noise = group_by_component({tensor}).tensors.front().rounding_noise;
    const double* values = by_name.at(tensor.name)->data<double>();
    for (int64_t i = 0; i < tensor.elements; ++i) {
      ranks.push_back(noise ? INFINITY : lowest ? values[i] : -values[i]);
    }
  }
  return ranks;
}

/// The positions of the k smallest ranks, ascending; of equal ranks the first ones.
std::vector<int64_t> smallest_positions(const std::vector<double>& ranks, int64_t k) {
  std::vector<int64_t> positions;
  if (k == 0) return positions;
  std::vector<double> partly_sorted = ranks;
  const auto last = partly_sorted.begin() + (k - 1);
  std::nth_element(partly_sorted.begin(), last, partly_sorted.end());
  const double threshold = *last;
  int64_t equal =
      k - std::count_if(ranks.begin(), ranks.end(), [&](double rank) { return rank < threshold; });
  for (size_t i = 0; i < ranks.size(); ++i) {
    const bool chosen = ranks[i] < threshold || (ranks[i] == threshold && equal-- > 0);
    if (chosen) positions.push_back(static_cast<int64_t>(i));
  }
  return positions;
}

}  // namespace

ElementScores read_element_scores(const std::vector<fs::path>& files, const std::string& method,
                                  const std::string& scope) {
  ElementScores scores{.method = method, .base_model_sha256 = "", .tensors = {}};
  for (size_t i = 0; i < files.size(); ++i) {
    const SafetensorsFile file(files[i]);
    std::vector<NamedTensor> tensors = read_scores(file, scope);
    if (i == 0) {
      scores.tensors = std::move(tensors);
      scores.base_model_sha256 = base_hash(file);
      continue;
    }
    require_same_tensors(scores.tensors, tensors, files[i]);
    if (base_hash(file) != scores.base_model_sha256) scores.base_model_sha256.clear();
    for (size_t j = 0; j < tensors.size(); ++j) {
      Tensor& sum = scores.tensors[j].tensor;
      sum.backend().add(sum, tensors[j].tensor, sum);
    }
  }
  for (NamedTensor& named : scores.tensors) {
    named.tensor.backend().scale(named.tensor, 1.0 / static_cast<double>(files.size()), named.tensor);
  }
  return scores;
}

ChosenElements choose_by_score(const ElementScores& scores, const MaskSize& size) {
  std::vector<TensorSize> all;
  for (const NamedTensor& named : scores.tensors) all.push_back({named.name, named.tensor.numel()});
  const std::vector<TensorSize> tensors = tensors_in_scope(all, size.scope);
  const std::vector<double> ranks = rank_elements(scores, tensors, size.lowest);
  const auto num_candidates = static_cast<int64_t>(ranks.size());
  const int64_t k = number_to_choose(size, num_candidates);
  const std::vector<int64_t> positions = smallest_positions(ranks, k);

  ChosenElements chosen;
  const auto zeros = std::count_if(positions.begin(), positions.end(), [&](int64_t position) {
    return ranks[static_cast<size_t>(position)] == 0;
  });
  if (zeros > 0 && !size.lowest) {
    chosen.notes.push_back(fmt::format(
        "{} of the {} elements have the score 0: they were taken in the order of the model's tensors", zeros,
        k));
  }
  chosen.mask.origin = {.method = scores.method,
                        .base_model_sha256 = scores.base_model_sha256,
                        .selector = selector_text(size, k, num_candidates, size.lowest ? "lowest" : "top"),
                        .candidates = num_candidates};
  chosen.mask.tensors = split_positions(positions, tensors);
  return chosen;
}

ElementMask choose_at_random(const std::vector<TensorSize>& all, const MaskSize& size, uint64_t seed,
                             const std::string& base_model_sha256) {
  const std::vector<TensorSize> tensors = tensors_in_scope(all, size.scope);
  const int64_t num_candidates = total_elements(tensors);
  const int64_t k = number_to_choose(size, num_candidates);
  return {.origin = {.method = "random",
                     .base_model_sha256 = base_model_sha256,
                     .selector =
                         selector_text(size, k, num_candidates, "random") + fmt::format(", seed {}", seed),
                     .candidates = num_candidates},
          .tensors = split_positions(sample_without_replacement(k, num_candidates, seed), tensors)};
}

std::vector<int64_t> sample_without_replacement(int64_t k, int64_t n, uint64_t seed) {
  // Floyd's algorithm (Bentley and Floyd 1987) with Philox numbers.
  const uint64_t mixed = mix64(seed);
  const PhiloxKey key{static_cast<uint32_t>(mixed), static_cast<uint32_t>(mixed >> 32)};
  std::unordered_set<int64_t> chosen;
  chosen.reserve(static_cast<size_t>(k));
  for (int64_t j = n - k; j < n; ++j) {
    const auto counter = static_cast<uint64_t>(j);
    const auto words =
        philox4x32({static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0}, key);
    // A 64-bit word modulo a size below 2^40: the bias is below 2^-24 of the probability.
    const uint64_t word = (static_cast<uint64_t>(words[0]) << 32) | words[1];
    const auto candidate = static_cast<int64_t>(word % static_cast<uint64_t>(j + 1));
    chosen.insert(chosen.contains(candidate) ? j : candidate);
  }
  std::vector<int64_t> sorted(chosen.begin(), chosen.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

std::vector<MaskedTensor> split_positions(const std::vector<int64_t>& positions,
                                          const std::vector<TensorSize>& tensors) {
  std::vector<MaskedTensor> masked;
  auto next = positions.begin();
  int64_t begin = 0;
  for (const TensorSize& tensor : tensors) {
    const int64_t end = begin + tensor.elements;
    MaskedTensor part{.name = tensor.name, .indices = {}};
    for (; next != positions.end() && *next < end; ++next) part.indices.push_back(*next - begin);
    if (!part.indices.empty()) masked.push_back(std::move(part));
    begin = end;
  }
  return masked;
}

// ---- Sets

namespace {

using Indices = std::vector<int64_t>;

std::map<std::string, Indices> by_name(const ElementMask& mask) {
  std::map<std::string, Indices> tensors;
  for (const MaskedTensor& masked : mask.tensors) tensors[masked.name] = masked.indices;
  return tensors;
}

Indices intersection_of(const Indices& a, const Indices& b) {
  Indices both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

Indices union_of(const Indices& a, const Indices& b) {
  Indices either;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(either));
  return either;
}

/// Combines masks tensor by tensor, from left to right; a tensor that a mask lacks has no elements in it.
ElementMask combine(const std::vector<ElementMask>& masks, const std::string& method,
                    const std::function<Indices(const Indices&, const Indices&)>& operation) {
  check(!masks.empty(), "{} of masks: expected at least one", method);
  std::map<std::string, Indices> result = by_name(masks.front());
  SubsetOrigin origin = masks.front().origin;
  for (size_t i = 1; i < masks.size(); ++i) {
    const std::map<std::string, Indices> other = by_name(masks[i]);
    for (const auto& [name, indices] : other) result.try_emplace(name);
    for (auto& [name, indices] : result) {
      const auto found = other.find(name);
      indices = operation(indices, found == other.end() ? Indices() : found->second);
    }
    if (masks[i].origin.base_model_sha256 != origin.base_model_sha256) origin.base_model_sha256.clear();
    if (masks[i].origin.candidates != origin.candidates) origin.candidates = 0;
  }
  origin.method = method;
  origin.selector = fmt::format("{} of {} masks", method, masks.size());
  ElementMask mask{.origin = std::move(origin), .tensors = {}};
  for (auto& [name, indices] : result) {
    if (!indices.empty()) mask.tensors.push_back({name, std::move(indices)});
  }
  return mask;
}

MaskPair compare(const std::vector<ElementMask>& masks, size_t a, size_t b) {
  const ElementMask &first = masks[a], &second = masks[b];
  const auto size_a = static_cast<double>(first.count()), size_b = static_cast<double>(second.count());
  const auto jaccard = [&](double shared) {
    const double either = size_a + size_b - shared;
    return either == 0 ? 1 : shared / either;
  };
  MaskPair pair{.a = a, .b = b, .shared = intersect({first, second}).count()};
  pair.jaccard = jaccard(static_cast<double>(pair.shared));
  const int64_t candidates = first.origin.candidates;
  if (candidates > 0 && candidates == second.origin.candidates) {
    pair.shared_by_chance = size_a * size_b / static_cast<double>(candidates);
    pair.jaccard_by_chance = jaccard(*pair.shared_by_chance);
  }
  return pair;
}

}  // namespace

void require_one_base(const std::vector<ElementMask>& masks, const std::vector<fs::path>& files) {
  const auto known = [](const ElementMask& mask) { return !mask.origin.base_model_sha256.empty(); };
  const auto first = std::find_if(masks.begin(), masks.end(), known);
  for (auto mask = first; mask != masks.end(); ++mask) {
    const std::string &expected = first->origin.base_model_sha256, &found = mask->origin.base_model_sha256;
    if (!known(*mask) || found == expected) continue;
    fail(ErrorKind::model,
         "{}: was made for weights with SHA-256 {}..., {} for {}...; expected masks of one model",
         files[static_cast<size_t>(mask - masks.begin())].string(), found.substr(0, 12),
         files[static_cast<size_t>(first - masks.begin())].string(), expected.substr(0, 12));
  }
}

ElementMask unite(const std::vector<ElementMask>& masks) {
  return combine(masks, "union", union_of);
}

ElementMask intersect(const std::vector<ElementMask>& masks) {
  return combine(masks, "intersection", intersection_of);
}

std::vector<MaskPair> compare_masks(const std::vector<ElementMask>& masks) {
  std::vector<MaskPair> pairs;
  for (size_t a = 0; a < masks.size(); ++a) {
    for (size_t b = a + 1; b < masks.size(); ++b) pairs.push_back(compare(masks, a, b));
  }
  return pairs;
}

ComponentLists count_mask(const ElementMask& mask) {
  std::vector<TensorSize> sizes;
  for (const MaskedTensor& masked : mask.tensors) {
    sizes.push_back({masked.name, static_cast<int64_t>(masked.indices.size())});
  }
  return group_by_component(sizes);
}

}  // namespace normtune
