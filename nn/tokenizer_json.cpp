#include "nn/tokenizer_json.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "nn/json_file.h"
#include "nn/printable.h"
#include "nn/unicode.h"
#include "nn/wordpiece.h"

namespace normtune {

using nlohmann::json;

namespace {

constexpr int64_t max_id = INT32_MAX - 1;

/// An object inside another, with its place for messages.
JsonFields object_at(const JsonFields& fields, const char* key, const std::string& where) {
  return JsonFields(fields.value(key), where + ": " + key, ErrorKind::model);
}

void expect_text(const JsonFields& fields, const char* key, std::string_view expected) {
  const std::string found = fields.text(key);
  if (found != expected) fields.refuse(key, "expected {}, found {}", printable(expected), printable(found));
}

/// Reads tokenizer.json section by section.
class Reader {
 public:
  Reader(const json& document, std::string file)
      : file_(std::move(file)), root_(document, file_, ErrorKind::model) {}

  TokenizerJson read() {
    read_added_tokens();
    read_model();
    read_normalizer();
    expect_text(section("pre_tokenizer"), "type", "BertPreTokenizer");
    read_post_processor();
    return std::move(tokenizer_);
  }

 private:
  JsonFields section(const char* key) const { return object_at(root_, key, file_); }

  void read_added_tokens();
  void read_model();
  void read_vocabulary(const json& vocab, const std::string& where);
  void read_normalizer();
  void read_post_processor();
  void read_template(const JsonFields& processor);
  NamedId template_special_token(const JsonFields& processor, size_t index) const;

