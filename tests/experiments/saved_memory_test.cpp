#include <boost/test/unit_test.hpp>

#include "autograd/cross_entropy_loss.h"
#include "experiments/method.h"
#include "nn/initialization.h"

using namespace normtune;

namespace {

constexpr int64_t hidden_size = 96, num_layers = 6, seq_len = 40, batch_size = 5;

/// Bytes that a step with dropout keeps for backward, per token, layer and hidden unit.
double saved_bytes_per_unit(const std::string& method, bool last_layer_cls_only) {
  BertConfig config;
  config.vocab_size = 100;
  config.hidden_size = hidden_size;
  config.num_hidden_layers = num_layers;
  config.num_attention_heads = 4;
  config.intermediate_size = 4 * hidden_size;
  config.max_position_embeddings = 64;
  config.type_vocab_size = 2;
  Bert model(config, BertHead::classification);
  for (const Parameter& parameter : model.parameters()) initialize_parameter(parameter, config, 1);
  apply_method(model, {.method = method}, 1);
  model.set_last_layer_cls_only(last_layer_cls_only);

  const std::vector<int32_t> ids(seq_len, 7), types(seq_len, 0);
  std::vector<TokenizedExample> examples;
  for (int64_t i = 0; i < batch_size; ++i) examples.push_back({ids, types, i});
  const PackedBatch batch = pack(examples);
  const Variable logits = model.classify(batch, {.training = true, .dropout_seed = 1, .step = 0});
  const Variable loss =
      cross_entropy_loss(logits, Tensor::zeros({batch_size}, DType::int32), 1.0 / batch_size);
  const size_t saved = saved_bytes(loss, model.parameters().variables());
  return static_cast<double>(saved) / (seq_len * batch_size * num_layers * hidden_size);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(saved_memory)

// Needed in float32 without computing a product twice: the normalized rows of two LayerNorms (8), query, key
// and value (12), the activation's input or derivative (16): 36 bytes per hidden unit, and a few numbers per
// row.
BOOST_AUTO_TEST_CASE(layernorm_only_keeps_what_it_needs) {
  for (const char* method : {"layernorm", "layernorm-all", "layernorm-bias", "bitfit"}) {
    const double saved = saved_bytes_per_unit(method, false);
    BOOST_TEST_MESSAGE(method << ": " << saved << " H bytes per token and layer");
    BOOST_TEST(saved <= 38, method);
    BOOST_TEST(saved >= 28, method);  // less would mean that something was not measured
  }
}

BOOST_AUTO_TEST_CASE(the_first_layer_keeps_next_to_nothing_below_its_lowest_trained_tensor) {
  // All of layer 0 but its last LayerNorm lies below what `layernorm` trains.
  const double whole = saved_bytes_per_unit("layernorm-all", false),
               without = saved_bytes_per_unit("layernorm", false);
  BOOST_TEST(whole - without >= 30.0 / num_layers);
}

BOOST_AUTO_TEST_CASE(the_last_layer_keeps_keys_and_values_alone) {
  const double all_rows = saved_bytes_per_unit("layernorm-all", false);
  const double cls_only = saved_bytes_per_unit("layernorm-all", true);
  BOOST_TEST(all_rows - cls_only >= 26.0 / num_layers);
}

BOOST_AUTO_TEST_CASE(full_fine_tuning_also_keeps_the_inputs_of_its_weights) {
  const double saved = saved_bytes_per_unit("full", false);
  BOOST_TEST(saved <= 50);
  BOOST_TEST(saved > saved_bytes_per_unit("bitfit", false) + 10);
}

BOOST_AUTO_TEST_CASE(the_head_alone_keeps_nothing_of_the_encoder) {
  BOOST_TEST(saved_bytes_per_unit("head", true) < 0.1);
}

BOOST_AUTO_TEST_SUITE_END()
