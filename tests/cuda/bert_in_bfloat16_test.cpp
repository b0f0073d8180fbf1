#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "autograd/cross_entropy_loss.h"
#include "nn/bert.h"
#include "tensor/precision.h"
#include "tests/cuda/device_testing.h"
#include "tests/nn/oracle.h"

using namespace normtune;
using namespace normtune::test;

/// A whole model beside the CPU's in float32: with bf16 a device keeps activations and their gradients in
/// bfloat16.
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

/// Of relative errors (L2): `gradient` of each, `gradients` of all of them together. The key's bias has no
/// gradient in mathematics: `key_bias` bounds its norm, in norms of the query's.
struct ModelBounds {
  double logits, loss, gradient, gradients, key_bias;
};
constexpr ModelBounds as_in_float32{1e-5, 1e-5, 1e-4, 1e-5, 1e-5}, near_float32{2e-2, 1e-2, 2e-1, 5e-2, 2e-1},
    with_tf32{5e-3, 1e-3, 1e-2, 1e-2, 1e-5};  // attention is in float32

double norm_of(const Results& results, const std::string& name) {
  const auto& gradients = results.gradients;
  const auto found = std::ranges::find(gradients, name, [](const auto& gradient) { return gradient.first; });
  return std::sqrt(
      std::inner_product(found->second.begin(), found->second.end(), found->second.begin(), 0.0));
}

void check_gradients(const Results& found, const Results& expected, const ModelBounds& bounds) {
  std::vector<double> all_found, all_expected;
  for (size_t i = 0; i < expected.gradients.size(); ++i) {
    const auto& [name, gradient] = expected.gradients[i];
    const std::vector<double>& own = found.gradients[i].second;
    all_found.insert(all_found.end(), own.begin(), own.end());
    all_expected.insert(all_expected.end(), gradient.begin(), gradient.end());
    BOOST_TEST_CONTEXT(name) {
      if (oracle::is_key_bias(name)) {
        const double query = norm_of(expected, oracle::query_bias_of(name));
        BOOST_TEST(norm_of(found, name) <= bounds.key_bias * query);
      } else {
        BOOST_TEST(oracle::relative_l2_error(own, gradient) <= bounds.gradient);
      }
    }
  }
  BOOST_TEST(oracle::relative_l2_error(all_found, all_expected) <= bounds.gradients);
}

void check_model(Precision precision, const ModelBounds& bounds) {
  for (const int64_t head_size : {32, 12}) {
    for (const bool last_layer_cls_only : {true, false}) {
      for (const Trained trained : {Trained::all, Trained::vectors}) {
        BOOST_TEST_CONTEXT("heads of " << head_size << ", [CLS] rows only: " << last_layer_cls_only
                                       << ", all trained: " << (trained == Trained::all)) {
          const BertConfig config = config_with(head_size);
          const Results expected = compute(config, last_layer_cls_only, trained, {}, Precision::fp32);
          const Results found = compute(config, last_layer_cls_only, trained, cuda_device, precision);
          BOOST_TEST(oracle::relative_l2_error(found.logits, expected.logits) <= bounds.logits);
          BOOST_TEST(std::abs(found.loss - expected.loss) <= bounds.loss * std::abs(expected.loss));
          check_gradients(found, expected, bounds);
        }
      }
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(logits_loss_and_gradients_are_near_float32) {
  if (device_at_hand()) check_model(Precision::bf16, near_float32);
}

BOOST_AUTO_TEST_CASE(in_float32_they_are_the_cpus) {
  if (device_at_hand()) check_model(Precision::fp32, as_in_float32);
}

BOOST_AUTO_TEST_CASE(with_products_in_tf32_they_are_near_float32) {
  if (tf32_at_hand()) check_model(Precision::tf32, with_tf32);
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
