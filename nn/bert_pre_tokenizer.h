#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace normtune {

/// BERT's pre-tokenizer: the words of normalized text, one after another. Words are separated by white space,
/// and each punctuation character is a word of its own.
class WordReader {
 public:
  /// `text` is well-formed UTF-8 and outlives the reader.
  explicit WordReader(std::string_view text) : text_(text) {}

  /// The next word, a view into the text; empty at the end.
  std::string_view next();

 private:
  std::string_view text_;
  size_t position_ = 0;
};

/// All words of `text`.
std::vector<std::string> split_words(std::string_view text);

}  // namespace normtune
