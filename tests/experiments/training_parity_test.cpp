// Short fine-tuning runs against PyTorch (tests/files/bert/README.md): loss, learning rate and gradient norm
// of each update, and the trained weights at the end.

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "autograd/cross_entropy_loss.h"
#include "experiments/method.h"
#include "nn/bert.h"
#include "nn/json_file.h"
#include "nn/optimizer.h"
#include "tests/nn/oracle.h"

using namespace normtune;
using namespace normtune::oracle;
namespace data = boost::unit_test::data;

namespace {

const std::vector<std::string> training_runs = {"train_full",
                                                "train_layernorm",
                                                "train_bitfit",
                                                "train_lora",
                                                "train_houlsby",
                                                "train_pfeiffer",
                                                "train_adamw_hf",
                                                "train_adamw_bert",
                                                "train_sgd",
                                                "train_accumulation",
                                                "train_accumulation_ragged"};
const std::vector<std::string> training_precisions = {"float32", "float64"};

nlohmann::json recorded_options(const std::string& run) {
  return read_json_file(recorded_cases / (run + ".json"), ErrorKind::model).at("recorded").at("options");
}

MethodOptions method_options(const nlohmann::json& options) {
  MethodOptions method;
  method.method = options.at("method").get<std::string>();
  method.lora_r = options.value("lora_r", method.lora_r);
  method.lora_alpha = options.value("lora_alpha", method.lora_alpha);
  if (options.contains("adapter_size")) method.adapter_size = options.at("adapter_size").get<int64_t>();
  return method;
}

OptimizerKind optimizer_kind(const std::string& name) {
  if (name == "adamw_hf") return OptimizerKind::adamw_hf;
  if (name == "adamw_bert") return OptimizerKind::adamw_bert;
  return name == "sgd" ? OptimizerKind::sgd : OptimizerKind::adamw_torch;
}

ScheduleKind schedule_kind(const std::string& name) {
  if (name == "cosine") return ScheduleKind::cosine;
  return name == "constant" ? ScheduleKind::constant : ScheduleKind::linear;
}

OptimizerSettings optimizer_settings(const nlohmann::json& options) {
  return {.kind = optimizer_kind(options.at("optim")),
          .beta1 = options.at("adam_beta1"),
          .beta2 = options.at("adam_beta2"),
          .eps = options.at("adam_epsilon"),
          .weight_decay = options.at("weight_decay")};
}

/// The micro-batches of each update: examples in order, epoch after epoch; the last ones of an epoch may be
/// smaller or fewer.
std::vector<std::vector<std::vector<int64_t>>> schedule_updates(int64_t num_examples,
                                                                const nlohmann::json& options) {
  const int64_t batch_size = options.at("per_device_train_batch_size");
  const size_t accumulation = options.at("gradient_accumulation_steps");
  const size_t max_steps = options.at("max_steps");
  std::vector<std::vector<std::vector<int64_t>>> updates;
  while (updates.size() < max_steps) {
    updates.emplace_back();
    for (int64_t begin = 0; begin < num_examples; begin += batch_size) {
      if (updates.back().size() == accumulation) updates.emplace_back();
      std::vector<int64_t> examples;
      for (int64_t i = begin; i < std::min(begin + batch_size, num_examples); ++i) examples.push_back(i);
      updates.back().push_back(std::move(examples));
    }
  }
  updates.resize(max_steps);
  return updates;
}

/// The loop that the recording script has, on our model and optimizer.
class TrainingLoop {
 public:
  TrainingLoop(const Case& recorded, const nlohmann::json& options, DType dtype)
      : recorded_(recorded),
        options_(options),
        model_(generated_model(recorded.config, dtype)),
        trainable_(prepare(model_, options)),
        optimizer_(trainable_, optimizer_settings(options)),
        labels_(recorded.integers("labels")) {}

  void run() {
    const LearningRateSchedule schedule{.kind = schedule_kind(options_.at("lr_scheduler_type")),
                                        .warmup_steps = options_.at("warmup_steps"),
                                        .total_steps = options_.at("max_steps")};
    const double learning_rate = options_.at("learning_rate");
    for (const auto& micro_batches : schedule_updates(recorded_.num_examples(), options_)) {
      losses.push_back(backward(micro_batches));
      grad_norms.push_back(norm_of_parts(optimizer_.squared_gradient_norms()));
      learning_rates.push_back(learning_rate * schedule.factor(static_cast<int64_t>(learning_rates.size())));
      // torch.nn.utils.clip_grad_norm_ adds 1e-6 to the norm.
      const double clip = options_.at("max_grad_norm").get<double>() / (grad_norms.back() + 1e-6);
      optimizer_.step(learning_rates.back(), Tensor::full({}, std::min(1.0, clip), DType::float64));
      optimizer_.zero_grad();
    }
  }

