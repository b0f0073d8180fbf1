#include <algorithm>

#include "nn/tokenizer.h"
#include "nn/unicode.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

using namespace normtune;

/// `text` with U+FFFD in place of each ill-formed sequence.
std::string well_formed(std::string_view text) {
  std::string output;
  for (size_t position = 0; position < text.size();) {
    const DecodedCodePoint decoded = decode_utf8(text, position);
    append_utf8(decoded.value, output);
    position += decoded.num_bytes;
  }
  return output;
}

void require(bool condition) {
  if (!condition) std::abort();
}

/// What holds for every text: ids of the vocabulary between [CLS] and [SEP], never more than asked for, and
/// the same when ill-formed sequences have been replaced.
void tokenize(const Tokenizer& tokenizer, std::string_view text) {
  constexpr int64_t max_length = 16;
  const Encoding encoding = tokenizer.encode(text);
  require(encoding.input_ids.front() == tokenizer.cls_token_id());
  require(encoding.input_ids.back() == tokenizer.sep_token_id());
  tokenizer.tokens(encoding.input_ids);  // throws for an id outside the vocabulary
  require(tokenizer.encode(well_formed(text)).input_ids == encoding.input_ids);
  const Encoding pair = tokenizer.encode(text, text, max_length);
  require(std::ssize(pair.input_ids) == std::min(max_length, 2 * std::ssize(encoding.input_ids) - 1));
  require(pair.input_ids.size() == pair.token_type_ids.size());
}

}  // namespace

/// The input is a text for each of three small tokenizers.
int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::filesystem::path recorded = std::filesystem::path(NORMTUNE_TEST_FILES) / "tokenizer";
  static const Tokenizer tokenizers[] = {Tokenizer::from_folder(recorded / "uncased"),
                                         Tokenizer::from_folder(recorded / "cased"),
                                         Tokenizer::from_folder(recorded / "added")};
  for (const Tokenizer& tokenizer : tokenizers) {
    tokenize(tokenizer, {reinterpret_cast<const char*>(bytes), size});
  }
  return 0;
}
