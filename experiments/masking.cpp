#include "experiments/masking.h"

#include <algorithm>
#include <cmath>

#include "nn/wordpiece.h"
#include "tensor/error.h"

namespace normtune {

namespace {

constexpr uint64_t masking_purpose = 0x4D61736B696E6721;  // "Masking!"

/// Pieces that are masked together, [begin, end) in the example.
struct Unit {
  int32_t begin, end;
};

}  // namespace

Masking::Masking(const Tokenizer& tokenizer, MaskingSettings settings)
    : settings_(settings), mask_token_id_(tokenizer.mask_token_id()) {
  const int32_t special[] = {tokenizer.cls_token_id(), tokenizer.sep_token_id(), tokenizer.pad_token_id(),
                             tokenizer.unk_token_id(), tokenizer.mask_token_id()};
  for (int32_t id = 0; id < static_cast<int32_t>(tokenizer.vocab_size()); ++id) {
    const bool is_special = std::find(std::begin(special), std::end(special), id) != std::end(special);
    const bool continues = tokenizer.id_to_token(id).starts_with(WordPiece::continuing_subword_prefix);
    roles_.push_back(is_special ? Role::special : continues ? Role::continuation : Role::word);
    if (!is_special) ordinary_ids_.push_back(id);
  }
  if (ordinary_ids_.empty())
    fail(ErrorKind::model, "vocabulary: expected tokens beside the special ones, found none");
}

std::vector<int32_t> Masking::choose_positions(const PretrainingExample& example,
                                               RandomStream& random) const {
  std::vector<Unit> units;
  int64_t num_tokens = 0;
  for (int32_t i = 0; i < static_cast<int32_t>(example.input_ids.size()); ++i) {
    const int32_t id = example.input_ids[static_cast<size_t>(i)];
    if (is_special(id)) continue;
    ++num_tokens;
    const bool joins =
        settings_.whole_word_mask && continues_word(id) && !units.empty() && units.back().end == i;
    joins ? void(units.back().end = i + 1) : units.push_back({i, i + 1});
  }
  const double share = settings_.mlm_probability * static_cast<double>(num_tokens);
  const auto wanted = static_cast<size_t>(std::max<int64_t>(1, std::llround(share)));
  std::vector<int32_t> positions;
  // Fisher and Yates's shuffle, as far as it is needed.
  for (size_t i = 0; i < units.size() && positions.size() < wanted; ++i) {
    std::swap(units[i], units[i + static_cast<size_t>(random.below(static_cast<int64_t>(units.size() - i)))]);
    const auto size = static_cast<size_t>(units[i].end - units[i].begin);
    if (!positions.empty() && positions.size() + size > wanted) continue;
    for (int32_t position = units[i].begin; position < units[i].end; ++position)
      positions.push_back(position);
  }
  std::sort(positions.begin(), positions.end());
  return positions;
}

MaskedExample Masking::mask(PretrainingExample example, int64_t epoch, int64_t index) const {
  RandomStream random(settings_.seed, masking_purpose, epoch, index);
  MaskedExample masked{.example = std::move(example), .positions = {}, .labels = {}};
  masked.positions = choose_positions(masked.example, random);
  for (const int32_t position : masked.positions) {
    int32_t& id = masked.example.input_ids[static_cast<size_t>(position)];
    masked.labels.push_back(id);
    const double drawn = random.uniform();
    if (drawn < 0.8) {
      id = mask_token_id_;
    } else if (drawn < 0.9) {
      id = ordinary_ids_[static_cast<size_t>(random.below(static_cast<int64_t>(ordinary_ids_.size())))];
    }
  }
  return masked;
}

}  // namespace normtune
