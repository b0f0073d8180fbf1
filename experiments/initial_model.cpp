#include "experiments/initial_model.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "experiments/atomic_folder.h"
#include "experiments/document_text.h"
#include "nn/json_file.h"
#include "nn/wordpiece_trainer.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

int64_t num_positions(const PretrainOptions& options) {
  return options.max_position_embeddings.value_or(std::max<int64_t>(128, options.max_seq_length));
}

WordCounter count_words(const PretrainOptions& options, const PretrainingCorpus* corpus) {
  constexpr int64_t most_examples = 100'000;  // a generator's words have all come up long before
  WordCounter counter({.strip_accents = options.do_lower_case, .lowercase = options.do_lower_case});
  if (corpus == nullptr) {
    read_paragraphs(options.train_files, [&](bool, std::string_view text) { counter.add(text); });
    return counter;
  }
  for (int64_t i = 0; i < std::min(most_examples, corpus->size()); ++i) {
    const CorpusExample example = corpus->example(0, i);
    counter.add(example.text);
    counter.add(example.text_pair);
  }
  return counter;
}

/// The pieces of a new model's vocabulary, and where they come from.
struct NewVocabulary {
  std::vector<std::string> tokens;
  std::string description;
};

NewVocabulary make_vocabulary(const PretrainOptions& options, const PretrainingCorpus* corpus) {
  const std::vector<std::string> pieces = corpus == nullptr ? std::vector<std::string>() : corpus->pieces();
  if (!pieces.empty()) {
    return {with_special_tokens(pieces), fmt::format("{} pieces that the corpus brings", pieces.size() + 5)};
  }
  const WordCounter counter = count_words(options, corpus);
  NewVocabulary vocabulary{.tokens = train_wordpiece(counter.counts(), {.vocab_size = options.vocab_size}),
                           .description = ""};
  vocabulary.description = fmt::format("{} pieces learned from {} different words", vocabulary.tokens.size(),
                                       counter.counts().size());
  if (static_cast<int64_t>(vocabulary.tokens.size()) < options.vocab_size) {
    vocabulary.description += fmt::format(
        " (fewer than --vocab_size {}: no other pair of pieces occurs twice)", options.vocab_size);
  }
  return vocabulary;
}

nlohmann::json config_json(const PretrainOptions& options, size_t vocab_size) {
  return {{"architectures", {"BertForPreTraining"}},
          {"attention_probs_dropout_prob", options.attention_probs_dropout_prob.value_or(0.1)},
          {"classifier_dropout", nullptr},
          {"hidden_act", "gelu"},
          {"hidden_dropout_prob", options.hidden_dropout_prob.value_or(0.1)},
          {"hidden_size", options.hidden_size},
          {"initializer_range", options.initializer_range},
          {"intermediate_size", options.intermediate_size},
          {"layer_norm_eps", 1e-12},
          {"max_position_embeddings", num_positions(options)},
          {"model_type", "bert"},
          {"num_attention_heads", options.num_attention_heads},
          {"num_hidden_layers", options.num_hidden_layers},
          {"pad_token_id", 0},
          {"position_embedding_type", "absolute"},
          {"torch_dtype", "float32"},
          {"type_vocab_size", 2},
          {"vocab_size", vocab_size}};
}

}  // namespace

std::string write_initial_model(const fs::path& folder, const PretrainOptions& options) {
  const NewVocabulary vocabulary =
      make_vocabulary(options, options.corpora ? options.corpora->train.get() : nullptr);
  AtomicFolder whole(folder);
  write_wordpiece_files(whole.temporary(), vocabulary.tokens, options.do_lower_case, num_positions(options));
  write_json_file(whole.temporary() / "config.json", config_json(options, vocabulary.tokens.size()));
  whole.commit();
  return vocabulary.description;
}

}  // namespace normtune
