#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <vector>

#include "nn/bert_config.h"
#include "nn/json_file.h"
#include "nn/model.h"
#include "nn/tokenizer.h"
#include "nn/unicode.h"
#include "tensor/error.h"
#include "tools/commands.h"
#include "tools/common_options.h"
#include "tools/model_options.h"

namespace normtune {

namespace {

constexpr const char* input_name = "standard input";

struct TokenizeOptions {
  CommonOptions common;
  std::filesystem::path model;
  bool pair = false, jsonl = false, tokens = false;
  std::optional<int64_t> max_seq_length;
};

/// A text or two, as one input line gives them.
struct InputText {
  std::string text;
  std::optional<std::string> text_pair;
};

/// Standard input, a read at a time, so that a pipe that is fed slowly is answered line by line.
class LineReader {
 public:
  /// All lines that the next read completes, without their ends; none at the end of the input. Throws
  /// Error(data) if reading fails.
  std::vector<std::string> next() {
    std::vector<std::string> lines;
    while (lines.empty() && !at_end_) {
      read_more();
      take_lines(lines);
    }
    return lines;
  }

 private:
  void read_more() {
    const size_t old_size = pending_.size();
    pending_.resize(old_size + block_bytes);
    ssize_t count = 0;
    do {
      count = read(STDIN_FILENO, pending_.data() + old_size, block_bytes);
    } while (count < 0 && errno == EINTR);
    if (count < 0) fail(ErrorKind::data, "cannot read {}: {}", input_name, std::strerror(errno));
    pending_.resize(old_size + static_cast<size_t>(count));
    searched_ = old_size;
    at_end_ = count == 0;
  }

  void take_lines(std::vector<std::string>& lines) {
    size_t begin = 0;
    for (size_t end = pending_.find('\n', searched_); end != std::string::npos;
         end = pending_.find('\n', begin)) {
      lines.push_back(pending_.substr(begin, end - begin));
      begin = end + 1;
    }
    pending_.erase(0, begin);
    if (at_end_ && !pending_.empty()) lines.push_back(std::move(pending_));
  }

