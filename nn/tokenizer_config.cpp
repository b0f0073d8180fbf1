#include "nn/tokenizer_config.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "nn/json_fields.h"
#include "nn/json_file.h"
#include "nn/printable.h"
#include "nn/tokenizer_json.h"

namespace normtune {

using nlohmann::json;

namespace {

/// The classes whose tokenizer is BERT's WordPiece, and the names for "whatever tokenizer.json says".
constexpr std::array known_classes = {
    "BertTokenizer",           "BertTokenizerFast",    "DistilBertTokenizer", "DistilBertTokenizerFast",
    "ElectraTokenizer",        "ElectraTokenizerFast", "MobileBertTokenizer", "MobileBertTokenizerFast",
    "PreTrainedTokenizerFast", "TokenizersBackend"};

void check_tokenizer_class(const JsonFields& fields) {
  if (!fields.has("tokenizer_class")) return;
  const std::string found = fields.text("tokenizer_class");
  if (std::find(known_classes.begin(), known_classes.end(), found) == known_classes.end()) {
    fields.refuse("tokenizer_class", "expected 'BertTokenizer' (a WordPiece tokenizer of BERT), found {}",
                  printable(found));
  }
}

/// A special token is a string, or an object with the string as `content`.
std::string token_content(const json& token, const std::string& where) {
  if (token.is_string()) return token.get<std::string>();
  return JsonFields(token, where, ErrorKind::model).text("content");
}

void read_special_tokens(const JsonFields& fields, const std::string& file, TokenizerConfig& config) {
  for (int i = 0; i < num_special_tokens; ++i) {
    const char* key = special_token_keys[i];
    if (fields.has(key)) config.special_tokens[i] = token_content(fields.value(key), file + ": " + key);
  }
  const char* key = "additional_special_tokens";
  if (!fields.has(key)) return;
  const json& additional = fields.value(key);
  if (!additional.is_array()) fields.refuse(key, "expected a list, found {}", printable(additional.dump()));
  for (const json& token : additional) {
    config.additional_special_tokens.push_back(token_content(token, file + ": " + key));
  }
}

/// Keys are ids: {"0": {"content": "[PAD]", ...}, ...}.
void read_added_tokens_decoder(const JsonFields& fields, const std::string& file, TokenizerConfig& config) {
  const char* key = "added_tokens_decoder";
  if (!fields.has(key)) return;
  const json& decoder = fields.value(key);
  if (!decoder.is_object()) fields.refuse(key, "expected an object, found {}", printable(decoder.dump()));
  for (const auto& [digits, token] : decoder.items()) {
    int32_t id = -1;
    const char* end = digits.data() + digits.size();
    const auto [parsed_end, error] = std::from_chars(digits.data(), end, id);
    if (error != std::errc() || parsed_end != end || id < 0) {
      fields.refuse(key, "expected ids as keys, found {}", printable(digits));
    }
    const JsonFields token_fields(token, file + ": " + key + ": " + digits, ErrorKind::model);
    config.added_tokens.push_back(read_added_token(token_fields, id));
  }
}

}  // namespace

TokenizerConfig read_tokenizer_config(const std::filesystem::path& path) {
  const json document = read_json_file(path, ErrorKind::model);
  const JsonFields fields(document, path.string(), ErrorKind::model);
  check_tokenizer_class(fields);
  const auto find_flag = [&fields](const char* key) {
    return fields.has(key) ? std::optional(fields.flag(key)) : std::nullopt;
  };
  TokenizerConfig config;
  config.do_lower_case = find_flag("do_lower_case");
  config.tokenize_chinese_chars = find_flag("tokenize_chinese_chars");
  if (document.contains("strip_accents")) config.strip_accents = find_flag("strip_accents");
  read_special_tokens(fields, path.string(), config);
  read_added_tokens_decoder(fields, path.string(), config);
  return config;
}

TokenizerConfig read_special_tokens_map(const std::filesystem::path& path) {
  const json document = read_json_file(path, ErrorKind::model);
  TokenizerConfig config;
  read_special_tokens(JsonFields(document, path.string(), ErrorKind::model), path.string(), config);
  return config;
}

}  // namespace normtune
