#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "nn/added_tokens.h"
#include "nn/bert_normalizer.h"
#include "nn/tokenizer_config.h"

namespace normtune {

/// All that the tokenizer files of a model folder say together.
struct TokenizerFiles {
  std::vector<std::string>
      vocabulary;  // what WordPiece may produce: [id], empty for ids of added tokens alone
  std::vector<AddedToken>
      added_tokens;  // special tokens among them; they and the vocabulary leave no id unused
  std::array<std::string, num_special_tokens> special_tokens;
  BertNormalizerOptions normalizer;
  int64_t max_input_chars_per_word = 100;
  std::vector<std::string> warnings;
};

/// Reads vocab.txt and/or tokenizer.json, tokenizer_config.json, special_tokens_map.json and
/// added_tokens.json as far as they are in `folder`, and holds them against each other: two files may say the
/// same, or one of them nothing.
TokenizerFiles read_tokenizer_files(const std::filesystem::path& folder);

}  // namespace normtune
