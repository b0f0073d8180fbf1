#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nn/tokenizer.h"

namespace normtune {

/// Calls `paragraph` for every paragraph of plain text files: one per line, an empty line between documents.
/// The first argument says whether a new document begins; a file always begins one. White space round a
/// paragraph is taken off. Throws Error(data) naming file and line for text that is not UTF-8, and for files
/// that are missing or hold no text.
void read_paragraphs(std::span<const std::filesystem::path> files,
                     const std::function<void(bool, std::string_view)>& paragraph);

/// Plain text as token ids, without special tokens but for one [SEP] behind each document.
class DocumentText {
 public:
  /// Reads and encodes the files, on all threads; the result does not depend on their number.
  DocumentText(std::span<const std::filesystem::path> files, const Tokenizer& tokenizer);

  /// Tokens of all documents, the [SEP] behind each included.
  std::span<const int32_t> tokens() const { return tokens_; }
  int64_t num_documents() const { return static_cast<int64_t>(document_begin_.size()) - 1; }
  /// Where a document begins in tokens(); `num_documents` gives the end of all.
  int64_t document_begin(int64_t document) const { return document_begin_.at(static_cast<size_t>(document)); }
  /// Where it ends, before its [SEP].
  int64_t document_end(int64_t document) const { return document_begin(document + 1) - 1; }
  /// The document that holds position `position` of tokens().
  int64_t document_of(int64_t position) const;
  /// The position in [low, high] next to `position` at which a sentence or a paragraph begins; `position` if
  /// there is none. Low < high within one document, `position` between them.
  int64_t nearest_sentence_begin(int64_t position, int64_t low, int64_t high) const;

 private:
  void append(std::span<const std::string> paragraphs, const std::vector<bool>& begins_document,
              const Tokenizer& tokenizer);
  void find_sentence_ends(const Tokenizer& tokenizer);
  bool begins_sentence(int64_t position) const;

  std::vector<int32_t> tokens_;
  std::vector<int64_t> document_begin_;
  std::vector<int64_t> paragraph_begin_;
  std::vector<int32_t> sentence_ends_;  // ids of . ! ?
  std::vector<int32_t> closing_marks_;  // ids that may follow them: quotes and brackets
  int32_t sep_token_id_ = 0;
};

}  // namespace normtune
