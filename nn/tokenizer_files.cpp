#include "nn/tokenizer_files.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "nn/json_fields.h"
#include "nn/json_file.h"
#include "nn/printable.h"
#include "nn/tokenizer_json.h"
#include "nn/vocabulary.h"
#include "tensor/error.h"

namespace normtune {

namespace {

/// Reads the files one after another into one result, complaining where they disagree.
class FolderReader {
 public:
  explicit FolderReader(const std::filesystem::path& folder) : folder_(folder) {
    if (exists("vocab.txt")) vocabulary_ = read_vocabulary(path("vocab.txt"));
    if (exists("tokenizer.json")) json_ = read_tokenizer_json(path("tokenizer.json"));
    if (exists("tokenizer_config.json")) config_ = read_tokenizer_config(path("tokenizer_config.json"));
    if (exists("special_tokens_map.json")) map_ = read_special_tokens_map(path("special_tokens_map.json"));
  }

  TokenizerFiles read() {
    merge_vocabularies();
    merge_added_tokens();
    merge_special_tokens();
    check_ids_are_dense();
    check_added_tokens_file();
    check_post_processor();
    merge_normalizer();
    return std::move(files_);
  }

 private:
  std::filesystem::path path(const char* name) const { return folder_ / name; }
  std::string name(const char* name) const { return path(name).string(); }
  bool exists(const char* name) const {
    std::error_code unreadable;
    return std::filesystem::exists(path(name), unreadable);
  }

  void merge_vocabularies();
  void check_same_vocabulary() const;
  void merge_added_tokens();
  void add_token(const AddedToken& token, const std::string& where);
  void merge_special_tokens();
  std::string special_token(int index) const;
  void add_special_token(const std::string& token, const std::string& key);
  void check_ids_are_dense() const;
  void check_added_tokens_file() const;
  void check_post_processor() const;
  void check_named_id(const char* key, const NamedId& found, SpecialToken token) const;
  void merge_normalizer();
  bool lower_case_without_json();
  template <typename T>
  void check_agreement(const char* config_key, const std::optional<T>& in_config, T in_json) const;

  const char* vocabulary_file() const { return vocabulary_ ? "vocab.txt" : "tokenizer.json"; }

