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

BOOST_AUTO_TEST_SUITE_END()
