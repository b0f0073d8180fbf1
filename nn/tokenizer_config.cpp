#include "nn/tokenizer_config.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "nn/json_file.h"
#include "nn/json_object.h"
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

void check_tokenizer_class(const JsonObject& root) {
  const auto found = root.find_string("tokenizer_class");
  if (found && std::find(known_classes.begin(), known_classes.end(), *found) == known_classes.end()) {
    root.fail_at("tokenizer_class", "'BertTokenizer' (a WordPiece tokenizer of BERT)");
  }
}

/// A special token is a string, or an object with the string as `content`.
std::string token_content(const json& token, const std::string& where) {
  if (token.is_string()) return token.get<std::string>();
  return JsonObject(token, where, ErrorKind::model).string_at("content");
}

void read_special_tokens(const JsonObject& root, TokenizerConfig& config) {
  for (int i = 0; i < num_special_tokens; ++i) {
    const json* found = root.find(special_token_keys[i]);
    if (found != nullptr)
      config.special_tokens[i] = token_content(*found, root.where() + ": " + special_token_keys[i]);
  }
  const json* additional = root.find("additional_special_tokens");
  if (additional == nullptr) return;
  if (!additional->is_array()) root.fail_at("additional_special_tokens", "a list");
  for (const json& token : *additional) {
    config.additional_special_tokens.push_back(
        token_content(token, root.where() + ": additional_special_tokens"));
  }
}

/// Keys are ids: {"0": {"content": "[PAD]", ...}, ...}.
void read_added_tokens_decoder(const JsonObject& root, TokenizerConfig& config) {
  const auto decoder = root.find_object("added_tokens_decoder");
  if (!decoder) return;
  for (const auto& [key, value] : decoder->value().items()) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size()) {
      fail(ErrorKind::model, "{}: expected ids as keys, found {}", decoder->where(), printable(key));
    }
    config.added_tokens.push_back(read_added_token(decoder->object_at(key), id));
  }
}

}  // namespace

TokenizerConfig read_tokenizer_config(const std::filesystem::path& path) {
  const json document = read_json_file(path, ErrorKind::model);
  const JsonObject root(document, path.string(), ErrorKind::model);
  check_tokenizer_class(root);
  TokenizerConfig config;
  config.do_lower_case = root.find_bool("do_lower_case");
  config.tokenize_chinese_chars = root.find_bool("tokenize_chinese_chars");
  if (document.contains("strip_accents")) config.strip_accents = root.find_bool("strip_accents");
  read_special_tokens(root, config);
  read_added_tokens_decoder(root, config);
  return config;
}

TokenizerConfig read_special_tokens_map(const std::filesystem::path& path) {
  const json document = read_json_file(path, ErrorKind::model);
  TokenizerConfig config;
  read_special_tokens(JsonObject(document, path.string(), ErrorKind::model), config);
  return config;
}

}  // namespace normtune
