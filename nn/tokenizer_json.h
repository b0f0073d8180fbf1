#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "nn/added_tokens.h"
#include "nn/json_fields.h"

namespace normtune {

/// A special token as the post-processor names it.
struct NamedId {
  std::string token;
  int64_t id;
};

/// What tokenizer.json says of a BERT tokenizer. Its sections `truncation`, `padding` and `decoder` are not
/// read: they are choices of whoever saved the file.
struct TokenizerJson {
  std::vector<std::string> vocabulary;   // [id]; an empty string is an id that only added_tokens may hold
  std::vector<AddedToken> added_tokens;  // special ones among them
  std::string unk_token;
  NamedId cls;
  NamedId sep;
  int64_t max_input_chars_per_word;
  bool clean_text;
  bool handle_chinese_chars;
  bool lowercase;
  std::optional<bool> strip_accents;  // nullopt: as lowercase
};

/// Reads tokenizer.json. Any other model, normalizer, pre-tokenizer or post-processor than BERT's is an error
/// of kind `model` that names file and key.
TokenizerJson read_tokenizer_json(const std::filesystem::path& path);

/// Reads an added token with that id: an object with `content` and the rules for finding it.
AddedToken read_added_token(const JsonFields& token, int64_t id);

}  // namespace normtune
