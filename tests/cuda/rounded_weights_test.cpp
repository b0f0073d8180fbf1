#include <algorithm>
#include <limits>

#include "autograd/cross_entropy_loss.h"
#include "experiments/method.h"
#include "nn/bert.h"
#include "nn/optimizer.h"
#include "tensor/precision.h"
#include "tests/cuda/device_testing.h"
#include "tests/nn/oracle.h"
#include "tests/nn/small_bert.h"

using namespace normtune;
using namespace normtune::test;

/// Weights that train, kept rounded from step to step (Bert::hold_weights): every optimiser writes the
/// copies.
BOOST_AUTO_TEST_SUITE(rounded_weights)

namespace {

PackedBatch two_sequences(Device device) {
  static const std::vector<int32_t> ids = {2, 5, 6, 7, 3, 2, 9, 3}, types(8, 0);
  const std::vector<TokenizedExample> examples = {{std::span(ids).first(5), std::span(types).first(5), 0},
                                                  {std::span(ids).last(3), std::span(types).last(3), 1}};
  return pack(examples, device);
}

/// A small BERT that a method trains.
class TrainedBert {
 public:
  TrainedBert(const std::string& method, OptimizerKind kind, Device device = cuda_device)
      : model_(testing::small_bert_config(), BertHead::classification, DType::float32, device) {
    for (Parameter& parameter : model_.parameters()) {
      const Shape& shape = parameter.variable.shape();
      Tensor(parameter.variable.tensor())
          .copy_from(oracle::generated_weight(parameter.name, shape, DType::float32));
    }
    MethodOptions options;
    options.method = method;
    options.lora_r = 2;
    options.adapter_size = 3;
    optimizer_.emplace(apply_method(model_, options, /*init_seed=*/7),
                       OptimizerSettings{.kind = kind, .weight_decay = 0.1});
  }

  Bert& model() { return model_; }

  Variable logits(int64_t step) const {
    return model_.classify(two_sequences(model_.device()),
                           {.training = true, .dropout_seed = 3, .step = step});
  }

  void train(int64_t num_steps) {
    const Device device = model_.device();
    const Tensor labels = Tensor::from_values({2}, std::vector<int32_t>{0, 1}, device);
    const Tensor scale = Tensor::from_values(Shape{}, std::vector<double>{0.5}, device);
    for (int64_t step = 0; step < num_steps; ++step) {
      cross_entropy_loss(logits(step), labels, 0.5).backward();
      optimizer_->step(/*lr=*/0.05, scale);
      optimizer_->zero_grad();
    }
  }

  std::vector<Variable> with_copy() const {
    std::vector<Variable> found = model_.parameters().variables();
    std::erase_if(found, [](const Variable& variable) { return !variable.rounded_copy().defined(); });
    return found;
  }

  std::vector<std::vector<double>> values() const {
    std::vector<std::vector<double>> values;
    for (const Variable& variable : model_.parameters().variables()) {
      values.push_back(oracle::doubles(variable.tensor().to(Device{})));
    }
    return values;
  }

 private:
  Bert model_;
  std::optional<Optimizer> optimizer_;
};

/// Methods, and how many weights of the two blocks each trains: all six, or two low-rank updates of two
/// matrices, or two adapters of two.
const std::vector<std::pair<std::string, size_t>> methods = {
    {"full", 12}, {"random", 12}, {"lora", 8}, {"houlsby", 8}};

/// bf16 on the device while it lives.
class InBfloat16 {
 public:
  InBfloat16() { use_precision(Precision::bf16, cuda_device); }
  ~InBfloat16() { use_precision(Precision::fp32, cuda_device); }
  InBfloat16(const InBfloat16&) = delete;
  InBfloat16& operator=(const InBfloat16&) = delete;
};

}  // namespace

