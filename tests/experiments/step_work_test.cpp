#include "experiments/step_work.h"

#include <boost/test/unit_test.hpp>

#include "experiments/bench.h"
#include "experiments/method.h"

using namespace normtune;

namespace {

/// MFLOP per token of one step at 128 tokens a sequence, without the pooler and the head.
double mflop_per_token(const std::string& shape, const std::string& method, bool cls_only = false) {
  Bert model(bench_shape(shape), BertHead::classification);
  model.set_last_layer_cls_only(cls_only);
  apply_method(model, {.method = method}, 1);
  const std::vector<int64_t> lengths(1000, 128);
  const double head = 6.0 * 1000 * static_cast<double>(model.pooler().weight.tensor().numel());
  return (needed_step_flops(model, lengths) - head) / (1000.0 * 128) / 1e6;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(step_work)

// Per layer and token: linear forward 24 H^2, attention forward 4 S H; full training needs three times both,
// frozen weights two and three times, in the layers that backward reaches.
BOOST_AUTO_TEST_CASE(published_work_per_token) {
  BOOST_CHECK_CLOSE(mflop_per_token("base", "full"), 523.8, 0.1);
  BOOST_CHECK_CLOSE(mflop_per_token("base", "layernorm-all"), 353.9, 0.1);
  BOOST_CHECK_CLOSE(mflop_per_token("base", "layernorm"), 339.0, 0.1);
  BOOST_CHECK_CLOSE(mflop_per_token("large", "full"), 1849.7, 0.1);
  BOOST_CHECK_CLOSE(mflop_per_token("large", "layernorm"), 1219.5, 0.1);
  BOOST_CHECK_CLOSE(mflop_per_token("minilm", "layernorm") / mflop_per_token("minilm", "full"), 0.626, 0.5);
  // LoRA adds 1.8 to BitFit's step, but below its first layer nothing is trained: that layer's query, key and
  // value need no gradient of their input, 2 x 3 H^2 operations.
  const double saved = 2 * 3 * 768.0 * 768.0 / 1e6;
  BOOST_CHECK_CLOSE(mflop_per_token("base", "lora") - mflop_per_token("base", "bitfit") + saved, 1.8, 5);
}

BOOST_AUTO_TEST_CASE(the_last_layer_for_the_cls_rows_saves_what_it_should) {
  const double saved = 1 - mflop_per_token("base", "full", true) / mflop_per_token("base", "full");
  BOOST_TEST(saved > 0.06);
  BOOST_TEST(saved < 0.08);
}

// The vocabulary's product is needed for the masked rows only, three times as every trained layer.
BOOST_AUTO_TEST_CASE(pretraining_adds_its_heads) {
  BertConfig config = bench_shape("tiny");
  Bert model(config, BertHead::pretraining);
  apply_method(model, {.train_params = "*"}, 1);
  const std::vector<int64_t> lengths(10, 128);
  const auto flops = [&](int64_t num_masked, bool pairs) {
    return needed_pretraining_flops(model, lengths, num_masked, pairs);
  };
  const double h = 128, vocabulary = 30522;
  BOOST_CHECK_CLOSE(flops(200, false) - flops(0, false), 3 * 2 * 200 * (h * h + h * vocabulary), 1e-9);
  BOOST_CHECK_CLOSE(flops(200, true) - flops(200, false), 3 * 2 * 10 * (h * h + 2 * h), 1e-9);
  Bert classifier(config, BertHead::classification);
  classifier.set_last_layer_cls_only(false);
  apply_method(classifier, {.method = "full"}, 1);
  const double head = 3 * 2 * 10 * (h * h + 2 * h);
  BOOST_CHECK_CLOSE(flops(0, false), needed_step_flops(classifier, lengths) - head, 1e-9);
}

BOOST_AUTO_TEST_SUITE_END()
