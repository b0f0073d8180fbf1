#include "nn/packed_batch.h"

#include <boost/test/unit_test.hpp>

#include "autograd/cross_entropy_loss.h"
#include "nn/bert.h"
#include "nn/initialization.h"
#include "tests/nn/small_bert.h"
#include "tests/nn/tensor_helpers.h"

using namespace normtune;
using normtune::testing::equal_bits;

BOOST_AUTO_TEST_SUITE(packed_batch)

namespace {

const std::vector<int32_t> three_ids{2, 7, 3}, five_ids{2, 9, 4, 6, 3}, three_types{0, 0, 1},
    five_types{0, 0, 0, 1, 1};
const std::vector<TokenizedExample> examples{
    {three_ids, three_types, 12}, {five_ids, five_types, 7}, {three_ids, three_types, 1}};

std::vector<int32_t> ints(const Tensor& tensor) {
  return tensor.to_vector<int32_t>();
}

}  // namespace

BOOST_AUTO_TEST_CASE(sequences_lie_end_to_end) {
  const PackedBatch batch = pack(examples);
  BOOST_TEST(batch.batch_size == 3);
  BOOST_TEST(batch.total_tokens == 11);
  BOOST_TEST(ints(batch.input_ids) == (std::vector{2, 7, 3, 2, 9, 4, 6, 3, 2, 7, 3}));
  BOOST_TEST(ints(batch.token_type_ids) == (std::vector{0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 1}));
  BOOST_TEST(ints(batch.position_ids) == (std::vector{0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2}));
  BOOST_TEST(batch.example_ids.to_vector<int64_t>() ==
             (std::vector<int64_t>{12, 12, 12, 7, 7, 7, 7, 7, 1, 1, 1}));
  BOOST_TEST(ints(batch.cu_seqlens) == (std::vector{0, 3, 8, 11}));
  BOOST_TEST(ints(batch.cls_rows) == (std::vector{0, 3, 8}));
  BOOST_TEST(ints(batch.cls_cu_seqlens) == (std::vector{0, 1, 2, 3}));
}

BOOST_AUTO_TEST_CASE(inert_tokens_fill_a_bucket) {
  const PackedBatch batch = pack(examples, {}, Padding::to_bucket);
  BOOST_TEST(batch.batch_size == 3);
  BOOST_TEST(batch.total_tokens == 32);
  BOOST_TEST(batch.input_ids.numel() == 32);
  BOOST_TEST(ints(batch.cu_seqlens) == (std::vector{0, 3, 8, 11, 32}));
  BOOST_TEST(ints(batch.cls_rows) == (std::vector{0, 3, 8}));
  BOOST_TEST(ints(batch.cls_cu_seqlens) == (std::vector{0, 1, 2, 3, 3}));
  const std::vector<int32_t> long_ids(64, 5), long_types(64, 0);
  const PackedBatch full =
      pack(std::vector<TokenizedExample>{{long_ids, long_types, 0}}, {}, Padding::to_bucket);
  BOOST_TEST(full.total_tokens == 64);
  BOOST_TEST(ints(full.cu_seqlens) == (std::vector{0, 64, 64}));  // the same shapes without inert tokens
}

BOOST_AUTO_TEST_CASE(sizes_of_buckets) {
  for (const auto& [tokens, bucket] : std::vector<std::pair<int64_t, int64_t>>{{1, 32},
                                                                               {32, 32},
                                                                               {33, 64},
                                                                               {511, 512},
                                                                               {512, 512},
                                                                               {513, 544},
                                                                               {1024, 1024},
                                                                               {1025, 1088},
                                                                               {4096, 4096},
                                                                               {4097, 4352}}) {
    BOOST_TEST(bucket_size(tokens) == bucket, tokens << " tokens: " << bucket_size(tokens));
  }
}

namespace {

struct Results {
  Tensor logits;
  std::vector<NamedTensor> gradients;
};

Results compute(const Bert& model, Padding padding) {
  const PackedBatch batch = pack(examples, {}, padding);
  const Variable logits = model.classify(batch, {.training = true, .dropout_seed = 3, .step = 4});
  cross_entropy_loss(logits, Tensor::from_values({3}, std::vector<int32_t>{1, 0, 1}), 1.0 / 3).backward();
  Results results{.logits = logits.tensor(), .gradients = {}};
  for (const Parameter& parameter : model.parameters()) {
    Variable variable = parameter.variable;
    results.gradients.push_back({parameter.name, variable.grad()});
    variable.zero_grad();
  }
  return results;
}

}  // namespace

/// With dropout, in the last layer for all rows and for [CLS] alone.
BOOST_AUTO_TEST_CASE(no_result_depends_on_inert_tokens) {
  const BertConfig config = testing::small_bert_config();
  for (const bool last_layer_cls_only : {true, false}) {
    Bert model(config, BertHead::classification, DType::float32);
    model.set_last_layer_cls_only(last_layer_cls_only);
    for (const Parameter& parameter : model.parameters()) {
      initialize_parameter(parameter, config, 42);
      Variable(parameter.variable).set_requires_grad(true);
    }
    const Results expected = compute(model, Padding::none), found = compute(model, Padding::to_bucket);
    BOOST_TEST(equal_bits(found.logits, expected.logits));
    for (size_t i = 0; i < expected.gradients.size(); ++i) {
      BOOST_TEST(equal_bits(found.gradients[i].tensor, expected.gradients[i].tensor),
                 "the gradient of " << expected.gradients[i].name << " changed");
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
