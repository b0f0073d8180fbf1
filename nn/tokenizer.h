#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace normtune {

/// What BERT reads: one entry per token, special tokens included, without padding.
struct Encoding {
  std::vector<int32_t> input_ids;       // [num_tokens]
  std::vector<int32_t> token_type_ids;  // [num_tokens], 0 up to and including the first [SEP], then 1
};

/// One example: a text, or two texts. The views must outlive the call that reads them.
struct TextPair {
  std::string_view text;
  std::optional<std::string_view> text_pair;
};

/// The WordPiece tokenizer of BERT (Devlin et al. 2019, arXiv:1810.04805), cased or uncased. Its ids are
/// those of the `tokenizers` library ("fast" tokenizer) for every text.
///
/// A text goes through five stages:
///   1. literal special and added tokens ("[SEP]" in the text) are cut out and become their ids;
///   2. BertNormalizer cleans the rest, strips accents and lower-cases;
///   3. it is split into words at white space and round each punctuation character;
///   4. WordPiece cuts each word into the longest pieces that the vocabulary holds;
///   5. [CLS] and [SEP] are added, after truncation.
///
/// Text is UTF-8. Each ill-formed sequence (maximal subpart, as Unicode recommends) is read as U+FFFD, which
/// cleaning drops; so it separates nothing and is never an error.
///
/// Immutable after construction: one object may serve any number of threads; copies share their data.
///
///   Tokenizer tokenizer = Tokenizer::from_folder("bert-base-uncased");
///   tokenizer.tokenize("unaffable")                        // {"una", "##ffa", "##ble"}
///   tokenizer.encode("Hello", "World", 128).input_ids      // {101, 7592, 102, 2088, 102}
class Tokenizer {
 public:
  /// Reads vocab.txt and/or tokenizer.json, and tokenizer_config.json and special_tokens_map.json where they
  /// are. Files that contradict each other, a malformed vocabulary (duplicate, CR, ill-formed UTF-8), a
  /// missing special token, and any other kind of tokenizer are errors of kind `model` that name file and
  /// line.
  static Tokenizer from_folder(const std::filesystem::path& folder);

  /// What had to be assumed while reading (cased or uncased), one line each; the caller prints them.
  const std::vector<std::string>& warnings() const;

  /// [CLS] text [SEP], or [CLS] text [SEP] pair [SEP]; an empty pair still counts as a pair.
  ///
  /// max_length counts the special tokens. With m = max_length - 2 (or 3) and lengths s <= l (equal lengths:
  /// the pair counts as the longer), s + l > m is cut from the right to l = max(s, m - s), and if that is
  /// still too long to s = floor(m / 2), l = m - s. Throws std::invalid_argument if max_length does not even
  /// hold the special tokens.
  Encoding encode(std::string_view text, std::optional<std::string_view> pair = std::nullopt,
                  std::optional<int64_t> max_length = std::nullopt) const;

  /// encode() for each example, in their order. num_threads 0 means as many as OpenMP would take; the
  /// result does not depend on it.
  std::vector<Encoding> encode_batch(std::span<const TextPair> examples,
                                     std::optional<int64_t> max_length = std::nullopt,
                                     int num_threads = 0) const;

  /// The pieces of `text`, without [CLS] and [SEP].
  std::vector<std::string> tokenize(std::string_view text) const;

  /// The tokens of `ids`. Throws std::invalid_argument for an id outside [0, vocab_size).
  std::vector<std::string> tokens(std::span<const int32_t> ids) const;
  const std::string& id_to_token(int32_t id) const;
  std::optional<int32_t> token_to_id(std::string_view token) const;

  /// Number of ids, added tokens included; the model's word embedding needs at least as many rows.
  int64_t vocab_size() const;
  int32_t cls_token_id() const;
  int32_t sep_token_id() const;
  int32_t pad_token_id() const;
  int32_t unk_token_id() const;
  int32_t mask_token_id() const;
  bool do_lower_case() const;

 private:
  struct Data;
  explicit Tokenizer(std::shared_ptr<const Data> data) : data_(std::move(data)) {}

  std::shared_ptr<const Data> data_;
};

}  // namespace normtune
