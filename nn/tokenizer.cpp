#include "nn/tokenizer.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <unordered_map>
#include <utility>

#include "nn/added_tokens.h"
#include "nn/bert_normalizer.h"
#include "nn/bert_pre_tokenizer.h"
#include "nn/tokenizer_files.h"
#include "nn/vocabulary.h"
#include "nn/wordpiece.h"
#include "tensor/error.h"

namespace normtune {

namespace {

/// Model vocabulary and added tokens together: [id].
std::vector<std::string> all_tokens(const TokenizerFiles& files) {
  std::vector<std::string> tokens = files.vocabulary;
  for (const AddedToken& added : files.added_tokens) {
    if (added.id >= static_cast<int32_t>(tokens.size())) tokens.resize(added.id + 1);
    tokens[added.id] = added.content;
  }
  return tokens;
}

/// The added tokens that are looked for in raw text (`normalized` false), or in normalized text in their
/// normalized form.
AddedTokenFinder make_finder(const TokenizerFiles& files, bool normalized) {
  const BertNormalizer normalizer(files.normalizer);
  std::vector<AddedToken> selected;
  for (AddedToken token : files.added_tokens) {
    if (token.normalized != normalized) continue;
    if (normalized) token.content = normalizer.normalize(token.content);
    selected.push_back(std::move(token));
  }
  std::stable_partition(selected.begin(), selected.end(),
                        [](const AddedToken& token) { return token.special; });
  return AddedTokenFinder(selected);
}

}  // namespace

namespace {

/// Memory that one thread uses for example after example.
struct Workspace {
  std::string normalized;
  std::vector<int32_t> ids;
  std::vector<int32_t> pair_ids;
};

}  // namespace

struct Tokenizer::Data {
  explicit Data(TokenizerFiles files);

  int32_t special_id(SpecialToken token) const { return special_ids[static_cast<int>(token)]; }

  /// Appends the ids of a text without [CLS] and [SEP]; `normalized` is working space.
  void append_ids(std::string_view text, std::string& normalized, std::vector<int32_t>& ids) const;
  void append_normalized_ids(std::string_view normalized, std::vector<int32_t>& ids) const;
  Encoding encode(const TextPair& example, std::optional<int64_t> max_length, Workspace& workspace) const;

