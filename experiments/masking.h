#pragma once

#include <cstdint>
#include <vector>

#include "experiments/pretraining_data.h"
#include "nn/tokenizer.h"

namespace normtune {

struct MaskingSettings {
  double mlm_probability = 0.15;  ///< share of tokens to predict
  bool whole_word_mask = false;   ///< all pieces of a word or none
  uint64_t seed = 42;
};

/// An example with some tokens hidden, and what they were.
struct MaskedExample {
  PretrainingExample example;
  std::vector<int32_t> positions;  ///< of the tokens to predict, ascending
  std::vector<int32_t> labels;     ///< [positions], what stood there
};

/// The masking of BERT's pre-training (Devlin et al. 2018, arXiv:1810.04805, appendix A.1).
///
/// Of an example with n tokens (special ones are never chosen), max(1, round(mlm_probability * n)) are to be
/// predicted; each is replaced by [MASK] in 80 % of cases, by a random token in 10 %, and stays in 10 %. With
/// whole words, words are drawn until the next would exceed that number. A pure function of (seed, epoch,
/// index): each epoch hides other tokens.
class Masking {
 public:
  Masking(const Tokenizer& tokenizer, MaskingSettings settings);

  MaskedExample mask(PretrainingExample example, int64_t epoch, int64_t index) const;

 private:
  bool is_special(int32_t id) const { return roles_[static_cast<size_t>(id)] == Role::special; }
  bool continues_word(int32_t id) const { return roles_[static_cast<size_t>(id)] == Role::continuation; }
  std::vector<int32_t> choose_positions(const PretrainingExample& example, RandomStream& random) const;

  enum class Role : char { special, word, continuation };
  MaskingSettings settings_;
  std::vector<Role> roles_;            // [vocab_size]
  std::vector<int32_t> ordinary_ids_;  // what a random token is drawn from
  int32_t mask_token_id_;
};

}  // namespace normtune
