#include <boost/test/unit_test.hpp>

#include "autograd/linear.h"
#include "autograd/sum.h"
#include "nn/bert.h"
#include "nn/initialization.h"
#include "tests/nn/small_bert.h"
#include "tests/nn/tensor_helpers.h"

using namespace normtune;
using normtune::testing::equal_bits;

/// Bert::hold_frozen_weights().
BOOST_AUTO_TEST_SUITE(frozen_weights)

namespace {

Bert random_model() {
  Bert model(testing::small_bert_config(), BertHead::classification);
  for (const Parameter& parameter : model.parameters()) initialize_parameter(parameter, model.config(), 7);
  return model;
}

PackedBatch two_sequences() {
  const std::vector<int32_t> ids = {2, 5, 6, 7, 3, 2, 9, 3}, types(8, 0);
  const std::vector<TokenizedExample> examples = {{std::span(ids).first(5), std::span(types).first(5), 0},
                                                  {std::span(ids).last(3), std::span(types).last(3), 1}};
  return pack(examples);
}

/// Logits, and the gradients of all that is trainable.
std::vector<Tensor> results_of(Bert& model) {
  const Variable logits = model.classify(two_sequences(), {.training = true, .dropout_seed = 3, .step = 4});
  sum(logits).backward();
  std::vector<Tensor> results{logits.tensor()};
  for (Parameter& parameter : model.parameters()) {
    if (!parameter.variable.requires_grad()) continue;
    results.push_back(parameter.variable.grad());
    parameter.variable.zero_grad();
  }
  return results;
}

bool is_weight_of(const Parameter& parameter, const std::string& part) {
  return parameter.name.find(part) != std::string::npos;
}

}  // namespace

BOOST_AUTO_TEST_CASE(results_keep_their_bits) {
  for (const bool cls_only : {false, true}) {
    for (const std::string trained : {"LayerNorm", "query", "output.dense"}) {
      BOOST_TEST_CONTEXT(trained << (cls_only ? ", [CLS] rows only" : "")) {
        Bert model = random_model();
        model.set_last_layer_cls_only(cls_only);
        for (Parameter& parameter : model.parameters()) {
          parameter.variable.set_requires_grad(is_weight_of(parameter, trained));
        }
        const std::vector<Tensor> expected = results_of(model);
        BOOST_REQUIRE(expected.size() > 2);
        const auto held = model.hold_frozen_weights();
        BOOST_TEST(!held.empty());
        const std::vector<Tensor> found = results_of(model);
        for (size_t i = 0; i < expected.size(); ++i) BOOST_TEST(equal_bits(found[i], expected[i]), i);
      }
    }
  }
}

/// Every frozen product of a step reads a form that is held: changing the weights, which nobody may do,
/// changes neither logits nor the gradients below all layers.
BOOST_AUTO_TEST_CASE(all_frozen_products_are_held) {
  for (const bool cls_only : {false, true}) {
    Bert model = random_model();
    model.set_last_layer_cls_only(cls_only);
    for (Parameter& parameter : model.parameters()) {
      parameter.variable.set_requires_grad(is_weight_of(parameter, "embeddings.LayerNorm"));
    }
    const std::vector<Tensor> before = results_of(model);
    const auto held = model.hold_frozen_weights();
    BOOST_TEST(held.size() == 2 * (cls_only ? 10U : 9U));
    for (Parameter& parameter : model.parameters()) {
      const bool is_factor =
          is_weight_of(parameter, "encoder") || is_weight_of(parameter, "pooler.dense.weight");
      if (!is_factor || parameter.variable.shape().rank() != 2) continue;
      Tensor weight = parameter.variable.tensor();
      weight.fill(0);
    }
    const std::vector<Tensor> after = results_of(model);
    for (size_t i = 0; i < before.size(); ++i) BOOST_TEST(equal_bits(after[i], before[i]), i);
  }
}

BOOST_AUTO_TEST_CASE(trained_weights_are_not_held) {
  Bert model = random_model();
  for (Parameter& parameter : model.parameters()) parameter.variable.set_requires_grad(true);
  BOOST_TEST(model.hold_frozen_weights().empty());
  BOOST_CHECK_THROW(hold_constant_weights({model.pooler().weight}, Pass::forward), std::invalid_argument);
}

BOOST_AUTO_TEST_SUITE_END()