  std::vector<std::string> tokens;                    // [id]
  std::unordered_map<std::string_view, int32_t> ids;  // into `tokens`
  std::array<int32_t, num_special_tokens> special_ids{};
  BertNormalizer normalizer;
  AddedTokenFinder raw_added_tokens;
  AddedTokenFinder normalized_added_tokens;
  WordPiece wordpiece;
  std::vector<std::string> warnings;
};

Tokenizer::Data::Data(TokenizerFiles files)
    : tokens(all_tokens(files)),
      ids(index_tokens(tokens)),
      normalizer(files.normalizer),
      raw_added_tokens(make_finder(files, false)),
      normalized_added_tokens(make_finder(files, true)),
      wordpiece(files.vocabulary, ids.at(files.special_tokens[static_cast<int>(SpecialToken::unk)]),
                files.max_input_chars_per_word),
      warnings(std::move(files.warnings)) {
  for (int i = 0; i < num_special_tokens; ++i) special_ids[i] = ids.at(files.special_tokens[i]);
}

void Tokenizer::Data::append_ids(std::string_view text, std::string& normalized,
                                 std::vector<int32_t>& ids) const {
  raw_added_tokens.split(text, [&](std::string_view part, int32_t id) {
    if (id != AddedTokenFinder::no_id) return ids.push_back(id);
    normalized.clear();
    normalizer.append_normalized(part, normalized);
    normalized_added_tokens.split(normalized, [&](std::string_view normalized_part, int32_t normalized_id) {
      if (normalized_id != AddedTokenFinder::no_id) return ids.push_back(normalized_id);
      append_normalized_ids(normalized_part, ids);
    });
  });
}

void Tokenizer::Data::append_normalized_ids(std::string_view normalized, std::vector<int32_t>& ids) const {
  WordReader reader(normalized);
  for (std::string_view word = reader.next(); !word.empty(); word = reader.next())
    wordpiece.append_ids(word, ids);
}

namespace {

constexpr int64_t num_special_tokens_added(bool is_pair) {
  return is_pair ? 3 : 2;
}

void check_max_length(std::optional<int64_t> max_length, bool is_pair) {
  check(!max_length || *max_length >= num_special_tokens_added(is_pair),
        "tokenizer: expected a max_length of at least {} for the special tokens of {}, found {}",
        num_special_tokens_added(is_pair), is_pair ? "a pair" : "a text", max_length.value_or(0));
}

struct PairLengths {
  int64_t text;
  int64_t text_pair;
};

/// Cuts the longer text first, down to what the budget leaves beside the shorter; only when both are too long
/// do they share the budget. Of equal lengths the second counts as the longer.
PairLengths truncate_longest_first(PairLengths lengths, int64_t budget) {
  const bool text_is_longer = lengths.text > lengths.text_pair;
  int64_t& shorter = text_is_longer ? lengths.text_pair : lengths.text;
  int64_t& longer = text_is_longer ? lengths.text : lengths.text_pair;
  if (shorter + longer <= budget) return lengths;
  longer = std::max(shorter, budget - shorter);
  if (shorter + longer > budget) {
    shorter = budget / 2;
    longer = budget - shorter;
  }
  return lengths;
}

/// How many ids of each text stay. Without a pair the budget is the text's alone.
PairLengths truncated_lengths(PairLengths lengths, std::optional<int64_t> max_length, bool is_pair) {
  if (!max_length) return lengths;
  const int64_t budget = *max_length - num_special_tokens_added(is_pair);
  if (is_pair) return truncate_longest_first(lengths, budget);
  return {std::min(lengths.text, budget), 0};
}

}  // namespace

Encoding Tokenizer::Data::encode(const TextPair& example, std::optional<int64_t> max_length,
                                 Workspace& workspace) const {
  const bool is_pair = example.text_pair.has_value();
  auto& [normalized, ids, pair_ids] = workspace;
  ids.clear();
  pair_ids.clear();
  append_ids(example.text, normalized, ids);
  if (is_pair) append_ids(*example.text_pair, normalized, pair_ids);
  const PairLengths kept = truncated_lengths({std::ssize(ids), std::ssize(pair_ids)}, max_length, is_pair);

  Encoding encoding;
  const int64_t length = kept.text + kept.text_pair + num_special_tokens_added(is_pair);
  encoding.input_ids.reserve(length);
  encoding.token_type_ids.reserve(length);
  const auto append = [&](std::span<const int32_t> part, int32_t type) {
    encoding.input_ids.insert(encoding.input_ids.end(), part.begin(), part.end());
    encoding.input_ids.push_back(special_id(SpecialToken::sep));
    encoding.token_type_ids.resize(encoding.input_ids.size(), type);
  };
  encoding.input_ids.push_back(special_id(SpecialToken::cls));
  append(std::span(ids).first(kept.text), 0);
  if (is_pair) append(std::span(pair_ids).first(kept.text_pair), 1);
  return encoding;
}

Tokenizer Tokenizer::from_folder(const std::filesystem::path& folder) {
  return Tokenizer(std::make_shared<const Data>(read_tokenizer_files(folder)));
}

const std::vector<std::string>& Tokenizer::warnings() const {
  return data_->warnings;
}

Encoding Tokenizer::encode(std::string_view text, std::optional<std::string_view> pair,
                           std::optional<int64_t> max_length) const {
  check_max_length(max_length, pair.has_value());
  Workspace workspace;
  return data_->encode({text, pair}, max_length, workspace);
}

namespace {

/// A thread takes this many examples at a time.
constexpr size_t block_size = 64;

/// As many threads as asked for (0: as OpenMP would take), but none without a block of its own.
int64_t num_workers(size_t num_examples, int num_threads) {
  const int64_t num_blocks = static_cast<int64_t>((num_examples + block_size - 1) / block_size);
  return std::min<int64_t>(num_threads > 0 ? num_threads : omp_get_max_threads(), num_blocks);
}

}  // namespace

// Threads of its own rather than OpenMP's, which would spin while the caller works between two batches.
std::vector<Encoding> Tokenizer::encode_batch(std::span<const TextPair> examples,
                                              std::optional<int64_t> max_length, int num_threads) const {
  for (const TextPair& example : examples) check_max_length(max_length, example.text_pair.has_value());
  std::vector<Encoding> encodings(examples.size());
  std::atomic<size_t> next = 0;
  const auto encode_blocks = [&] {
    Workspace workspace;
    size_t begin = 0;
    while ((begin = next.fetch_add(block_size)) < examples.size()) {
      const size_t end = std::min(begin + block_size, examples.size());
      for (size_t i = begin; i < end; ++i) encodings[i] = data_->encode(examples[i], max_length, workspace);
    }
  };
  std::vector<std::future<void>> helpers;
  for (int64_t i = 1; i < num_workers(examples.size(), num_threads); ++i) {
    helpers.push_back(std::async(std::launch::async, encode_blocks));
  }
  encode_blocks();
  for (std::future<void>& helper : helpers) helper.get();
  return encodings;
}

std::vector<std::string> Tokenizer::tokenize(std::string_view text) const {
  std::string normalized;
  std::vector<int32_t> ids;
  data_->append_ids(text, normalized, ids);
  return tokens(ids);
}

std::vector<std::string> Tokenizer::tokens(std::span<const int32_t> ids) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) tokens.push_back(id_to_token(id));
  return tokens;
}

const std::string& Tokenizer::id_to_token(int32_t id) const {
  check(id >= 0 && id < vocab_size(), "tokenizer: expected an id in 0..{}, found {}", vocab_size() - 1, id);
  return data_->tokens[id];
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  const auto found = data_->ids.find(token);
  if (found == data_->ids.end()) return std::nullopt;
  return found->second;
}

int64_t Tokenizer::vocab_size() const {
  return std::ssize(data_->tokens);
}
int32_t Tokenizer::cls_token_id() const {
  return data_->special_id(SpecialToken::cls);
}
int32_t Tokenizer::sep_token_id() const {
  return data_->special_id(SpecialToken::sep);
}
int32_t Tokenizer::pad_token_id() const {
  return data_->special_id(SpecialToken::pad);
}
int32_t Tokenizer::unk_token_id() const {
  return data_->special_id(SpecialToken::unk);
}
int32_t Tokenizer::mask_token_id() const {
  return data_->special_id(SpecialToken::mask);
}
bool Tokenizer::do_lower_case() const {
  return data_->normalizer.options().lowercase;
}

}  // namespace normtune
