#include "nn/bert_normalizer.h"

#include <algorithm>
#include <vector>

#include "nn/unicode.h"

namespace normtune {

namespace {

/// In the table of ASCII characters: cleaning removes it. Not itself ASCII.
constexpr char dropped = '\x80';

bool is_ascii(char byte) {
  return static_cast<unsigned char>(byte) < 0x80;
}

}  // namespace

/// Receives decomposed code points, brings runs of combining characters into canonical order (a stable sort
/// by combining class between two starters), lower-cases, and writes UTF-8.
class BertNormalizer::OrderedOutput {
 public:
  OrderedOutput(std::string& text, bool lowercase) : text_(text), lowercase_(lowercase) {}

  /// The text, for writing a starter that is already lower-cased.
  std::string& text() {
    flush();
    return text_;
  }

  void append(char32_t code_point, int combining_class) {
    if (combining_class == 0) {
      flush();
      write(code_point);
    } else {
      waiting_.push_back({combining_class, code_point});
    }
  }

  /// Ends a run of combining characters.
  void flush() {
    if (!waiting_.empty()) write_waiting();
  }

 private:
  struct Combining {
    int combining_class;
    char32_t code_point;
  };

  void write_waiting() {
    std::stable_sort(waiting_.begin(), waiting_.end(), [](const Combining& a, const Combining& b) {
      return a.combining_class < b.combining_class;
    });
    for (const Combining& combining : waiting_) write(combining.code_point);
    waiting_.clear();
  }

  void write(char32_t code_point) {
    if (!lowercase_) return append_utf8(code_point, text_);
    for (const char32_t lower : lower_case(code_point)) append_utf8(lower, text_);
  }

  std::string& text_;
  bool lowercase_;
  std::vector<Combining> waiting_;
};

BertNormalizer::BertNormalizer(const BertNormalizerOptions& options) : options_(options) {
  for (int i = 0; i < 128; ++i) ascii_[i] = normalized_ascii(static_cast<char>(i));
}

char BertNormalizer::normalized_ascii(char character) const {
  const auto code_point = static_cast<char32_t>(character);
  if (options_.clean_text && is_removed_by_cleaning(code_point)) return dropped;
  if (options_.clean_text && is_white_space(code_point)) return ' ';
  if (options_.lowercase && character >= 'A' && character <= 'Z')
    return static_cast<char>(character - 'A' + 'a');
  return character;
}

std::string BertNormalizer::normalize(std::string_view text) const {
  std::string output;
  append_normalized(text, output);
  return output;
}

void BertNormalizer::append_normalized(std::string_view text, std::string& output) const {
  OrderedOutput ordered(output, options_.lowercase);
  for (size_t position = 0; position < text.size();) {
    if (is_ascii(text[position])) {
      const auto end = std::find_if_not(text.begin() + position, text.end(), is_ascii);
      const size_t length = end - (text.begin() + position);
      append_ascii(text.substr(position, length), ordered);
      position += length;
    } else {
      const DecodedCodePoint decoded = decode_utf8(text, position);
      append_code_point(decoded.value, ordered);
      position += decoded.num_bytes;
    }
  }
  ordered.flush();
}

void BertNormalizer::append_ascii(std::string_view text, OrderedOutput& output) const {
  for (const char character : text) {
    const char normalized = ascii_[character];
    if (normalized != dropped) output.text().push_back(normalized);
  }
}

void BertNormalizer::append_code_point(char32_t code_point, OrderedOutput& output) const {
  if (options_.clean_text) {
    if (is_removed_by_cleaning(code_point)) return;
    if (is_white_space(code_point)) code_point = ' ';
  }
  if (options_.handle_chinese_chars && is_cjk_ideograph(code_point)) {
    output.append(' ', 0);
    append_stripped(code_point, output);
    output.append(' ', 0);
  } else {
    append_stripped(code_point, output);
  }
}

void BertNormalizer::append_stripped(char32_t code_point, OrderedOutput& output) const {
  if (!options_.strip_accents)
    return output.append(code_point, 0);  // no decomposition, so nothing to reorder
  for (const char32_t part : canonical_decomposition(code_point)) {
    const int part_class = combining_class(part);
    if (!is_nonspacing_mark(part)) {
      output.append(part, part_class);
    } else if (part_class == 0) {
      output.flush();  // it is dropped after ordering, so it still separates runs
    }
  }
}

}  // namespace normtune
