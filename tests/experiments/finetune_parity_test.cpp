// `finetune` as a whole against PyTorch's loop: texts, vocabulary and a model folder go in; the log and the
// trained model must be those that tests/files/bert/train_*.safetensors hold.

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "experiments/finetune.h"
#include "nn/bert.h"
#include "nn/checkpoint.h"
#include "nn/json_file.h"
#include "tests/experiments/fixtures.h"
#include "tests/nn/oracle.h"

using namespace normtune;
using namespace normtune::oracle;
namespace data = boost::unit_test::data;
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

// Methods that draw no new tensors: those start from the folder alone.
const std::vector<std::string> finetuning_runs = {
    "train_full",       "train_layernorm", "train_bitfit",       "train_adamw_hf",
    "train_adamw_bert", "train_sgd",       "train_accumulation", "train_accumulation_ragged"};
const std::vector<std::string> finetuning_precisions = {"fp32", "fp64"};

/// A model folder with generated weights and the vocabulary of the texts.
void write_model(const fs::path& folder, const Case& recorded, const json& vocabulary) {
  Bert model(recorded.config, BertHead::classification);
  std::vector<NamedTensor> tensors;
  for (const Parameter& parameter : model.parameters()) {
    fill_with_generated_weight(parameter);
    tensors.push_back({parameter.name, parameter.variable.tensor()});
  }
  write_model_folder(folder, bert_config_json(recorded.config, "BertForSequenceClassification"), tensors);
  std::ofstream vocab(folder / "vocab.txt");
  for (const json& token : vocabulary) vocab << token.get<std::string>() << '\n';
  std::ofstream(folder / "tokenizer_config.json") << R"({"do_lower_case": true})";
}

void write_texts(const fs::path& file, const json& texts) {
  std::ofstream lines(file);
  for (const json& example : texts) lines << example.dump() << '\n';
}

FinetuneOptions finetune_options(const json& options, const fs::path& folder, Precision precision) {
  FinetuneOptions finetune;
  finetune.model_name_or_path = folder / "model";
  finetune.output_dir = folder / "output";
  finetune.task.train_file = folder / "train.jsonl";
  finetune.method.method = options.at("method");
  finetune.optim = options.at("optim");
  finetune.learning_rate = options.at("learning_rate");
  finetune.weight_decay = options.at("weight_decay");
  finetune.adam_beta1 = options.at("adam_beta1");
  finetune.adam_beta2 = options.at("adam_beta2");
  finetune.adam_epsilon = options.at("adam_epsilon");
  finetune.max_grad_norm = options.at("max_grad_norm");
  finetune.lr_scheduler_type = options.at("lr_scheduler_type");
  finetune.warmup_steps = options.at("warmup_steps");
  finetune.max_steps = options.at("max_steps");
  finetune.per_device_train_batch_size = options.at("per_device_train_batch_size");
  finetune.gradient_accumulation_steps = options.at("gradient_accumulation_steps");
  finetune.max_seq_length = 16;
  finetune.shuffle = false;
  finetune.eval_strategy = finetune.save_strategy = "no";
  finetune.logging_steps = 1;
  finetune.precision = precision;
  return finetune;
}

/// One field of the `step` lines of metrics.jsonl.
std::vector<double> logged(const fs::path& run_folder, const std::string& field) {
  std::vector<double> values;
  std::ifstream lines(run_folder / "metrics.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const json document = json::parse(line);
    if (document.at("kind") == "step") values.push_back(document.at(field).get<double>());
  }
  return values;
}

/// The saved weights against the recorded ones, relative to the distance moved. Folders hold float32:
/// rounding adds up to 6e-8 of the weights themselves.
void check_saved_weights(const fs::path& folder, const Case& recorded, double tolerance) {
  const StateDict saved = read_state_dict(folder);
  for (const std::string& name : recorded.names("weight.")) {
    if (is_key_bias(name)) continue;
    BOOST_TEST_CONTEXT(name) {
      const Tensor* found = saved.find(name);
      BOOST_TEST_REQUIRE(found != nullptr);
      const std::vector<double> expected = recorded.values("weight." + name);
      const std::vector<double> initial = doubles(generated_weight(name, found->shape(), DType::float64));
      std::vector<double> moved(expected.size());
      for (size_t i = 0; i < moved.size(); ++i) moved[i] = expected[i] - initial[i];
      std::vector<double> error = doubles(*found);
      for (size_t i = 0; i < error.size(); ++i) error[i] -= expected[i];
      BOOST_TEST(norm(error) <= tolerance * norm(moved) + 6e-8 * norm(expected));
    }
  }
}

