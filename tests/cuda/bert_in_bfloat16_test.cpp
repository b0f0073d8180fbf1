#include <cmath>
#include <functional>
#include <limits>

#include "autograd/cross_entropy_loss.h"
#include "nn/bert.h"
#include "tensor/precision.h"
#include "tests/cuda/device_testing.h"
#include "tests/nn/oracle.h"

using namespace normtune;
using namespace normtune::test;

/// A whole model: with bf16 a device keeps activations and their gradients in bfloat16, the CPU computes in
/// float32 beside it.
BOOST_AUTO_TEST_SUITE(bert_in_bfloat16)

namespace {

/// Heads of 32 channels, which tensor cores take, or of 12, which they do not.
BertConfig config_with(int64_t head_size) {
  BertConfig config;
  config.vocab_size = 50;
  config.hidden_size = 2 * head_size;
  config.num_attention_heads = 2;
  config.num_hidden_layers = 3;
  config.intermediate_size = 4 * head_size;
  config.max_position_embeddings = 80;
  config.type_vocab_size = 2;
  return config;
}

/// Sequences of one tile of attention and of two, and one of a single token.
PackedBatch batch_on(Device device) {
  CaseRandom random(5);
  std::vector<std::vector<int32_t>> ids, types;
  std::vector<TokenizedExample> examples;
  for (const int64_t length : {17, 1, 70, 30}) {
    ids.push_back(random.int32s(length, 0, 49).to_vector<int32_t>());
    types.push_back(random.int32s(length, 0, 1).to_vector<int32_t>());
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    examples.push_back(
        {.input_ids = ids[i], .token_type_ids = types[i], .example_id = static_cast<int64_t>(i)});
  }
  return pack(examples, device);
}

struct Results {
  std::vector<double> logits;
  double loss;
  std::vector<std::pair<std::string, std::vector<double>>> gradients;
};

/// all: every parameter; vectors: gains and biases, as in LayerNorm tuning and BitFit.
enum class Trained { all, vectors };

/// `between` is done to the model after forward and before backward.
Results compute(
    const BertConfig& config, bool last_layer_cls_only, Trained trained, Device device, Precision precision,
    const std::function<void(Bert&)>& between = [](Bert&) {}) {
  Bert model(config, BertHead::classification, use_precision(precision, device), device);
  model.set_last_layer_cls_only(last_layer_cls_only);
  for (Parameter& parameter : model.parameters()) {
    const Tensor weight =
        oracle::generated_weight(parameter.name, parameter.variable.shape(), DType::float32);
    Tensor value = parameter.variable.tensor();
    value.copy_from(weight);
    parameter.variable.set_requires_grad(trained == Trained::all || weight.shape().rank() == 1);
  }
  const ForwardContext context{.training = true, .dropout_seed = 3, .step = 2};
  const Variable logits = model.classify(batch_on(device), context);
  const Tensor labels = Tensor::from_values({4}, std::vector<int32_t>{0, 1, 1, 0}, device);
  const Variable loss = cross_entropy_loss(logits, labels, 0.25);
  between(model);
  loss.backward();
  use_precision(Precision::fp32, device);
  const auto doubles = [](const Tensor& tensor) { return oracle::doubles(tensor.to(Device{})); };
  Results results{doubles(logits.tensor()), loss.tensor().item(), {}};
  for (const Parameter& parameter : model.parameters()) {
    BOOST_CHECK(parameter.variable.has_grad() == parameter.variable.requires_grad());
    if (!parameter.variable.has_grad()) continue;
    BOOST_CHECK(parameter.variable.grad().dtype() == DType::float32);
    results.gradients.emplace_back(parameter.name, doubles(parameter.variable.grad()));
  }
  return results;
}

/// Relative L2 of each gradient at most 2e-1, of all of them together at most 5e-2.
void check_gradients(const Results& found, const Results& expected) {
  std::vector<double> all_found, all_expected;
  for (size_t i = 0; i < expected.gradients.size(); ++i) {
    const auto& [name, gradient] = expected.gradients[i];
    const std::vector<double>& own = found.gradients[i].second;
    all_found.insert(all_found.end(), own.begin(), own.end());
    all_expected.insert(all_expected.end(), gradient.begin(), gradient.end());
    if (oracle::is_key_bias(name)) continue;  // rounding noise
    BOOST_TEST_CONTEXT(name)
    BOOST_TEST(oracle::relative_l2_error(own, gradient) <= 2e-1);
  }
  BOOST_TEST(oracle::relative_l2_error(all_found, all_expected) <= 5e-2);
}

}  // namespace

BOOST_AUTO_TEST_CASE(logits_loss_and_gradients_are_near_float32) {
  if (!device_at_hand()) return;
  for (const int64_t head_size : {32, 12}) {
    for (const bool last_layer_cls_only : {true, false}) {
      for (const Trained trained : {Trained::all, Trained::vectors}) {
        BOOST_TEST_CONTEXT("heads of " << head_size << ", [CLS] rows only: " << last_layer_cls_only
                                       << ", all trained: " << (trained == Trained::all)) {
          const BertConfig config = config_with(head_size);
          const Results expected = compute(config, last_layer_cls_only, trained, {}, Precision::fp32);
          const Results found = compute(config, last_layer_cls_only, trained, cuda_device, Precision::bf16);
          BOOST_TEST(oracle::relative_l2_error(found.logits, expected.logits) <= 2e-2);
          BOOST_TEST(std::abs(found.loss - expected.loss) <= 1e-2 * std::abs(expected.loss));
          check_gradients(found, expected);
        }
      }
    }
  }
}

/// Every weight between embeddings and heads is rounded in forward alone: changing it before backward, which
/// nobody may do, changes no gradient.
BOOST_AUTO_TEST_CASE(backward_rounds_no_weight) {
  if (!device_at_hand()) return;
  const auto change_weights = [](Bert& model) {
    for (Parameter& parameter : model.parameters()) {
      const bool is_weight = parameter.variable.shape().rank() == 2;
      if (is_weight && parameter.name.find("encoder") != std::string::npos) {
        Tensor(parameter.variable.tensor()).fill(std::numeric_limits<double>::quiet_NaN());
      }
    }
  };
  for (const bool last_layer_cls_only : {true, false}) {
    const auto gradients = [&](auto... between) {
      return compute(config_with(12), last_layer_cls_only, Trained::all, cuda_device, Precision::bf16,
                     between...)
          .gradients;
    };
    BOOST_CHECK(gradients(change_weights) == gradients());
  }
}

BOOST_AUTO_TEST_SUITE_END()