  const std::vector<TrainableTensor>& trainable() const { return trainable_; }

  std::vector<double> losses, learning_rates, grad_norms;

 private:
  static Bert generated_model(const BertConfig& config, DType dtype) {
    Bert model(config, BertHead::classification, dtype);
    for (const Parameter& parameter : model.parameters()) fill_with_generated_weight(parameter);
    return model;
  }

  static bool is_inserted(const std::string& name) {
    return name.find(".lora_") != std::string::npos || name.find(".adapters.") != std::string::npos;
  }

  static std::vector<TrainableTensor> prepare(Bert& model, const nlohmann::json& options) {
    std::vector<TrainableTensor> trainable = apply_method(model, method_options(options), /*init_seed=*/1);
    for (TrainableTensor& tensor : trainable) {
      if (!is_inserted(tensor.name)) continue;
      Tensor value = tensor.variable.tensor();
      value.copy_from(generated_weight(tensor.name, value.shape(), value.dtype()));
    }
    return trainable;
  }

  /// Adds up the gradients of the mean over all examples of an update, and returns that mean loss.
  double backward(const std::vector<std::vector<int64_t>>& micro_batches) {
    size_t num_examples = 0;
    for (const auto& examples : micro_batches) num_examples += examples.size();
    double loss_sum = 0;
    for (const auto& examples : micro_batches) {
      const Variable logits = model_.classify(recorded_.batch(examples), {.training = true});
      const Variable loss = cross_entropy_loss(logits, select_labels(labels_, examples),
                                               1.0 / static_cast<double>(num_examples));
      loss.backward();
      loss_sum += loss.tensor().item();
    }
    return loss_sum;
  }

  const Case& recorded_;
  nlohmann::json options_;
  Bert model_;
  std::vector<TrainableTensor> trainable_;
  Optimizer optimizer_;
  std::vector<int64_t> labels_;
};

/// norm(found - expected) / norm(expected - initial value)
double error_of_distance_moved(const TrainableTensor& tensor, const Case& recorded) {
  const std::vector<double> expected = recorded.values("weight." + tensor.name);
  std::vector<double> moved = doubles(generated_weight(tensor.name, tensor.variable.shape(), DType::float64));
  for (size_t i = 0; i < moved.size(); ++i) moved[i] = expected.at(i) - moved[i];
  return relative_l2_error(doubles(tensor.variable.tensor()), expected, moved);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(training_parity)

BOOST_DATA_TEST_CASE(losses_and_weights_after_updates,
                     data::make(training_runs) * data::make(training_precisions), run, precision) {
  const Case recorded(recorded_cases, run);
  const Tolerances tolerance = tolerances(precision == "float32" ? DType::float32 : DType::float64);
  TrainingLoop loop(recorded, recorded_options(run),
                    precision == "float32" ? DType::float32 : DType::float64);
  loop.run();

  // The first 10 updates are held to the tolerance of the table, later ones to that of 100 updates.
  const std::vector<double> losses = recorded.values("losses");
  BOOST_TEST_REQUIRE(loop.losses.size() == losses.size());
  for (size_t i = 0; i < losses.size(); ++i) {
    BOOST_TEST(std::abs(loop.losses[i] - losses[i]) <= tolerance.training_loss * (i < 10 ? 1 : 100));
  }
  BOOST_TEST(max_abs_error(loop.learning_rates, recorded.values("learning_rates")) <= 1e-18);
  BOOST_TEST(relative_l2_error(loop.grad_norms, recorded.values("grad_norms")) <= tolerance.gradient);

  BOOST_TEST(loop.trainable().size() == recorded.names("weight.").size());
  for (const TrainableTensor& tensor : loop.trainable()) {
    if (is_key_bias(tensor.name)) continue;
    BOOST_TEST_CONTEXT(tensor.name) {
      BOOST_TEST_REQUIRE(recorded.contains("weight." + tensor.name));
      BOOST_TEST(error_of_distance_moved(tensor, recorded) <= tolerance.moved);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