  std::filesystem::path folder_;
  std::optional<std::vector<std::string>> vocabulary_;
  std::optional<TokenizerJson> json_;
  std::optional<TokenizerConfig> config_;
  std::optional<TokenizerConfig> map_;
  std::map<std::string, int32_t, std::less<>> ids_;  // of the vocabulary and the added tokens
  TokenizerFiles files_;
};

void FolderReader::merge_vocabularies() {
  if (!vocabulary_ && !json_) {
    fail(ErrorKind::model,
         "{}: expected vocab.txt or tokenizer.json, found neither; copy them from the model's source",
         folder_.string());
  }
  if (vocabulary_ && json_) check_same_vocabulary();
  files_.vocabulary = vocabulary_ ? *vocabulary_ : json_->vocabulary;
  if (json_) files_.max_input_chars_per_word = json_->max_input_chars_per_word;
  for (const auto& [token, id] : index_tokens(files_.vocabulary)) ids_.emplace(token, id);
}

void FolderReader::check_same_vocabulary() const {
  const auto& lines = *vocabulary_;
  const auto& vocab = json_->vocabulary;
  const auto [line, entry] = std::mismatch(lines.begin(), lines.end(), vocab.begin(), vocab.end());
  if (line == lines.end() && entry == vocab.end()) return;
  const auto show = [](auto place, auto end) { return place == end ? "nothing" : printable(*place); };
  fail(ErrorKind::model,
       "{}, line {}: found {}, but {} has {} as id {}; the two vocabularies must agree, remove one",
       name("vocab.txt"), line - lines.begin() + 1, show(line, lines.end()), name("tokenizer.json"),
       show(entry, vocab.end()), entry - vocab.begin());
}

void FolderReader::merge_added_tokens() {
  if (json_) {
    for (const AddedToken& token : json_->added_tokens)
      add_token(token, name("tokenizer.json") + ": added_tokens");
  }
  if (config_) {
    for (const AddedToken& token : config_->added_tokens) {
      add_token(token, name("tokenizer_config.json") + ": added_tokens_decoder");
    }
  }
}

void FolderReader::add_token(const AddedToken& token, const std::string& where) {
  const auto known = ids_.emplace(token.content, token.id).first;
  if (known->second != token.id) {
    fail(ErrorKind::model, "{}: token {}: expected its id {}, found {}", where, printable(token.content),
         known->second, token.id);
  }
  const auto is_same = [&](const AddedToken& other) { return other.content == token.content; };
  if (std::none_of(files_.added_tokens.begin(), files_.added_tokens.end(), is_same)) {
    files_.added_tokens.push_back(token);
  }
}

void FolderReader::merge_special_tokens() {
  for (int i = 0; i < num_special_tokens; ++i) {
    files_.special_tokens[i] = special_token(i);
    add_special_token(files_.special_tokens[i], special_token_keys[i]);
  }
  for (const auto* source : {&config_, &map_}) {
    if (!*source) continue;
    for (const std::string& token : (*source)->additional_special_tokens) {
      add_special_token(token, "additional_special_tokens");
    }
  }
}

std::string FolderReader::special_token(int index) const {
  const auto in_config = config_ ? config_->special_tokens[index] : std::nullopt;
  const auto in_map = map_ ? map_->special_tokens[index] : std::nullopt;
  if (in_config && in_map && *in_config != *in_map) {
    fail(ErrorKind::model, "{}: {}: found {}, but {} has {}; the two must agree",
         name("special_tokens_map.json"), special_token_keys[index], printable(*in_map),
         name("tokenizer_config.json"), printable(*in_config));
  }
  if (in_config) return *in_config;
  return in_map ? *in_map : special_token_defaults[index];
}

void FolderReader::add_special_token(const std::string& token, const std::string& key) {
  const auto known = ids_.find(token);
  if (known == ids_.end()) {
    fail(ErrorKind::model,
         "{}: expected the token {} ({}), which is not there; add it, or name another in {}",
         name(vocabulary_file()), printable(token), key, name("tokenizer_config.json"));
  }
  add_token({.content = token, .id = known->second}, key);
}

void FolderReader::check_ids_are_dense() const {
  std::map<int32_t, std::string> tokens;
  for (const auto& [token, id] : ids_) {
    const auto [other, is_new] = tokens.emplace(id, token);
    if (!is_new) {
      fail(ErrorKind::model, "{}: added_tokens: {} and {} have the same id {}", folder_.string(),
           printable(other->second), printable(token), id);
    }
  }
  int32_t expected = 0;
  for (const auto& [id, token] : tokens) {
    if (id != expected) {
      fail(ErrorKind::model, "{}: expected ids from 0 without a gap, found {} for token {} and none for {}",
           name(vocabulary_file()), id, printable(token), expected);
    }
    ++expected;
  }
}

/// The slow tokenizers of old versions keep added tokens in a file of their own; newer files repeat them.
void FolderReader::check_added_tokens_file() const {
  if (!exists("added_tokens.json")) return;
  const nlohmann::json document = read_json_file(path("added_tokens.json"), ErrorKind::model);
  const JsonFields fields(document, name("added_tokens.json"), ErrorKind::model);
  for (const auto& [token, value] : document.items()) {
    const int64_t id = fields.integer(token.c_str(), 0, INT32_MAX);
    const auto known = ids_.find(token);
    if (known == ids_.end() || known->second != id) {
      fail(ErrorKind::model,
           "{}: token {} with id {}: expected it in tokenizer.json or tokenizer_config.json too; save the "
           "tokenizer "
           "with a recent version of transformers",
           name("added_tokens.json"), printable(token), id);
    }
  }
}

void FolderReader::check_post_processor() const {
  if (!json_) return;
  const std::string& unk_token = files_.special_tokens[static_cast<int>(SpecialToken::unk)];
  if (json_->unk_token != unk_token) {
    fail(ErrorKind::model, "{}: model: unk_token: expected {}, found {}", name("tokenizer.json"),
         printable(unk_token), printable(json_->unk_token));
  }
  check_named_id("[CLS]", json_->cls, SpecialToken::cls);
  check_named_id("[SEP]", json_->sep, SpecialToken::sep);
}

void FolderReader::check_named_id(const char* role, const NamedId& found, SpecialToken token) const {
  const std::string& expected = files_.special_tokens[static_cast<int>(token)];
  const int32_t expected_id = ids_.find(expected)->second;
  if (found.token != expected || found.id != expected_id) {
    fail(ErrorKind::model, "{}: post_processor: {}: expected {} with id {}, found {} with id {}",
         name("tokenizer.json"), role, printable(expected), expected_id, printable(found.token), found.id);
  }
}

template <typename T>
void FolderReader::check_agreement(const char* config_key, const std::optional<T>& in_config,
                                   T in_json) const {
  if (!in_config || *in_config == in_json) return;
  fail(ErrorKind::model, "{}: {}: found {}, but the normalizer of {} says {}; the two must agree",
       name("tokenizer_config.json"), config_key, *in_config, name("tokenizer.json"), in_json);
}

void FolderReader::merge_normalizer() {
  const TokenizerConfig config = config_.value_or(TokenizerConfig{});
  BertNormalizerOptions& options = files_.normalizer;
  if (json_) {
    options = {.clean_text = json_->clean_text,
               .handle_chinese_chars = json_->handle_chinese_chars,
               .strip_accents = json_->strip_accents.value_or(json_->lowercase),
               .lowercase = json_->lowercase};
    check_agreement("do_lower_case", config.do_lower_case, options.lowercase);
    check_agreement("tokenize_chinese_chars", config.tokenize_chinese_chars, options.handle_chinese_chars);
    if (config.strip_accents) {
      const std::optional<bool> stripped = config.strip_accents->value_or(options.lowercase);
      check_agreement("strip_accents", stripped, options.strip_accents);
    }
    return;
  }
  options.lowercase = config.do_lower_case ? *config.do_lower_case : lower_case_without_json();
  options.handle_chinese_chars = config.tokenize_chinese_chars.value_or(true);
  options.strip_accents = config.strip_accents.value_or(std::nullopt).value_or(options.lowercase);
}

/// No file says it. A configuration that is silent means the default; without one the vocabulary tells.
bool FolderReader::lower_case_without_json() {
  const bool is_cased = has_upper_case(files_.vocabulary);
  if (!config_) {
    files_.warnings.push_back(
        fmt::format("{} is missing; assuming that the model is {}, since its vocabulary holds {} token with "
                    "an upper-case letter",
                    name("tokenizer_config.json"), is_cased ? "cased" : "uncased (text is lower-cased)",
                    is_cased ? "a" : "no"));
    return !is_cased;
  }
  if (is_cased) {
    files_.warnings.push_back(fmt::format(
        "{} has no do_lower_case; lower-casing, which is its default, although the vocabulary has tokens "
        "with upper-case letters",
        name("tokenizer_config.json")));
  }
  return true;
}

}  // namespace

TokenizerFiles read_tokenizer_files(const std::filesystem::path& folder) {
  return FolderReader(folder).read();
}

}  // namespace normtune
