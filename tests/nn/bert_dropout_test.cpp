#include <boost/test/unit_test.hpp>
#include <cmath>

#include "autograd/activation.h"
#include "autograd/add.h"
#include "autograd/dropout.h"
#include "autograd/embeddings_layer_norm.h"
#include "autograd/gather_rows.h"
#include "autograd/layer_norm.h"
#include "autograd/linear.h"
#include "autograd/packed_attention.h"
#include "nn/bert.h"
#include "nn/initialization.h"
#include "tests/nn/small_bert.h"

using namespace normtune;

namespace {

BertConfig one_block_with_dropout() {
  BertConfig config = testing::small_bert_config();
  config.num_hidden_layers = 1;
  config.hidden_dropout_prob = 0.4;
  config.attention_probs_dropout_prob = 0.3;
  config.classifier_dropout = 0.5;
  config.initializer_range = 0.5;
  return config;
}

/// One block and the classifier written out op by op, with the published number of each place that drops
/// values: embeddings 0, pooled output 1, and 16, 17, 18 for attention, its output and the feed-forward
/// output of layer 0.
class WrittenOut {
 public:
  WrittenOut(const Bert& model, const PackedBatch& batch, const ForwardContext& context)
      : model_(model), batch_(batch), context_(context) {}

  Variable logits() const {
    const Variable hidden = embeddings();
    const Variable context_layer = attention(hidden);
    const Variable attended = block_end(context_layer, hidden, "attention.output", 17);
    const Variable intermediate = activation(
        linear(attended, weight("intermediate.dense"), bias("intermediate.dense")), Activation::gelu);
    const Variable output = block_end(intermediate, attended, "output", 18);
    const Variable cls = gather_rows(output, batch_.cls_rows);
    const Variable pooled = tanh(linear(cls, at("bert.pooler.dense.weight"), at("bert.pooler.dense.bias")));
    return linear(dropout(pooled, mask(0.5, 1, cls_rows(batch_))), at("classifier.weight"),
                  at("classifier.bias"));
  }

 private:
  Variable at(const std::string& name) const { return model_.parameters().at(name).variable; }
  Variable weight(const std::string& path) const { return at("bert.encoder.layer.0." + path + ".weight"); }
  Variable bias(const std::string& path) const { return at("bert.encoder.layer.0." + path + ".bias"); }
  DropoutMask mask(double probability, int32_t site, const RowIndex& rows) const {
    return {.probability = probability,
            .key = dropout_key(context_.dropout_seed, context_.step, site),
            .example_ids = rows.example_ids,
            .positions = rows.positions};
  }

  Variable embeddings() const {
    return embeddings_layer_norm(
        at("bert.embeddings.word_embeddings.weight"), at("bert.embeddings.position_embeddings.weight"),
        at("bert.embeddings.token_type_embeddings.weight"), batch_.input_ids, batch_.position_ids,
        batch_.token_type_ids, at("bert.embeddings.LayerNorm.weight"), at("bert.embeddings.LayerNorm.bias"),
        1e-12, mask(0.4, 0, all_rows(batch_)), 0);
  }
  Variable attention(const Variable& hidden) const {
    const std::string self = "attention.self.";
    const Variable qkv =
        linear(hidden, {weight(self + "query"), weight(self + "key"), weight(self + "value")},
               {bias(self + "query"), bias(self + "key"), bias(self + "value")});
    return packed_self_attention(qkv, batch_.cu_seqlens, 2, mask(0.3, 16, all_rows(batch_)));
  }
  Variable block_end(const Variable& input, const Variable& residual, const std::string& path,
                     int32_t site) const {
    const Variable dense = linear(input, weight(path + ".dense"), bias(path + ".dense"));
    const Variable sum = add(dropout(dense, mask(0.4, site, all_rows(batch_))), residual);
    return layer_norm(sum, weight(path + ".LayerNorm"), bias(path + ".LayerNorm"), 1e-12);
  }

  const Bert& model_;
  const PackedBatch& batch_;
  const ForwardContext& context_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(bert_dropout)

BOOST_AUTO_TEST_CASE(every_place_drops_by_its_own_number) {
  Bert model(one_block_with_dropout(), BertHead::classification, DType::float64);
  for (const Parameter& parameter : model.parameters()) initialize_parameter(parameter, model.config(), 1);
  const std::vector<int32_t> ids = {2, 7, 9, 11, 3, 12}, types = {0, 0, 0, 1, 1, 1};
  const std::vector<TokenizedExample> examples = {{ids, types, 4},
                                                  {std::span(ids).first(3), std::span(types).first(3), 9}};
  const PackedBatch batch = pack(examples);
  const ForwardContext context{.training = true, .dropout_seed = 5, .step = 3};
  const std::vector<double> expected =
      WrittenOut(model, batch, context).logits().tensor().to_vector<double>();
  for (const bool cls_only : {false, true}) {
    model.set_last_layer_cls_only(cls_only);
    const std::vector<double> logits = model.classify(batch, context).tensor().to_vector<double>();
    for (size_t i = 0; i < expected.size(); ++i) BOOST_CHECK_LE(std::abs(logits[i] - expected[i]), 1e-12);
  }
}

BOOST_AUTO_TEST_SUITE_END()