  std::string file_;
  JsonFields root_;
  TokenizerJson tokenizer_{};
};

void Reader::read_added_tokens() {
  if (!root_.has("added_tokens")) return;
  const json& list = root_.value("added_tokens");
  if (!list.is_array()) root_.refuse("added_tokens", "expected a list");
  for (size_t i = 0; i < list.size(); ++i) {
    const JsonFields token(list[i], fmt::format("{}: added_tokens[{}]", file_, i), ErrorKind::model);
    tokenizer_.added_tokens.push_back(read_added_token(token, token.integer("id", 0, max_id)));
  }
}

void Reader::read_model() {
  const JsonFields model = section("model");
  // Files of early versions of the library have no type.
  if (model.has("type")) expect_text(model, "type", "WordPiece");
  expect_text(model, "continuing_subword_prefix", WordPiece::continuing_subword_prefix);
  tokenizer_.unk_token = model.text("unk_token");
  tokenizer_.max_input_chars_per_word = model.integer("max_input_chars_per_word", 1, INT32_MAX);
  const json& vocab = model.value("vocab");
  if (!vocab.is_object()) model.refuse("vocab", "expected an object of tokens and their ids");
  read_vocabulary(vocab, file_ + ": model: vocab");
}

/// Ids are a permutation of 0..n-1, but for gaps that added tokens fill; so none reaches the number of both.
void Reader::read_vocabulary(const json& vocab, const std::string& where) {
  const JsonFields fields(vocab, where, ErrorKind::model);
  const auto highest = static_cast<int64_t>(vocab.size() + tokenizer_.added_tokens.size()) - 1;
  std::vector<std::string>& vocabulary = tokenizer_.vocabulary;
  for (const auto& [token, value] : vocab.items()) {
    if (token.empty()) fail(ErrorKind::model, "{}: expected tokens, found an empty one", where);
    const int64_t id = fields.integer(token.c_str(), 0, std::min(highest, max_id));
    if (id >= std::ssize(vocabulary)) vocabulary.resize(id + 1);
    if (!vocabulary[id].empty()) {
      fail(ErrorKind::model, "{}: tokens {} and {} have the same id {}; each id may occur once", where,
           printable(vocabulary[id]), printable(token), id);
    }
    vocabulary[id] = token;
  }
}

void Reader::read_normalizer() {
  const JsonFields normalizer = section("normalizer");
  expect_text(normalizer, "type", "BertNormalizer");
  tokenizer_.clean_text = normalizer.flag("clean_text");
  tokenizer_.handle_chinese_chars = normalizer.flag("handle_chinese_chars");
  tokenizer_.lowercase = normalizer.flag("lowercase");
  if (normalizer.has("strip_accents")) tokenizer_.strip_accents = normalizer.flag("strip_accents");
}

/// BertProcessing names a special token as ["[SEP]", 102].
NamedId pair_at(const JsonFields& processor, const char* key) {
  const json& found = processor.value(key);
  if (!found.is_array() || found.size() != 2 || !found[0].is_string() || !found[1].is_number_integer()) {
    processor.refuse(key, "expected a token and its id, found {}", printable(found.dump()));
  }
  return {found[0].get<std::string>(), found[1].get<int64_t>()};
}

void Reader::read_post_processor() {
  const JsonFields processor = section("post_processor");
  const std::string type = processor.text("type");
  if (type == "TemplateProcessing") {
    read_template(processor);
  } else if (type == "BertProcessing") {
    tokenizer_.cls = pair_at(processor, "cls");
    tokenizer_.sep = pair_at(processor, "sep");
  } else {
    processor.refuse("type", "expected 'TemplateProcessing' or 'BertProcessing', found {}", printable(type));
  }
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

void Reader::read_template(const JsonFields& processor) {
  tokenizer_.cls = template_special_token(processor, 0);
  tokenizer_.sep = template_special_token(processor, 2);
  for (const bool is_pair : {false, true}) {
    const char* key = is_pair ? "pair" : "single";
    const json& found = processor.value(key);
    if (found != bert_template(is_pair, tokenizer_.cls.token, tokenizer_.sep.token)) {
      processor.refuse(
          key, "expected {}, found {}",
          is_pair ? "[CLS] A [SEP] B [SEP] with types 0 0 0 1 1" : "[CLS] A [SEP] with types 0 0 0",
          printable(found.dump()));
    }
  }
}

/// The special token at `index` of the template of a single text, with its id from the table beside the
/// template.
NamedId Reader::template_special_token(const JsonFields& processor, size_t index) const {
  const json& single = processor.value("single");
  const json::json_pointer path(fmt::format("/{}/SpecialToken/id", index));
  if (!single.is_array() || !single.contains(path) || !single.at(path).is_string()) {
    processor.refuse("single", "expected [CLS] A [SEP], found {}", printable(single.dump()));
  }
  const std::string token = single.at(path).get<std::string>();
  const std::string where = file_ + ": post_processor";
  const JsonFields table = object_at(processor, "special_tokens", where);
  const JsonFields entry = object_at(table, token.c_str(), where + ": special_tokens");
  const json& ids = entry.value("ids");
  if (!ids.is_array() || ids.size() != 1 || !ids[0].is_number_integer()) {
    entry.refuse("ids", "expected a list of one id, found {}", printable(ids.dump()));
  }
  return {token, ids[0].get<int64_t>()};
}

bool has_white_space_at_ends(std::string_view text) {
  size_t last = text.size() - 1;
  while (last > 0 && (text[last] & 0xC0) == 0x80) --last;  // to the lead byte of the last code point
  return is_white_space(decode_utf8(text, 0).value) || is_white_space(decode_utf8(text, last).value);
}

}  // namespace

AddedToken read_added_token(const JsonFields& token, int64_t id) {
  const std::string content = token.text("content");
  if (content.empty()) token.refuse("content", "expected a token, found an empty string");
  if (has_white_space_at_ends(content)) {
    token.refuse("content", "expected a token without white space at its ends, found {}", printable(content));
  }
  // lstrip and rstrip only take white space into the token, which is dropped anyway.
  if (token.flag_or("single_word", false)) {
    token.refuse("single_word",
                 "expected false, found true: tokens that match whole words only are not supported");
  }
  return {.content = content,
          .id = static_cast<int32_t>(id),
          .normalized = token.flag_or("normalized", false),
          .special = token.flag_or("special", false)};
}

TokenizerJson read_tokenizer_json(const std::filesystem::path& path) {
  const json document = read_json_file(path, ErrorKind::model);
  return Reader(document, path.string()).read();
}

}  // namespace normtune
