#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "nn/added_tokens.h"

namespace normtune {

/// The special tokens of BERT, in the order of `special_token_keys`.
enum class SpecialToken { unk, sep, pad, cls, mask };
inline constexpr int num_special_tokens = 5;
inline constexpr std::array<const char*, num_special_tokens> special_token_keys = {
    "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
inline constexpr std::array<const char*, num_special_tokens> special_token_defaults = {
    "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"};

/// What tokenizer_config.json or special_tokens_map.json says; nullopt where it says nothing.
struct TokenizerConfig {
  std::optional<bool> do_lower_case;
  std::optional<bool> tokenize_chinese_chars;
  std::optional<std::optional<bool>> strip_accents;  // an inner nullopt (null in the file): as do_lower_case
  std::array<std::optional<std::string>, num_special_tokens> special_tokens;
  std::vector<std::string> additional_special_tokens;
  std::vector<AddedToken> added_tokens;  // of added_tokens_decoder
};

/// Reads tokenizer_config.json. A `tokenizer_class` that is not a BERT tokenizer is an error of kind `model`;
/// keys that do not bear on the ids are skipped.
TokenizerConfig read_tokenizer_config(const std::filesystem::path& path);

/// Reads special_tokens_map.json, which has the special tokens alone.
TokenizerConfig read_special_tokens_map(const std::filesystem::path& path);

}  // namespace normtune
