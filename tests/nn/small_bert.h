#pragma once

#include "nn/bert_config.h"

namespace normtune::testing {

/// A BERT of two blocks whose every step a test can afford.
inline BertConfig small_bert_config() {
  BertConfig config;
  config.vocab_size = 20;
  config.hidden_size = 8;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 12;
  config.max_position_embeddings = 16;
  config.type_vocab_size = 2;
  return config;
}

}  // namespace normtune::testing
