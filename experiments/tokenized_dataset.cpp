#include "experiments/tokenized_dataset.h"

#include <algorithm>

namespace normtune {

namespace {

std::vector<TextPair> texts_of(std::span<const Example> examples) {
  std::vector<TextPair> texts;
  texts.reserve(examples.size());
  for (const Example& example : examples) {
    TextPair& pair = texts.emplace_back(TextPair{.text = example.sentence1, .text_pair = std::nullopt});
    if (example.sentence2) pair.text_pair = *example.sentence2;
  }
  return texts;
}

}  // namespace

TokenizedDataset::TokenizedDataset(const Dataset& dataset, const Tokenizer& tokenizer, int64_t max_seq_length)
    : regression_(dataset.regression) {
  constexpr size_t chunk_size = 8192;  // bounds the memory of the uncompact encodings
  const std::span<const Example> examples = dataset.examples;
  for (size_t begin = 0; begin < examples.size(); begin += chunk_size) {
    const auto chunk = examples.subspan(begin, std::min(chunk_size, examples.size() - begin));
    for (const Encoding& encoding : tokenizer.encode_batch(texts_of(chunk), max_seq_length)) append(encoding);
    for (const Example& example : chunk) {
      labels_.push_back(example.label);
      targets_.push_back(example.target);
      has_pairs_ = has_pairs_ || example.sentence2.has_value();
    }
  }
  make_token_types();
}

void TokenizedDataset::append(const Encoding& encoding) {
  input_ids_.insert(input_ids_.end(), encoding.input_ids.begin(), encoding.input_ids.end());
  begin_.push_back(static_cast<int64_t>(input_ids_.size()));
  const auto zeros = std::count(encoding.token_type_ids.begin(), encoding.token_type_ids.end(), 0);
  first_segment_length_.push_back(static_cast<int32_t>(zeros));
  max_length_ = std::max(max_length_, static_cast<int64_t>(encoding.input_ids.size()));
}

void TokenizedDataset::make_token_types() {
  const auto length = static_cast<size_t>(max_length_);
  token_types_.assign(length, 0);
  token_types_.resize(2 * length, 1);
}

TokenizedExample TokenizedDataset::example(int64_t index) const {
  check(index >= 0 && index < size(), "tokenized data set: expected an index below {}, found {}", size(),
        index);
  const auto i = static_cast<size_t>(index);
  const auto begin = static_cast<size_t>(begin_[i]), length = static_cast<size_t>(begin_[i + 1]) - begin;
  const size_t types_begin = static_cast<size_t>(max_length_ - first_segment_length_[i]);
  return {.input_ids = std::span(input_ids_).subspan(begin, length),
          .token_type_ids = std::span(token_types_).subspan(types_begin, length),
          .example_id = index};
}

std::vector<int64_t> TokenizedDataset::lengths(std::span<const int64_t> indices) const {
  std::vector<int64_t> lengths;
  for (const int64_t index : indices) {
    lengths.push_back(static_cast<int64_t>(example(index).input_ids.size()));
  }
  return lengths;
}

PackedBatch TokenizedDataset::batch(std::span<const int64_t> indices, Device device, Padding padding) const {
  std::vector<TokenizedExample> examples;
  examples.reserve(indices.size());
  for (const int64_t index : indices) examples.push_back(example(index));
  return pack(examples, device, padding);
}

Tensor TokenizedDataset::labels(std::span<const int64_t> indices, DType dtype, Device device) const {
  const Shape shape{static_cast<int64_t>(indices.size())};
  if (!regression_) {
    std::vector<int32_t> classes;
    for (const int64_t index : indices) classes.push_back(labels_.at(static_cast<size_t>(index)));
    return Tensor::from_values(shape, classes, device);
  }
  return dispatch_floating(dtype, [&]<typename T>() {
    std::vector<T> scores;
    for (const int64_t index : indices) {
      scores.push_back(static_cast<T>(targets_.at(static_cast<size_t>(index))));
    }
    return Tensor::from_values(shape, scores, device);
  });
}

}  // namespace normtune
