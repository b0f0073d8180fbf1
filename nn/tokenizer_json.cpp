#include "nn/tokenizer_json.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "nn/json_file.h"
#include "nn/printable.h"
#include "nn/wordpiece.h"

namespace normtune {

using nlohmann::json;

namespace {

constexpr int64_t max_num_ids = INT32_MAX;

void expect_string(const JsonObject& object, const std::string& key, std::string_view expected) {
  if (object.string_at(key) != expected) object.fail_at(key, printable(expected));
}

/// Ids are a permutation of 0..n-1, but for gaps that added tokens fill; so none reaches the number of both.
std::vector<std::string> read_model_vocabulary(const JsonObject& model, size_t num_added_tokens) {
  const JsonObject vocab = model.object_at("vocab");
  const size_t limit = vocab.value().size() + num_added_tokens;
  std::vector<std::string> vocabulary;
  for (const auto& [token, value] : vocab.value().items()) {
    if (token.empty()) fail(ErrorKind::model, "{}: expected tokens, found an empty one", vocab.where());
    const int64_t id = vocab.integer_at(token);
    if (id < 0 || id >= static_cast<int64_t>(limit) || id >= max_num_ids) {
      fail(ErrorKind::model, "{}: token {}: expected an id in 0..{}, found {}", vocab.where(),
           printable(token), limit - 1, id);
    }
    if (id >= static_cast<int64_t>(vocabulary.size())) vocabulary.resize(id + 1);
    std::string& place = vocabulary[id];
    if (!place.empty()) {
      fail(ErrorKind::model, "{}: tokens {} and {} have the same id {}; each id may occur once",
           vocab.where(), printable(place), printable(token), id);
    }
    place = token;
  }
  return vocabulary;
}

void read_model(const JsonObject& root, TokenizerJson& tokenizer) {
  const JsonObject model = root.object_at("model");
  // Files of early versions of the library have no type.
  if (model.find("type") != nullptr) expect_string(model, "type", "WordPiece");
  expect_string(model, "continuing_subword_prefix", WordPiece::continuing_subword_prefix);
  tokenizer.unk_token = model.string_at("unk_token");
  tokenizer.max_input_chars_per_word = model.integer_at("max_input_chars_per_word");
  if (tokenizer.max_input_chars_per_word < 1) model.fail_at("max_input_chars_per_word", "a positive integer");
  tokenizer.vocabulary = read_model_vocabulary(model, tokenizer.added_tokens.size());
}

void read_normalizer(const JsonObject& root, TokenizerJson& tokenizer) {
  const JsonObject normalizer = root.object_at("normalizer");
  expect_string(normalizer, "type", "BertNormalizer");
  tokenizer.clean_text = normalizer.bool_at("clean_text");
  tokenizer.handle_chinese_chars = normalizer.bool_at("handle_chinese_chars");
  tokenizer.lowercase = normalizer.bool_at("lowercase");
  tokenizer.strip_accents = normalizer.find_bool("strip_accents");
}

/// The template of BERT as the library writes it, for the given [CLS] and [SEP].
json bert_template(bool is_pair, const std::string& cls_token, const std::string& sep_token) {
  const auto special = [](const std::string& id, int type_id) {
    return json{{"SpecialToken", {{"id", id}, {"type_id", type_id}}}};
  };
  const auto sequence = [](const char* id, int type_id) {
    return json{{"Sequence", {{"id", id}, {"type_id", type_id}}}};
  };
  json pieces = {special(cls_token, 0), sequence("A", 0), special(sep_token, 0)};
  if (is_pair) {
    pieces.push_back(sequence("B", 1));
    pieces.push_back(special(sep_token, 1));
  }
  return pieces;
}

/// The special token at `index` of the template of a single text, with its id from the table beside the
/// template.
NamedId template_special_token(const JsonObject& processor, size_t index) {
  const json* single = processor.find("single");
  const json::json_pointer path("/" + std::to_string(index) + "/SpecialToken/id");
  if (single == nullptr || !single->is_array() || !single->contains(path) || !single->at(path).is_string()) {
    processor.fail_at("single", "[CLS] A [SEP]");
  }
  const std::string token = single->at(path).get<std::string>();
  const JsonObject entry = processor.object_at("special_tokens").object_at(token);
  const json* ids = entry.find("ids");
  if (ids == nullptr || !ids->is_array() || ids->size() != 1 || !ids->front().is_number_integer()) {
    entry.fail_at("ids", "a list of one id");
  }
  return {token, ids->front().get<int64_t>()};
}

void read_template(const JsonObject& processor, TokenizerJson& tokenizer) {
  tokenizer.cls = template_special_token(processor, 0);
  tokenizer.sep = template_special_token(processor, 2);
  for (const bool is_pair : {false, true}) {
    const char* key = is_pair ? "pair" : "single";
    const json* found = processor.find(key);
    if (found == nullptr || *found != bert_template(is_pair, tokenizer.cls.token, tokenizer.sep.token)) {
      processor.fail_at(
          key, is_pair ? "[CLS] A [SEP] B [SEP] with types 0 0 0 1 1" : "[CLS] A [SEP] with types 0");
    }
  }
}

/// BertProcessing names a special token as ["[SEP]", 102].
NamedId pair_at(const JsonObject& processor, const std::string& key) {
  const json* found = processor.find(key);
  if (found == nullptr || !found->is_array() || found->size() != 2 || !found->front().is_string() ||
      !found->back().is_number_integer()) {
    processor.fail_at(key, "a token and its id");
  }
  return {found->front().get<std::string>(), found->back().get<int64_t>()};
}

void read_post_processor(const JsonObject& root, TokenizerJson& tokenizer) {
  const JsonObject processor = root.object_at("post_processor");
  const std::string type = processor.string_at("type");
  if (type == "TemplateProcessing") {
    read_template(processor, tokenizer);
  } else if (type == "BertProcessing") {
    tokenizer.cls = pair_at(processor, "cls");
    tokenizer.sep = pair_at(processor, "sep");
  } else {
    processor.fail_at("type", "'TemplateProcessing' or 'BertProcessing'");
  }
}

void read_added_tokens(const JsonObject& root, TokenizerJson& tokenizer) {
  const json* found = root.find("added_tokens");
  if (found == nullptr) return;
  if (!found->is_array()) root.fail_at("added_tokens", "a list");
  for (size_t i = 0; i < found->size(); ++i) {
    const JsonObject token((*found)[i], root.where() + ": added_tokens[" + std::to_string(i) + "]",
                           ErrorKind::model);
    tokenizer.added_tokens.push_back(read_added_token(token, token.integer_at("id")));
  }
}

}  // namespace

AddedToken read_added_token(const JsonObject& token, int64_t id) {
  AddedToken added{token.string_at("content"), static_cast<int32_t>(id),
                   token.find_bool("normalized").value_or(false)};
  if (added.content.empty()) token.fail_at("content", "a token that is not empty");
  if (id < 0 || id >= max_num_ids)
    fail(ErrorKind::model, "{}: expected an id from 0, found {}", token.where(), id);
  // lstrip and rstrip take white space into the token, which is dropped anyway.
  if (token.find_bool("single_word").value_or(false)) {
    token.fail_at("single_word", "false (tokens that match whole words only are not supported)");
  }
  return added;
}

TokenizerJson read_tokenizer_json(const std::filesystem::path& path) {
  const json document = read_json_file(path, ErrorKind::model);
  const JsonObject root(document, path.string(), ErrorKind::model);
  TokenizerJson tokenizer{};
  read_added_tokens(root, tokenizer);
  read_model(root, tokenizer);
  read_normalizer(root, tokenizer);
  expect_string(root.object_at("pre_tokenizer"), "type", "BertPreTokenizer");
  read_post_processor(root, tokenizer);
  return tokenizer;
}

}  // namespace normtune
