#include "nn/bert_pre_tokenizer.h"

#include <array>

#include "nn/unicode.h"

namespace normtune {

namespace {

enum class Role : char { word, white_space, punctuation };

Role classify(char32_t code_point) {
  if (is_white_space(code_point)) return Role::white_space;
  return is_punctuation(code_point) ? Role::punctuation : Role::word;
}

const std::array<Role, 128> ascii_roles = [] {
  std::array<Role, 128> roles;
  for (int i = 0; i < 128; ++i) roles[i] = classify(static_cast<char32_t>(i));
  return roles;
}();

struct Character {
  Role role;
  size_t num_bytes;
};

Character read_character(std::string_view text, size_t position) {
  const auto byte = static_cast<unsigned char>(text[position]);
  if (byte < 0x80) return {ascii_roles[byte], 1};
  const DecodedCodePoint decoded = decode_utf8(text, position);
  return {classify(decoded.value), decoded.num_bytes};
}

}  // namespace

std::string_view WordReader::next() {
  size_t begin = position_;
  size_t end = position_;
  while (end < text_.size()) {
    const Character character = read_character(text_, end);
    if (character.role == Role::word) {
      end += character.num_bytes;
    } else if (end > begin) {
      break;
    } else if (character.role == Role::punctuation) {
      end += character.num_bytes;
      break;
    } else {
      begin = end += character.num_bytes;
    }
  }
  position_ = end;
  return text_.substr(begin, end - begin);
}

std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  WordReader reader(text);
  for (std::string_view word = reader.next(); !word.empty(); word = reader.next()) words.emplace_back(word);
  return words;
}

}  // namespace normtune
