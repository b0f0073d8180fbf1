#include "nn/wordpiece_trainer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <queue>
#include <set>

#include "nn/atomic_file.h"
#include "nn/bert_pre_tokenizer.h"
#include "nn/json_file.h"
#include "nn/unicode.h"
#include "nn/wordpiece.h"
#include "tensor/error.h"

namespace normtune {

using nlohmann::ordered_json;

namespace {

constexpr std::array<const char*, 5> first_tokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
constexpr size_t longest_word = 100;  // max_input_chars_per_word: longer ones are unknown to the tokenizer

/// The UTF-8 characters of a word.
std::vector<std::string_view> split_characters(std::string_view word) {
  std::vector<std::string_view> characters;
  for (size_t position = 0; position < word.size();) {
    const size_t num_bytes = decode_utf8(word, position).num_bytes;
    characters.push_back(word.substr(position, num_bytes));
    position += num_bytes;
  }
  return characters;
}

/// Punctuation and ideographs are words of their own: they never continue one.
bool stands_alone(std::string_view character) {
  const char32_t code_point = decode_utf8(character, 0).value;
  return is_punctuation(code_point) || is_cjk_ideograph(code_point);
}

std::string continued(std::string_view piece) {
  return std::string(WordPiece::continuing_subword_prefix) + std::string(piece);
}

/// The most frequent characters, in byte order.
std::vector<std::string> find_alphabet(const WordCounts& counts, int64_t max_alphabet) {
  std::unordered_map<std::string_view, int64_t> frequencies;
  for (const auto& [word, count] : counts) {
    for (const std::string_view character : split_characters(word)) frequencies[character] += count;
  }
  std::vector<std::pair<std::string_view, int64_t>> sorted(frequencies.begin(), frequencies.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  if (static_cast<int64_t>(sorted.size()) > max_alphabet) sorted.resize(static_cast<size_t>(max_alphabet));
  std::vector<std::string> alphabet;
  for (const auto& [character, frequency] : sorted) alphabet.emplace_back(character);
  std::sort(alphabet.begin(), alphabet.end());
  return alphabet;
}

/// Merges pairs of pieces, most frequent first. Counts of pairs are kept up to date word by word; a heap
/// holds every pair with a count that was right when it was pushed, and is corrected when it is popped.
class PairMerger {
 public:
  PairMerger(const WordCounts& counts, const WordPieceTraining& settings);

  void run();
  std::vector<std::string> take_pieces() { return std::move(pieces_); }

 private:
  using Id = int32_t;
  using Pair = uint64_t;  // left id in the upper half, right id in the lower
  struct Word {
    std::vector<Id> pieces;
    int64_t count;
  };
  struct PairUse {
    int64_t count = 0;
    std::vector<uint32_t> words;  // that hold it, or held it once; may repeat
  };
  struct HeapEntry {
    int64_t count;
    Pair pair;
  };

  static Pair make_pair(Id left, Id right) {
    return static_cast<Pair>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  static Id left_of(Pair pair) { return static_cast<Id>(pair >> 32); }
  static Id right_of(Pair pair) { return static_cast<Id>(pair & 0xFFFFFFFF); }

  Id add_piece(const std::string& piece);
  void add_characters(const std::vector<std::string>& alphabet);
  void add_word(std::string_view text, int64_t count);
  bool is_less_urgent(const HeapEntry& a, const HeapEntry& b) const;
  void push(Pair pair, int64_t count);
  Pair pop_most_frequent();
  void merge(Pair pair);
  void count_pairs(const Word& word, int64_t sign);

  WordPieceTraining settings_;
  std::vector<std::string> pieces_;
  std::unordered_map<std::string, Id> ids_;
  std::vector<Word> words_;
  std::unordered_map<Pair, PairUse> pairs_;
  std::vector<HeapEntry> heap_;
};

constexpr uint64_t no_pair = ~uint64_t{0};

PairMerger::PairMerger(const WordCounts& counts, const WordPieceTraining& settings) : settings_(settings) {
  for (const char* token : first_tokens) add_piece(token);
  add_characters(find_alphabet(counts, settings.max_alphabet));
  const auto num_pieces = static_cast<int64_t>(pieces_.size());
  if (num_pieces > settings.vocab_size) {
    fail(ErrorKind::usage,
         "--vocab_size: expected at least {} ({} special tokens and the text's characters, at the beginning "
         "of a word and inside), found {}",
         num_pieces, first_tokens.size(), settings.vocab_size);
  }
  for (const auto& [word, count] : counts) add_word(word, count);
  for (const auto& [pair, use] : pairs_) heap_.push_back({use.count, pair});
  std::make_heap(heap_.begin(), heap_.end(),
                 [this](const HeapEntry& a, const HeapEntry& b) { return is_less_urgent(a, b); });
}

PairMerger::Id PairMerger::add_piece(const std::string& piece) {
  const auto [place, is_new] = ids_.emplace(piece, static_cast<Id>(pieces_.size()));
  if (is_new) pieces_.push_back(piece);
  return place->second;
}

void PairMerger::add_characters(const std::vector<std::string>& alphabet) {
  for (const std::string& character : alphabet) add_piece(character);
  for (const std::string& character : alphabet) {
    if (!stands_alone(character)) add_piece(continued(character));
  }
}

/// A word with a character outside the alphabet has no pieces.
void PairMerger::add_word(std::string_view text, int64_t count) {
  Word word{.pieces = {}, .count = count};
  for (const std::string_view character : split_characters(text)) {
    const auto place = ids_.find(word.pieces.empty() ? std::string(character) : continued(character));
    if (place == ids_.end()) return;
    word.pieces.push_back(place->second);
  }
  if (word.pieces.size() > longest_word) return;
  const auto index = static_cast<uint32_t>(words_.size());
  for (size_t i = 0; i + 1 < word.pieces.size(); ++i) {
    pairs_[make_pair(word.pieces[i], word.pieces[i + 1])].words.push_back(index);
  }
  count_pairs(word, 1);
  words_.push_back(std::move(word));
}

void PairMerger::count_pairs(const Word& word, int64_t sign) {
  for (size_t i = 0; i + 1 < word.pieces.size(); ++i) {
    pairs_[make_pair(word.pieces[i], word.pieces[i + 1])].count += sign * word.count;
  }
}

bool PairMerger::is_less_urgent(const HeapEntry& a, const HeapEntry& b) const {
  if (a.count != b.count) return a.count < b.count;
  const auto piece = [this](Id id) -> const std::string& { return pieces_[static_cast<size_t>(id)]; };
  if (left_of(a.pair) != left_of(b.pair)) return piece(left_of(a.pair)) > piece(left_of(b.pair));
  return piece(right_of(a.pair)) > piece(right_of(b.pair));
}

void PairMerger::push(Pair pair, int64_t count) {
  heap_.push_back({count, pair});
  std::push_heap(heap_.begin(), heap_.end(),
                 [this](const HeapEntry& a, const HeapEntry& b) { return is_less_urgent(a, b); });
}

/// no_pair if none is frequent enough.
PairMerger::Pair PairMerger::pop_most_frequent() {
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(),
                  [this](const HeapEntry& a, const HeapEntry& b) { return is_less_urgent(a, b); });
    const HeapEntry entry = heap_.back();
    heap_.pop_back();
    if (entry.count < settings_.min_frequency) return no_pair;
    const int64_t count = pairs_[entry.pair].count;
    if (count == entry.count) return entry.pair;
    if (count > 0 && count < entry.count) push(entry.pair, count);
  }
  return no_pair;
}

/// Replaces the pair by one piece in all words.
void PairMerger::merge(Pair pair) {
  const Id left = left_of(pair), right = right_of(pair);
  const std::string_view tail = pieces_[static_cast<size_t>(right)];
  // The piece may be there already: "ab" and "##c" give what "a" and "##bc" gave.
  const Id merged = add_piece(pieces_[static_cast<size_t>(left)] +
                              std::string(tail.substr(WordPiece::continuing_subword_prefix.size())));
  std::set<Pair> grown;
  for (const uint32_t index : std::exchange(pairs_[pair].words, {})) {
    Word& word = words_[index];
    count_pairs(word, -1);
    size_t length = 0;
    for (size_t i = 0; i < word.pieces.size(); ++i) {
      const bool matches =
          word.pieces[i] == left && i + 1 < word.pieces.size() && word.pieces[i + 1] == right;
      word.pieces[length++] = matches ? merged : word.pieces[i];
      i += matches ? 1 : 0;
    }
    word.pieces.resize(length);
    count_pairs(word, 1);
    for (size_t i = 0; i + 1 < length; ++i) {
      if (word.pieces[i] != merged && word.pieces[i + 1] != merged) continue;
      const Pair neighbours = make_pair(word.pieces[i], word.pieces[i + 1]);
      pairs_[neighbours].words.push_back(index);
      grown.insert(neighbours);
    }
  }
  pairs_.erase(pair);
  for (const Pair neighbours : grown) push(neighbours, pairs_[neighbours].count);
}

void PairMerger::run() {
  while (static_cast<int64_t>(pieces_.size()) < settings_.vocab_size) {
    const Pair pair = pop_most_frequent();
    if (pair == no_pair) return;
    merge(pair);
  }
}

ordered_json special_token_json(size_t id) {
  return {{"id", id},        {"content", first_tokens[id]}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false},         {"special", true}};
}

ordered_json template_item(const char* kind, const char* id, int type_id) {
  return {{kind, {{"id", id}, {"type_id", type_id}}}};
}

/// [CLS] A [SEP], or [CLS] A [SEP] B [SEP] with type 1 for the second text.
ordered_json post_processor_json() {
  const ordered_json cls = template_item("SpecialToken", "[CLS]", 0);
  const ordered_json text = template_item("Sequence", "A", 0),
                     sep = template_item("SpecialToken", "[SEP]", 0);
  const ordered_json pair = template_item("Sequence", "B", 1),
                     last = template_item("SpecialToken", "[SEP]", 1);
  ordered_json special = ordered_json::object();
  for (const size_t id : {size_t{2}, size_t{3}}) {
    const char* token = first_tokens[id];
    special[token] = {
        {"id", token}, {"ids", ordered_json::array({id})}, {"tokens", ordered_json::array({token})}};
  }
  return {{"type", "TemplateProcessing"},
          {"single", ordered_json::array({cls, text, sep})},
          {"pair", ordered_json::array({cls, text, sep, pair, last})},
          {"special_tokens", special}};
}

ordered_json tokenizer_json(std::span<const std::string> vocabulary, bool do_lower_case) {
  ordered_json added = ordered_json::array(), ids = ordered_json::object();
  for (size_t id = 0; id < first_tokens.size(); ++id) added.push_back(special_token_json(id));
  for (size_t id = 0; id < vocabulary.size(); ++id) ids[vocabulary[id]] = id;
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer",
           {{"type", "BertNormalizer"},
            {"clean_text", true},
            {"handle_chinese_chars", true},
            {"strip_accents", nullptr},
            {"lowercase", do_lower_case}}},
          {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
          {"post_processor", post_processor_json()},
          {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
          {"model",
           {{"type", "WordPiece"},
            {"unk_token", "[UNK]"},
            {"continuing_subword_prefix", "##"},
            {"max_input_chars_per_word", longest_word},
            {"vocab", ids}}}};
}

}  // namespace