/// Every tensor that was not trained is, bit for bit, what went in.
void check_frozen_weights(const fs::path& folder, const fs::path& before, const Case& recorded) {
  const StateDict saved = read_state_dict(folder);
  for (const NamedTensor& source : read_state_dict(before).tensors) {
    if (recorded.contains("weight." + source.name)) continue;
    BOOST_TEST_CONTEXT(source.name) {
      const Tensor* found = saved.find(source.name);
      BOOST_TEST_REQUIRE(found != nullptr);
      BOOST_TEST(found->to_vector<float>() == source.tensor.to_vector<float>());
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(finetune_parity)

BOOST_DATA_TEST_CASE(a_run_equals_the_pytorch_loop,
                     data::make(finetuning_runs) * data::make(finetuning_precisions), run, precision) {
  const bool wide = precision == "fp64";
  const Tolerances tolerance = tolerances(wide ? DType::float64 : DType::float32);
  const Case recorded(recorded_cases, run);
  const json description = read_json_file(recorded_cases / (run + ".json"), ErrorKind::model).at("recorded");
  const fixtures::TemporaryFolder folder;
  write_model(folder / "model", recorded, description.at("vocabulary"));
  write_texts(folder / "train.jsonl", description.at("texts"));

  finetune(
      finetune_options(description.at("options"), folder.path(), wide ? Precision::fp64 : Precision::fp32));

  const std::vector<double> losses = logged(folder / "output", "loss"), expected = recorded.values("losses");
  BOOST_TEST_REQUIRE(losses.size() == expected.size());
  for (size_t i = 0; i < losses.size(); ++i) {
    BOOST_TEST(std::abs(losses[i] - expected[i]) <= tolerance.training_loss * (i < 10 ? 1 : 100));
  }
  BOOST_TEST(max_abs_error(logged(folder / "output", "learning_rate"), recorded.values("learning_rates")) <=
             1e-18);
  BOOST_TEST(relative_l2_error(logged(folder / "output", "grad_norm"), recorded.values("grad_norms")) <=
             tolerance.gradient);
  check_saved_weights(folder / "output", recorded, tolerance.moved);
  check_frozen_weights(folder / "output", folder / "model", recorded);
}

/// With products in bfloat16: the losses are near, and what is frozen stays as it was to the bit.
BOOST_DATA_TEST_CASE(a_run_in_bf16_stays_near_the_pytorch_loop, data::make(finetuning_runs), run) {
  constexpr double tolerance = 2e-2;  // of the first 10 losses; 5e-2 of later ones
  const Case recorded(recorded_cases, run);
  const json description = read_json_file(recorded_cases / (run + ".json"), ErrorKind::model).at("recorded");
  const fixtures::TemporaryFolder folder;
  write_model(folder / "model", recorded, description.at("vocabulary"));
  write_texts(folder / "train.jsonl", description.at("texts"));

  finetune(finetune_options(description.at("options"), folder.path(), Precision::bf16));
  use_precision(Precision::fp32, Device{});

  const std::vector<double> losses = logged(folder / "output", "loss"), expected = recorded.values("losses");
  BOOST_TEST_REQUIRE(losses.size() == expected.size());
  double largest_difference = 0;
  for (size_t i = 0; i < losses.size(); ++i) {
    const double difference = std::abs(losses[i] - expected[i]);
    BOOST_TEST(difference <= (i < 10 ? tolerance : 2.5 * tolerance));
    largest_difference = std::max(largest_difference, difference);
  }
  BOOST_TEST(largest_difference > 1e-6);  // it is another precision
  check_frozen_weights(folder / "output", folder / "model", recorded);
}

BOOST_AUTO_TEST_SUITE_END()
