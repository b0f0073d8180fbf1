#pragma once

#include <array>
#include <string>
#include <string_view>

namespace normtune {

/// The keys of `normalizer` in tokenizer.json.
struct BertNormalizerOptions {
  bool clean_text = true;  // drop control and private-use characters; all white space becomes a space
  bool handle_chinese_chars = true;  // put spaces round each CJK ideograph
  bool strip_accents = true;         // decompose canonically (NFD), then drop nonspacing marks
  bool lowercase = true;

  bool operator==(const BertNormalizerOptions&) const = default;
};

/// BERT's clean-up of raw text, in the order of the options above.
///
///   BertNormalizer({}).normalize("na\u00EFve\tKo\u017Eu\u0161\u010Dek")   // "naive kozuscek"
class BertNormalizer {
 public:
  explicit BertNormalizer(const BertNormalizerOptions& options);

  const BertNormalizerOptions& options() const { return options_; }

  /// Appends the normalized form of `text` to `output`, which becomes well-formed UTF-8 whatever `text` is.
  void append_normalized(std::string_view text, std::string& output) const;
  std::string normalize(std::string_view text) const;

 private:
  class OrderedOutput;

  char normalized_ascii(char character) const;
  void append_ascii(std::string_view text, OrderedOutput& output) const;
  void append_code_point(char32_t code_point, OrderedOutput& output) const;
  void append_stripped(char32_t code_point, OrderedOutput& output) const;

  BertNormalizerOptions options_;
  std::array<char, 128> ascii_;  // what each ASCII character becomes, or `dropped`
};

}  // namespace normtune