void WordCounter::add(std::string_view text) {
  normalized_.clear();
  normalizer_.append_normalized(text, normalized_);
  WordReader reader(normalized_);
  for (std::string_view word = reader.next(); !word.empty(); word = reader.next()) {
    word_.assign(word);
    ++counts_[word_];
  }
}

std::vector<std::string> train_wordpiece(const WordCounts& counts, const WordPieceTraining& settings) {
  if (counts.empty()) fail(ErrorKind::data, "vocabulary: expected text to learn pieces from, found no word");
  PairMerger merger(counts, settings);
  merger.run();
  return merger.take_pieces();
}

std::vector<std::string> with_special_tokens(std::span<const std::string> pieces) {
  std::vector<std::string> vocabulary(first_tokens.begin(), first_tokens.end());
  vocabulary.insert(vocabulary.end(), pieces.begin(), pieces.end());
  return vocabulary;
}

void write_wordpiece_files(const std::filesystem::path& folder, std::span<const std::string> vocabulary,
                           bool do_lower_case, int64_t model_max_length) {
  std::string lines;
  for (const std::string& token : vocabulary) lines += token + "\n";
  write_file_atomically(folder / "vocab.txt", lines);
  const ordered_json config = {{"cls_token", "[CLS]"},
                               {"do_lower_case", do_lower_case},
                               {"mask_token", "[MASK]"},
                               {"model_max_length", model_max_length},
                               {"pad_token", "[PAD]"},
                               {"sep_token", "[SEP]"},
                               {"strip_accents", nullptr},
                               {"tokenize_chinese_chars", true},
                               {"tokenizer_class", "BertTokenizer"},
                               {"unk_token", "[UNK]"}};
  write_file_atomically(folder / "tokenizer_config.json", config.dump(2) + "\n");
  write_file_atomically(folder / "tokenizer.json", tokenizer_json(vocabulary, do_lower_case).dump(2) + "\n");
}

}  // namespace normtune
