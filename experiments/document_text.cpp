#include "experiments/document_text.h"

#include <algorithm>

#include "nn/mapped_file.h"
#include "nn/unicode.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view blanks = " \t\r\f\v";

std::string_view trimmed(std::string_view line) {
  const size_t begin = line.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return line.substr(begin, line.find_last_not_of(blanks) + 1 - begin);
}

void check_utf8(std::string_view line, const fs::path& file, size_t number) {
  if (is_valid_utf8(line)) return;
  fail(ErrorKind::data, "{}, line {}: expected UTF-8, found other bytes; convert the file (iconv -t UTF-8)",
       file.string(), number);
}

/// Returns the number of paragraphs.
int64_t read_file_paragraphs(const fs::path& file,
                             const std::function<void(bool, std::string_view)>& paragraph) {
  const MappedFile mapped(file, ErrorKind::data);
  std::string_view text = mapped.text();
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  int64_t num_paragraphs = 0;
  bool begins_document = true;
  for (size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = trimmed(text.substr(begin, end - begin));
    begin = end + 1;
    if (line.empty()) {
      begins_document = true;
      continue;
    }
    check_utf8(line, file, number);
    paragraph(begins_document, line);
    begins_document = false;
    ++num_paragraphs;
  }
  return num_paragraphs;
}

bool contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

std::vector<int32_t> ids_of(const Tokenizer& tokenizer, std::span<const std::string_view> tokens) {
  std::vector<int32_t> ids;
  for (const std::string_view token : tokens) {
    if (const std::optional<int32_t> id = tokenizer.token_to_id(token)) ids.push_back(*id);
  }
  return ids;
}

}  // namespace

void read_paragraphs(std::span<const fs::path> files,
                     const std::function<void(bool, std::string_view)>& paragraph) {
  for (const fs::path& file : files) {
    if (read_file_paragraphs(file, paragraph) == 0) {
      fail(ErrorKind::data,
           "{}: expected text, one paragraph per line and an empty line between documents; found none",
           file.string());
    }
  }
}

DocumentText::DocumentText(std::span<const fs::path> files, const Tokenizer& tokenizer)
    : sep_token_id_(tokenizer.sep_token_id()) {
  constexpr size_t chunk_bytes = size_t{1} << 22;  // bounds the memory of the uncompact encodings
  find_sentence_ends(tokenizer);
  std::vector<std::string> paragraphs;
  std::vector<bool> begins_document;
  size_t num_bytes = 0;
  const auto flush = [&] {
    append(paragraphs, begins_document, tokenizer);
    paragraphs.clear();
    begins_document.clear();
    num_bytes = 0;
  };
  read_paragraphs(files, [&](bool begins, std::string_view text) {
    paragraphs.emplace_back(text);
    begins_document.push_back(begins);
    num_bytes += text.size();
    if (num_bytes >= chunk_bytes) flush();
  });
  flush();
  tokens_.push_back(sep_token_id_);
  document_begin_.push_back(static_cast<int64_t>(tokens_.size()));
}

void DocumentText::append(std::span<const std::string> paragraphs, const std::vector<bool>& begins_document,
                          const Tokenizer& tokenizer) {
  std::vector<TextPair> texts;
  for (const std::string& paragraph : paragraphs) texts.push_back({.text = paragraph, .text_pair = {}});
  const std::vector<Encoding> encodings = tokenizer.encode_batch(texts);
  for (size_t i = 0; i < encodings.size(); ++i) {
    if (begins_document[i]) {
      if (!document_begin_.empty()) tokens_.push_back(sep_token_id_);
      document_begin_.push_back(static_cast<int64_t>(tokens_.size()));
    }
    paragraph_begin_.push_back(static_cast<int64_t>(tokens_.size()));
    const std::vector<int32_t>& ids = encodings[i].input_ids;  // [CLS] ... [SEP]
    tokens_.insert(tokens_.end(), ids.begin() + 1, ids.end() - 1);
  }
}

void DocumentText::find_sentence_ends(const Tokenizer& tokenizer) {
  constexpr std::array<std::string_view, 3> ends = {".", "!", "?"};
  constexpr std::array<std::string_view, 6> closing = {"\"", "'", "\u201D", "\u2019", ")", "]"};
  sentence_ends_ = ids_of(tokenizer, ends);
  closing_marks_ = ids_of(tokenizer, closing);
}

int64_t DocumentText::document_of(int64_t position) const {
  const auto next = std::upper_bound(document_begin_.begin(), document_begin_.end(), position);
  return next - document_begin_.begin() - 1;
}

bool DocumentText::begins_sentence(int64_t position) const {
  if (std::binary_search(paragraph_begin_.begin(), paragraph_begin_.end(), position)) return true;
  const auto token = [&](int64_t at) { return tokens_[static_cast<size_t>(at)]; };
  if (contains(closing_marks_, token(position)) || contains(sentence_ends_, token(position))) return false;
  int64_t last = position - 1;
  while (last > 0 && contains(closing_marks_, token(last))) --last;
  return contains(sentence_ends_, token(last));
}

int64_t DocumentText::nearest_sentence_begin(int64_t position, int64_t low, int64_t high) const {
  for (int64_t distance = 0; position - distance >= low || position + distance <= high; ++distance) {
    if (position - distance >= low && begins_sentence(position - distance)) return position - distance;
    if (position + distance <= high && begins_sentence(position + distance)) return position + distance;
  }
  return position;
}

}  // namespace normtune