BOOST_AUTO_TEST_CASE(training_has_the_bits_of_rounding_in_every_step) {
  if (!device_at_hand()) return;
  const InBfloat16 precision;
  for (const auto& [method, num_copies] : methods) {
    for (const OptimizerKind kind :
         {OptimizerKind::adamw_torch, OptimizerKind::adamw_bert, OptimizerKind::sgd}) {
      BOOST_TEST_CONTEXT(method << ", optimiser " << static_cast<int>(kind)) {
        TrainedBert plain(method, kind), keeping(method, kind);
        const std::vector<std::vector<double>> before = plain.values();
        plain.train(3);
        BOOST_TEST(plain.with_copy().empty());
        BOOST_CHECK(plain.values() != before);

        auto held = keeping.model().hold_weights();
        keeping.train(3);
        BOOST_CHECK(keeping.values() == plain.values());
        const std::vector<Variable> with_copy = keeping.with_copy();
        BOOST_TEST(with_copy.size() == num_copies);
        for (const Variable& weight : with_copy) {
          BOOST_CHECK(floats_of(weight.rounded_copy()) == floats_of(weight.tensor().to(DType::bfloat16)));
        }
        held.clear();
        BOOST_TEST(keeping.with_copy().empty());
      }
    }
  }
}

/// No step rounds such a weight again: changing it, which only an optimiser may do, changes no logits.
BOOST_AUTO_TEST_CASE(products_read_the_copies) {
  if (!device_at_hand()) return;
  const InBfloat16 precision;
  for (const auto& [method, num_copies] : methods) {
    for (const bool cls_only : {false, true}) {
      BOOST_TEST_CONTEXT(method << (cls_only ? ", [CLS] rows only" : "")) {
        TrainedBert bert(method, OptimizerKind::adamw_torch);
        bert.model().set_last_layer_cls_only(cls_only);
        const auto held = bert.model().hold_weights();
        const std::vector<float> before = floats_of(bert.logits(5).tensor());
        for (const Variable& weight : bert.with_copy()) {
          Tensor(weight.tensor()).fill(std::numeric_limits<double>::quiet_NaN());
        }
        BOOST_CHECK(floats_of(bert.logits(5).tensor()) == before);
      }
    }
  }
}

/// The values of frozen weights leave the device; logits, gradients and the model that is saved stay.
BOOST_AUTO_TEST_CASE(frozen_weights_are_left_rounded) {
  if (!device_at_hand()) return;
  const InBfloat16 precision;
  const Allocator& allocator = backend_of(cuda_device).allocator();
  for (const std::string method : {"layernorm", "bitfit", "lora", "houlsby", "full"}) {
    for (const bool cls_only : {false, true}) {
      BOOST_TEST_CONTEXT(method << (cls_only ? ", [CLS] rows only" : "")) {
        TrainedBert plain(method, OptimizerKind::adamw_torch), rounded(method, OptimizerKind::adamw_torch);
        plain.model().set_last_layer_cls_only(cls_only);
        rounded.model().set_last_layer_cls_only(cls_only);
        const std::vector<std::vector<double>> before = rounded.values();
        const size_t bytes_before = allocator.stats().in_use;
        rounded.model().leave_frozen_weights_rounded();
        BOOST_TEST((allocator.stats().in_use < bytes_before) == (method != "full"));
        BOOST_CHECK(rounded.values() == before);

        const auto held = rounded.model().hold_weights();
        plain.train(3);
        rounded.train(3);
        BOOST_CHECK(rounded.values() == plain.values());
        BOOST_CHECK(floats_of(rounded.logits(9).tensor()) == floats_of(plain.logits(9).tensor()));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(weights_on_the_host_are_refused_beside_float32) {
  if (!device_at_hand()) return;
  TrainedBert bert("layernorm", OptimizerKind::adamw_torch);
  {
    const InBfloat16 precision;
    bert.model().leave_frozen_weights_rounded();
  }
  BOOST_CHECK_EXCEPTION(bert.logits(0), std::invalid_argument, [](const std::exception& error) {
    return std::string(error.what()) == "weights: expected on cuda:0, where the input is, found on cpu";
  });
}

BOOST_AUTO_TEST_CASE(nothing_is_kept_where_activations_are_float32) {
  if (!device_at_hand()) return;
  for (const Device device : {Device{}, cuda_device}) {
    TrainedBert bert("full", OptimizerKind::adamw_torch, device);
    const auto held = bert.model().hold_weights();
    bert.model().leave_frozen_weights_rounded();
    BOOST_TEST(bert.with_copy().empty());
  }
}

BOOST_AUTO_TEST_SUITE_END()
