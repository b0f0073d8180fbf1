#include "experiments/model_data.h"

namespace normtune {

TokenizedDataset tokenize(const Dataset& dataset, const Model& model, int64_t max_seq_length) {
  TokenizedDataset tokens(dataset, model.tokenizer, max_seq_length);
  if (tokens.has_pairs() && model.bert.config().type_vocab_size < 2) {
    fail(
        ErrorKind::model,
        "{}: the model has one token type (type_vocab_size 1), but the rows of {} have two texts; expected a "
        "model with two token types",
        model.folder.string(), dataset.files.front().string());
  }
  return tokens;
}

}  // namespace normtune
