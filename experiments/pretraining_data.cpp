#include "experiments/pretraining_data.h"

#include <algorithm>

#include "tensor/error.h"

namespace normtune {

namespace {

constexpr uint64_t window_purpose = 0x57696E646F777321;  // "Windows!"
constexpr uint64_t pair_purpose = 0x5061697273212121;    // "Pairs!!!"

}  // namespace

DocumentDataset::DocumentDataset(const DocumentText& text, const Tokenizer& tokenizer,
                                 DocumentSettings settings)
    : text_(text),
      settings_(settings),
      cls_token_id_(tokenizer.cls_token_id()),
      sep_token_id_(tokenizer.sep_token_id()),
      window_length_(settings.max_seq_length - (settings.next_sentence ? 3 : 2)) {
  check(window_length_ >= 2, "pre-training data: expected room for 2 tokens, found {}", window_length_);
  if (settings.next_sentence) {
    for (int64_t i = 0; i < text.num_documents(); ++i) {
      const Stretch document{text.document_begin(i), text.document_end(i)};
      if (document.length() >= 2) regions_.push_back(document);  // a pair takes two tokens
    }
  } else {
    regions_.push_back({0, static_cast<int64_t>(text.tokens().size())});
  }
  check_length();
  first_window_.push_back(0);
  for (const Stretch& region : regions_) {
    const int64_t num_windows = (region.length() + window_length_ - 1) / window_length_;
    first_window_.push_back(first_window_.back() + num_windows);
  }
}

void DocumentDataset::check_length() const {
  if (!settings_.next_sentence) return;
  const bool far_places = regions_.size() == 1 && regions_[0].length() >= 3 * window_length_;
  if (regions_.size() >= 2 || far_places) return;
  fail(ErrorKind::data,
       "text: expected two documents or {} tokens for next-sentence pairs, found {} document(s) and {} "
       "tokens; "
       "add text (an empty line stands between documents) or use --no_nsp",
       3 * window_length_, text_.num_documents(), text_.tokens().size());
}

/// Window `window_index` of a region, moved as a whole within its region.
DocumentDataset::Stretch DocumentDataset::window(int64_t epoch, int64_t region_index,
                                                 int64_t window_index) const {
  const auto i = static_cast<size_t>(region_index);
  const Stretch region = regions_[i];
  if (region.length() <= window_length_) return region;
  const int64_t num_windows = first_window_[i + 1] - first_window_[i];
  RandomStream random(settings_.seed, window_purpose, epoch, region_index);
  const int64_t shift = random.below(window_length_) - window_length_ / 2;
  const int64_t evenly = window_index * (region.length() - window_length_) / (num_windows - 1);
  const int64_t begin =
      region.begin + std::clamp<int64_t>(evenly + shift, 0, region.length() - window_length_);
  return {begin, begin + window_length_};
}

PretrainingExample DocumentDataset::example(int64_t epoch, int64_t index) const {
  const auto next = std::upper_bound(first_window_.begin(), first_window_.end(), index);
  const int64_t region_index = next - first_window_.begin() - 1;
  const Stretch part = window(epoch, region_index, index - *(next - 1));
  if (!settings_.next_sentence) return single(part);
  return pair(epoch, index, regions_[static_cast<size_t>(region_index)], part);
}

void DocumentDataset::append(Stretch stretch, int32_t type, PretrainingExample& example) const {
  const auto tokens =
      text_.tokens().subspan(static_cast<size_t>(stretch.begin), static_cast<size_t>(stretch.length()));
  example.input_ids.insert(example.input_ids.end(), tokens.begin(), tokens.end());
  example.input_ids.push_back(sep_token_id_);
  example.token_type_ids.resize(example.input_ids.size(), type);
}

PretrainingExample DocumentDataset::single(Stretch window) const {
  // The [SEP] behind a document's end is the one that closes the example.
  if (text_.tokens()[static_cast<size_t>(window.end - 1)] == sep_token_id_ && window.length() > 1)
    --window.end;
  PretrainingExample example{.input_ids = {cls_token_id_}, .token_type_ids = {0}};
  append(window, 0, example);
  return example;
}

PretrainingExample DocumentDataset::pair(int64_t epoch, int64_t index, Stretch document,
                                         Stretch window) const {
  RandomStream random(settings_.seed, pair_purpose, epoch, index);
  // The cut: drawn from the middle half of the window, then moved to the beginning of a sentence.
  const int64_t quarter = window.length() / 4;
  const int64_t low = window.begin + std::max<int64_t>(1, quarter);
  const int64_t high = std::max(low, window.end - std::max<int64_t>(1, quarter));
  const int64_t drawn = low + random.below(high - low + 1);
  const int64_t cut = std::min(text_.nearest_sentence_begin(drawn, low, high), window.end - 1);
  const bool wrong = random.uniform() < settings_.wrong_pair_share;
  const Stretch second =
      wrong ? elsewhere(random, document, window, window.end - cut) : Stretch{cut, window.end};
  PretrainingExample example{
      .input_ids = {cls_token_id_}, .token_type_ids = {0}, .next_sentence_label = wrong ? 1 : 0};
  append({window.begin, cut}, 0, example);
  append(second, 1, example);
  return example;
}

/// A document, without the window if it is the only one to choose from: the part that holds `position`.
DocumentDataset::Stretch DocumentDataset::free_stretch(int64_t position, Stretch window) const {
  const int64_t i = text_.document_of(position);
  const Stretch document{text_.document_begin(i), text_.document_end(i)};
  const bool holds_window = document.begin <= window.begin && window.end <= document.end;
  if (!holds_window) return document;
  if (position < window.begin) return {document.begin, window.begin};
  return {window.end, document.end};
}

/// At most `length` tokens from outside the document, from the beginning of a sentence if one is near; or, of
/// the only document, from outside the window.
DocumentDataset::Stretch DocumentDataset::elsewhere(RandomStream& random, Stretch document, Stretch window,
                                                    int64_t length) const {
  const Stretch avoided = regions_.size() == 1 ? window : document;
  int64_t position = 0;
  Stretch free{};
  do {
    position = random.below(static_cast<int64_t>(text_.tokens().size()));
    free = free_stretch(position, window);
    // Also not the [SEP] behind a document.
  } while ((position >= avoided.begin && position < avoided.end) || position >= free.end);
  const int64_t low = std::max(free.begin, position - length);
  const int64_t high = std::min(free.end - 1, position + length);
  const int64_t begin = text_.nearest_sentence_begin(position, low, high);
  return {begin, std::min(begin + length, free.end)};
}

PretrainingExample CorpusDataset::example(int64_t epoch, int64_t index) const {
  const CorpusExample example = corpus_.example(epoch, index);
  const bool is_pair = !example.text_pair.empty();
  Encoding encoding = is_pair ? tokenizer_.encode(example.text, example.text_pair, max_seq_length_)
                              : tokenizer_.encode(example.text, std::nullopt, max_seq_length_);
  return {.input_ids = std::move(encoding.input_ids),
          .token_type_ids = std::move(encoding.token_type_ids),
          .next_sentence_label = !is_pair             ? -1
                                 : example.wrong_pair ? 1
                                                      : 0};
}

}  // namespace normtune