  static constexpr size_t block_bytes = size_t{1} << 18;
  std::string pending_;  // read, but no whole line yet
  size_t searched_ = 0;  // of pending_, known to hold no line end
  bool at_end_ = false;
};

InputText split_pair(const std::string& line, int64_t line_number) {
  const int64_t tabs = std::count(line.begin(), line.end(), '\t');
  if (tabs != 1) {
    fail(ErrorKind::data, "{}, line {}: expected two texts with one TAB between them, found {} TABs",
         input_name, line_number, tabs);
  }
  const size_t tab = line.find('\t');
  return {line.substr(0, tab), line.substr(tab + 1)};
}

InputText parse_object(const std::string& line, int64_t line_number) {
  const std::string where = fmt::format("{}, line {}", input_name, line_number);
  const nlohmann::json value = parse_json(line, input_name, ErrorKind::data, line_number);
  if (value.is_string()) return {value.get<std::string>(), std::nullopt};
  if (!value.is_object()) {
    fail(ErrorKind::data, "{}: expected a string or an object with \"text\", found {}", where,
         value.type_name());
  }
  if (!value.contains("text") || !value["text"].is_string()) {
    fail(ErrorKind::data, "{}: \"text\": expected a string, found {}", where,
         value.contains("text") ? value["text"].type_name() : "nothing");
  }
  InputText input{value["text"].get<std::string>(), std::nullopt};
  if (!value.contains("text_pair") || value["text_pair"].is_null()) return input;
  if (!value["text_pair"].is_string()) {
    fail(ErrorKind::data, "{}: \"text_pair\": expected a string or null, found {}", where,
         value["text_pair"].type_name());
  }
  input.text_pair = value["text_pair"].get<std::string>();
  return input;
}

InputText parse_line(const TokenizeOptions& options, std::string line, int64_t line_number) {
  if (!is_valid_utf8(line)) {
    fail(ErrorKind::data, "{}, line {}: expected UTF-8, found other bytes; convert the text to UTF-8",
         input_name, line_number);
  }
  if (options.pair) return split_pair(line, line_number);
  if (options.jsonl) return parse_object(line, line_number);
  return {std::move(line), std::nullopt};
}

std::string json_line(const Tokenizer& tokenizer, const Encoding& encoding, bool with_tokens) {
  std::string line = fmt::format("{{\"input_ids\":[{}],\"token_type_ids\":[{}]",
                                 fmt::join(encoding.input_ids, ","), fmt::join(encoding.token_type_ids, ","));
  if (with_tokens) line += ",\"tokens\":" + nlohmann::json(tokenizer.tokens(encoding.input_ids)).dump();
  return line + "}\n";
}

void write_encodings(const TokenizeOptions& options, const Tokenizer& tokenizer,
                     const std::vector<InputText>& inputs) {
  std::vector<TextPair> examples;
  for (const InputText& input : inputs) examples.push_back({input.text, input.text_pair});
  for (const Encoding& encoding : tokenizer.encode_batch(examples, options.max_seq_length)) {
    write_output(json_line(tokenizer, encoding, options.tokens));
  }
  flush_output();
}

/// Answers all lines up to the first malformed one, then throws for that.
void tokenize_lines(const TokenizeOptions& options, const Tokenizer& tokenizer,
                    std::vector<std::string> lines, int64_t first_line) {
  std::vector<InputText> inputs;
  try {
    for (std::string& line : lines) {
      inputs.push_back(
          parse_line(options, std::move(line), first_line + static_cast<int64_t>(inputs.size())));
    }
  } catch (const Error&) {
    write_encodings(options, tokenizer, inputs);
    throw;
  }
  write_encodings(options, tokenizer, inputs);
}

void check_options(const TokenizeOptions& options) {
  if (options.pair && options.jsonl)
    fail(ErrorKind::usage, "--pair and --jsonl exclude each other; give one");
  if (!options.max_seq_length) return;
  const int64_t special_tokens = options.pair || options.jsonl ? 3 : 2;
  if (*options.max_seq_length < special_tokens) {
    fail(ErrorKind::usage, "--max_seq_length: expected at least {} for [CLS] and [SEP], found {}",
         special_tokens, *options.max_seq_length);
  }
}

/// A folder may hold a tokenizer alone; with a model beside it, inputs must fit that.
void check_length(const TokenizeOptions& options, const std::filesystem::path& folder) {
  if (!options.max_seq_length || !std::filesystem::exists(folder / "config.json")) return;
  check_sequence_length(*options.max_seq_length, read_bert_config(folder));
}

}  // namespace

int run_tokenize(Arguments arguments) {
  TokenizeOptions tokenize;
  Options options("tokenize", "Turns each line of standard input into token ids: one JSON object per line.");
  add_model_option(options, tokenize.model);
  options.group("Input and output");
  options.boolean("pair", tokenize.pair, "each line holds two texts with a TAB between them");
  options.boolean("jsonl", tokenize.jsonl,
                  "each line is a JSON string, or an object with text and text_pair");
  options.boolean("tokens", tokenize.tokens, "adds the tokens as text");
  options.integer("max_seq_length", tokenize.max_seq_length, at_least_1,
                  "cuts longer inputs to this many tokens", "no limit");
  add_common_options(options, tokenize.common);
  if (!options.parse(arguments)) return 0;
  apply_common_options(tokenize.common);
  require_model(options, tokenize.model);
  check_options(tokenize);

  const Console console = tokenize.common.console();
  const std::filesystem::path folder = base_model_folder(tokenize.model);
  check_length(tokenize, folder);
  const Tokenizer tokenizer = Tokenizer::from_folder(folder);
  for (const std::string& warning : tokenizer.warnings()) console.warning(warning);
  LineReader reader;
  int64_t line_number = 1;
  for (std::vector<std::string> lines = reader.next(); !lines.empty(); lines = reader.next()) {
    const auto count = static_cast<int64_t>(lines.size());
    tokenize_lines(tokenize, tokenizer, std::move(lines), line_number);
    line_number += count;
  }
  return 0;
}

}  // namespace normtune
