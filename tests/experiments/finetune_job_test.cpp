#include "experiments/finetune.h"

#include <boost/test/unit_test.hpp>
#include <cmath>

#include "experiments/checkpoint_folder.h"
#include "experiments/evaluation.h"
#include "experiments/run_folder.h"
#include "nn/peft_folder.h"
#include "tests/experiments/tiny_run.h"
#include "tests/nn/tensor_helpers.h"

namespace normtune {

using fixtures::check_error_parts;
using fixtures::content_of;
using tiny::metrics_lines;
using tiny::results_of;
using tiny::Workspace;
using tiny::write_small_mask;
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

const std::vector<std::string> all_methods = {
    "full",          "head",           "layernorm",      "layernorm-attention",
    "layernorm-all", "layernorm-bias", "layernorm-gain", "bitfit",
    "random",        "mask",           "houlsby",        "pfeiffer",
    "lora"};

/// Names of the tensors in which two model folders differ, the classifier apart.
std::set<std::string> changed_tensors(const fs::path& before, const fs::path& after) {
  const StateDict a = read_state_dict(before), b = read_state_dict(after);
  std::set<std::string> changed;
  for (const NamedTensor& tensor : a.tensors) {
    const Tensor* other = b.find(tensor.name);
    BOOST_REQUIRE_MESSAGE(other != nullptr, tensor.name);
    if (!testing::equal_bits(tensor.tensor, *other)) changed.insert(tensor.name);
  }
  return changed;
}

FinetuneOptions with_method(FinetuneOptions options, const std::string& method) {
  options.method.method = method;
  options.method.lora_r = 2;
  options.method.adapter_size =
      method == "houlsby" || method == "pfeiffer" ? std::optional<int64_t>(3) : std::nullopt;
  return options;
}

/// Evaluates and saves every `steps` updates.
FinetuneOptions with_intervals(FinetuneOptions options, int64_t steps) {
  options.eval_strategy = options.save_strategy = "steps";
  options.eval_steps = options.save_steps = steps;
  return options;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(finetune_job)

BOOST_AUTO_TEST_CASE(learns_and_writes_everything_that_is_promised) {
  const Workspace workspace;
  FinetuneOptions options = with_intervals(workspace.options("run"), 42);
  options.num_train_epochs = 24;
  options.hidden_dropout_prob = 0;
  const TrainingResult result = finetune(options);
  const fs::path run = options.output_dir;
  for (const char* name :
       {"config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json", "metrics.jsonl",
        "trainer_state.json", "all_results.json", "train_results.json", "eval_results.json",
        "predictions.jsonl", "best/model.safetensors", "best/config.json", "best/vocab.txt",
        "checkpoint-168/model.safetensors", "checkpoint-168/trainer_state.json"}) {
    BOOST_CHECK_MESSAGE(fs::exists(run / name), name);
  }
  BOOST_CHECK_EQUAL(result.interrupted_by, 0);
  BOOST_CHECK_EQUAL(result.all_results_json, content_of(run / "all_results.json"));

  const json results = results_of(run);
  BOOST_CHECK_EQUAL(results.at("eval_accuracy").get<double>(), 1);
  BOOST_CHECK_LT(results.at("eval_loss").get<double>(), 0.2);
  BOOST_CHECK_EQUAL(results.at("eval_samples").get<int64_t>(), 10);
  BOOST_CHECK_EQUAL(results.at("train_samples").get<int64_t>(), 26);
  // Of 26 rows the last batch is not full.
  BOOST_CHECK_CLOSE(
      results.at("train_samples_per_second").get<double>() * results.at("train_runtime").get<double>(),
      26 * results.at("epoch").get<double>(), 1e-6);
  BOOST_CHECK_EQUAL(results.at("epoch").get<double>(), 24);
  BOOST_CHECK_GT(results.at("ms_per_step").get<double>(), 0);
  BOOST_CHECK_GT(results.at("peak_rss_bytes").get<int64_t>(), 1 << 20);
  BOOST_CHECK(results.at("peak_device_bytes").is_null());
  BOOST_CHECK_EQUAL(results.at("total_parameters"), results.at("trainable_parameters"));

  const std::vector<json> steps = metrics_lines(run, "step");
  BOOST_REQUIRE_EQUAL(steps.size(), 84);
  BOOST_CHECK_LT(steps.back().at("loss").get<double>(), 0.1 * steps.front().at("loss").get<double>());
  BOOST_CHECK_EQUAL(metrics_lines(run, "eval").size(), 4);
  BOOST_CHECK_EQUAL(metrics_lines(run, "checkpoint").size(), 4);
  BOOST_CHECK_EQUAL(metrics_lines(run, "start").size(), 1);
  const json end = metrics_lines(run).back();
  BOOST_CHECK_EQUAL(end.at("kind"), "end");
  BOOST_CHECK_EQUAL(end.at("status"), "finished");

  const json state = read_json_file(run / "trainer_state.json", ErrorKind::data);
  BOOST_CHECK_EQUAL(state.at("global_step").get<int64_t>(), 168);
  BOOST_CHECK_EQUAL(state.at("best_metric").get<double>(), 1);
  BOOST_CHECK_EQUAL(state.at("log_history").size(), 84 + 4 + 2);
}

BOOST_AUTO_TEST_CASE(the_written_model_gives_the_written_predictions) {
  const Workspace workspace;
  for (const std::string method : {"full", "lora", "houlsby", "pfeiffer"}) {
    const FinetuneOptions options = with_method(workspace.options("run-" + method), method);
    finetune(options);
    Model model = load_model(options.output_dir, {});
    BOOST_CHECK(!model.fresh_classifier);
    const TaskData data = load_task_data(options.task);
    const TokenizedDataset tokens(data.dev.front(), model.tokenizer, options.max_seq_length);
    const std::optional<std::vector<double>> logits = compute_logits(model.bert, tokens, 3);
    std::istringstream lines(content_of(options.output_dir / "predictions.jsonl"));
    size_t row = 0;
    for (std::string line; std::getline(lines, line); ++row) {
      const json prediction = json::parse(line);
      for (size_t i = 0; i < 2; ++i) {
        const double error = std::abs(prediction.at("logits")[i].get<double>() - logits->at(2 * row + i));
        BOOST_CHECK_MESSAGE(error <= 2e-5, method << ", row " << row << ": error " << error);
      }
    }
    BOOST_CHECK_EQUAL(row, 10);
  }
}

BOOST_AUTO_TEST_CASE(frozen_tensors_are_those_of_the_source) {
  const Workspace workspace;
  const fs::path mask = write_small_mask(workspace.folder / "mask.safetensors");
  for (const std::string& method : all_methods) {
    FinetuneOptions options = with_method(workspace.options("run-" + method), method);
    options.weight_decay = 0.1;
    if (method == "mask") options.method.mask = mask;
    finetune(options);
    const std::set<std::string> changed = changed_tensors(workspace.model, options.output_dir);
    BOOST_TEST_MESSAGE(method << ": " << changed.size() << " tensors changed");
    const auto allowed = [&](const std::string& name) {
      const Parameter parameter = label_parameter(name);
      const bool output_norm = parameter.component == "output.LayerNorm";
      if (method == "full") return true;
      if (method == "layernorm") return output_norm;
      if (method == "layernorm-bias") return output_norm && parameter.is_bias;
      if (method == "layernorm-gain") return output_norm && !parameter.is_bias;
      if (method == "layernorm-attention") return parameter.component == "attention.output.LayerNorm";
      if (method == "layernorm-all" || method == "houlsby") return parameter.component.ends_with("LayerNorm");
      if (method == "bitfit") return parameter.is_bias;
      if (method == "random") return parameter.layer >= 0;
      if (method == "lora") return name.ends_with("self.query.weight") || name.ends_with("self.value.weight");
      if (method == "mask")
        return name == "bert.encoder.layer.0.output.dense.weight" ||
               name == "bert.encoder.layer.1.output.LayerNorm.bias";
      return false;  // head, pfeiffer
    };
    for (const std::string& name : changed) {
      BOOST_CHECK_MESSAGE(allowed(name), method << " changed " << name);
    }
    const Model source = load_model(workspace.model, {});
    for (const Parameter& parameter : source.bert.parameters()) {
      // Softmax does not see the key bias; LayerNorm gains and biases always matter.
      const bool must_move = parameter.component.ends_with("LayerNorm") && allowed(parameter.name) &&
                             method != "random" && method != "mask";
      BOOST_CHECK_MESSAGE(!must_move || changed.contains(parameter.name),
                          method << " left " << parameter.name);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_mask_changes_its_elements_alone) {
  const Workspace workspace;
  FinetuneOptions options = with_method(workspace.options("run"), "mask");
  options.method.mask = write_small_mask(workspace.folder / "mask.safetensors");
  options.weight_decay = 0.1;
  finetune(options);
  const std::string name = "bert.encoder.layer.0.output.dense.weight";
  const std::vector<float> before = read_state_dict(workspace.model).find(name)->to_vector<float>(),
                           after = read_state_dict(options.output_dir).find(name)->to_vector<float>();
  for (size_t i = 0; i < before.size(); ++i) {
    const bool listed = i == 0 || i == 5 || i == 17;
    BOOST_CHECK_EQUAL(before[i] != after[i], listed);
  }
  BOOST_CHECK_EQUAL(results_of(options.output_dir).at("trainable_parameters").get<int64_t>(), 4 + 26);
}

BOOST_AUTO_TEST_CASE(two_runs_and_any_number_of_threads_give_equal_bits) {
  const Workspace workspace;
  for (const std::string method : {"full", "layernorm"}) {
    for (const int threads : {1, 2, 4}) {
      const tiny::ThreadCount thread_count(threads);
      finetune(with_method(workspace.options(fmt::format("{}-{}", method, threads)), method));
    }
    finetune(with_method(workspace.options(method + "-again"), method));
    const auto run = [&](const std::string& suffix) { return workspace.folder / (method + suffix); };
    for (const std::string suffix : {"-2", "-4", "-again"}) tiny::check_equal_runs(run("-1"), run(suffix));
  }
}

BOOST_AUTO_TEST_CASE(the_best_model_is_kept) {
  const Workspace workspace;
  FinetuneOptions options = workspace.options("last");
  options.learning_rate = 0.05;  // jumps, so that the best evaluation is not the last one
  options.num_train_epochs = 6;
  finetune(options);
  const json state = read_json_file(options.output_dir / "trainer_state.json", ErrorKind::data);
  double best = -1;
  for (const json& line : metrics_lines(options.output_dir, "eval")) {
    best = std::max(best, line.at("eval_accuracy").get<double>());
  }
  BOOST_CHECK_EQUAL(state.at("best_metric").get<double>(), best);
  BOOST_CHECK_EQUAL(state.at("best_model_checkpoint"), "best");

  FinetuneOptions with_best = options;
  with_best.output_dir = workspace.folder / "best-at-end";
  with_best.load_best_model_at_end = true;
  finetune(with_best);
  BOOST_CHECK_EQUAL(results_of(with_best.output_dir).at("eval_accuracy").get<double>(), best);
  BOOST_CHECK(changed_tensors(options.output_dir / "best", with_best.output_dir).empty());
  BOOST_CHECK(!changed_tensors(options.output_dir, with_best.output_dir).empty());
}

BOOST_AUTO_TEST_CASE(stops_early) {
  const Workspace workspace;
  FinetuneOptions options = workspace.options("run");
  options.learning_rate = 0;  // the score never rises
  options.num_train_epochs = 10;
  options.early_stopping_patience = 2;
  finetune(options);
  BOOST_CHECK_EQUAL(metrics_lines(options.output_dir, "eval").size(), 3);
  BOOST_CHECK_EQUAL(results_of(options.output_dir).at("epoch").get<double>(), 3);
}

BOOST_AUTO_TEST_CASE(intervals_of_evaluation_and_saving) {
  const Workspace workspace;
  FinetuneOptions options = workspace.options("run");
  options.eval_strategy = "steps";
  options.eval_steps = 3;
  options.save_strategy = "steps";
  options.save_steps = 4;
  options.save_total_limit = 2;
  options.max_steps = 13;
  finetune(options);
  std::vector<int64_t> evaluated, saved;
  for (const json& line : metrics_lines(options.output_dir, "eval")) evaluated.push_back(line.at("step"));
  for (const json& line : metrics_lines(options.output_dir, "checkpoint")) saved.push_back(line.at("step"));
  BOOST_CHECK((evaluated == std::vector<int64_t>{3, 6, 9, 12}));
  BOOST_CHECK((saved == std::vector<int64_t>{4, 8, 12}));
  BOOST_CHECK(!fs::exists(options.output_dir / "checkpoint-4"));
  BOOST_CHECK(fs::exists(options.output_dir / "checkpoint-8"));
  BOOST_CHECK(fs::exists(options.output_dir / "checkpoint-12"));

  options.output_dir = workspace.folder / "without";
  options.eval_strategy = options.save_strategy = "no";
  finetune(options);
  BOOST_CHECK(metrics_lines(options.output_dir, "eval").empty());
  BOOST_CHECK(results_of(options.output_dir).contains("eval_accuracy"));  // there is always a final one
  BOOST_CHECK(!fs::exists(options.output_dir / "best"));
  BOOST_CHECK(!fs::exists(options.output_dir / "checkpoint-13"));
}

BOOST_AUTO_TEST_CASE(a_part_of_an_epoch) {
  const Workspace workspace;
  FinetuneOptions options = workspace.options("run");
  options.num_train_epochs = 1.2;  // ceil(1.2 * 7) updates
  finetune(options);
  const json state = read_json_file(options.output_dir / "trainer_state.json", ErrorKind::data);
  BOOST_CHECK_EQUAL(state.at("global_step").get<int64_t>(), 9);
  BOOST_CHECK_EQUAL(metrics_lines(options.output_dir, "eval").size(), 2);
}

BOOST_AUTO_TEST_CASE(regression_and_pairs) {
  const Workspace workspace;
  for (const std::string task : {"stsb", "rte"}) {
    FinetuneOptions options = with_intervals(workspace.options(task), 140);
    options.task.task_name = task;
    options.num_train_epochs = 20;
    options.hidden_dropout_prob = 0;
    finetune(options);
    const std::vector<json> steps = metrics_lines(options.output_dir, "step");
    BOOST_CHECK_LT(steps.back().at("loss").get<double>(), 0.5 * steps.front().at("loss").get<double>());
    const json config = read_json_file(options.output_dir / "config.json", ErrorKind::data);
    BOOST_CHECK_EQUAL(config.at("problem_type"),
                      task == "stsb" ? "regression" : "single_label_classification");
    BOOST_CHECK_EQUAL(config.at("id2label").size(), task == "stsb" ? 1 : 2);
    BOOST_CHECK(results_of(options.output_dir).contains(task == "stsb" ? "eval_spearmanr" : "eval_accuracy"));
  }
}

BOOST_AUTO_TEST_CASE(own_files) {
  const Workspace workspace;
  std::string rows = "sentence1,label\n";
  for (int64_t i = 0; i < 20; ++i) {
    rows += tiny::sentence(i, i % 3 == 0) + (i % 3 == 0 ? ",yes\n" : ",no\n");
  }
  FinetuneOptions options = workspace.options("run");
  options.task = {.train_file = workspace.folder.write("train.csv", rows)};
  options.load_best_model_at_end = false;
  finetune(options);
  BOOST_CHECK(!results_of(options.output_dir).contains("eval_accuracy"));
  BOOST_CHECK(!fs::exists(options.output_dir / "predictions.jsonl"));
  options.output_dir = workspace.folder / "with-dev";
  options.task.validation_file = workspace.folder.write("dev.csv", rows);
  finetune(options);
  BOOST_CHECK(results_of(options.output_dir).contains("eval_accuracy"));
  const json config = read_json_file(options.output_dir / "config.json", ErrorKind::data);
  BOOST_CHECK_EQUAL(config.at("id2label").at("0"), "no");
}

BOOST_AUTO_TEST_CASE(double_precision) {
  const Workspace workspace;
  FinetuneOptions options = with_method(workspace.options("run"), "layernorm");
  options.precision = Precision::fp64;
  finetune(options);
  BOOST_CHECK_EQUAL(changed_tensors(workspace.model, options.output_dir).size(), 4);
  const SafetensorsFile model(options.output_dir / "model.safetensors");
  BOOST_CHECK(model.entry("classifier.weight").type == ElementType::F32);
}

BOOST_AUTO_TEST_CASE(unmerged_deltas) {
  const Workspace workspace;
  FinetuneOptions options = with_method(workspace.options("lora"), "lora");
  options.save_unmerged = true;
  finetune(options);
  const LoraDelta lora = read_lora_folder(options.output_dir / "peft");
  BOOST_CHECK_EQUAL(lora.tensors.size(), 2 * 2 * 2 + 2);
  BOOST_CHECK(!fs::exists(options.output_dir / "adapter_config.json"));
  options = with_method(workspace.options("layernorm"), "layernorm");
  options.save_unmerged = true;
  finetune(options);
  const LnTuningDelta norms = read_ln_tuning_folder(options.output_dir / "peft");
  BOOST_CHECK_EQUAL(norms.tensors.size(), 4 + 2);
  // Over its base, the delta is the merged model.
  const Model merged = load_model(options.output_dir, {}),
              delta = load_model(options.output_dir / "peft", {});
  for (const Parameter& parameter : merged.bert.parameters()) {
    BOOST_CHECK_MESSAGE(testing::equal_bits(parameter.variable.tensor(),
                                            delta.bert.parameters().at(parameter.name).variable.tensor()),
                        parameter.name);
  }
}

/// What `folder` and the `peft` folder in it load must agree: bit for bit where nothing has to be merged.
void check_equal_models(const fs::path& folder) {
  const Model whole = load_model(folder, {}), delta = load_model(folder / "peft", {});
  for (const Parameter& parameter : whole.bert.parameters()) {
    const Tensor& other = delta.bert.parameters().at(parameter.name).variable.tensor();
    BOOST_CHECK_MESSAGE(testing::equal_bits(parameter.variable.tensor(), other), parameter.name);
  }
}

BOOST_AUTO_TEST_CASE(unmerged_deltas_hold_a_trained_pooler) {
  const Workspace workspace;
  for (const char* method : {"lora", "layernorm", "layernorm-all", "layernorm-gain"}) {
    for (const bool fresh : {false, true}) {
      FinetuneOptions options = with_method(workspace.options(fmt::format("{}-{}", method, fresh)), method);
      options.max_steps = 2;
      options.save_unmerged = true;
      options.method.fresh_pooler = fresh;
      options.method.train_pooler = fresh ? TrainPooler::automatic : TrainPooler::yes;
      finetune(options);
      check_equal_models(options.output_dir);
    }
  }
}

BOOST_AUTO_TEST_CASE(deltas_are_read_from_any_working_directory) {
  const Workspace workspace;
  const fs::path before = fs::current_path();
  fs::current_path(workspace.model.parent_path());
  FinetuneOptions options = with_method(workspace.options("run"), "layernorm");
  options.model_name_or_path = workspace.model.filename();
  options.max_steps = 1;
  options.save_unmerged = true;
  finetune(options);
  fs::current_path(before);
  check_equal_models(options.output_dir);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_exported_is_refused_before_the_training) {
  const Workspace workspace;
  const auto refuse = [&](const char* method, const char* train_params, const char* named) {
    FinetuneOptions options = with_method(workspace.options("run"), method);
    options.save_unmerged = true;
    options.method.train_params = train_params;
    check_error_parts(ErrorKind::usage, {"--save_unmerged", named, "--train_params"},
                      [&] { finetune(options); });
    BOOST_CHECK(is_empty_run_folder(options.output_dir));
  };
  refuse("lora", "*lora_*,*LayerNorm*", "bert.embeddings.LayerNorm.weight");
  refuse("layernorm", "*.output.LayerNorm.*,*query.weight",
         "bert.encoder.layer.0.attention.self.query.weight");
  FinetuneOptions options = with_method(workspace.options("part"), "layernorm-all");
  options.save_unmerged = true;
  options.method.train_params = "*.1.output.LayerNorm.*,*pooler.dense.bias";  // has its place
  options.max_steps = 2;
  finetune(options);
  check_equal_models(options.output_dir);

  options.random_init = true;
  options.output_dir = workspace.folder / "random";
  check_error_parts(ErrorKind::usage, {"--save_unmerged", "--random_init"}, [&] { finetune(options); });
  options.random_init = false;
  options.model_name_or_path = workspace.folder / "part" / "peft";
  check_error_parts(ErrorKind::usage, {"--save_unmerged", "delta"}, [&] { finetune(options); });
}

BOOST_AUTO_TEST_CASE(adapters_go_to_their_folder) {
  const Workspace workspace;
  const FinetuneOptions options = with_method(workspace.options("run"), "houlsby");
  finetune(options);
  BOOST_CHECK(fs::exists(options.output_dir / "adapterhub" / "adapter_config.json"));
  BOOST_CHECK(fs::exists(options.output_dir / "best" / "adapterhub" / "adapter_config.json"));
  // A run that replaces it must not inherit them.
  FinetuneOptions replacing = with_method(options, "layernorm");
  replacing.overwrite_output_dir = true;
  finetune(replacing);
  BOOST_CHECK(!fs::exists(options.output_dir / "adapterhub"));
}

BOOST_AUTO_TEST_CASE(rules_of_the_output_folder) {
  const Workspace workspace;
  FinetuneOptions options = workspace.options("run");
  options.max_steps = 1;
  workspace.folder.write("run/notes.txt", "mine");
  check_error_parts(ErrorKind::usage, {"run", "not empty", "--overwrite_output_dir"},
                    [&] { finetune(options); });
  options.overwrite_output_dir = true;
  workspace.folder.write("run/checkpoint-900/model.safetensors", "of an earlier run");
  finetune(options);
  BOOST_CHECK_EQUAL(content_of(options.output_dir / "notes.txt"), "mine");
  BOOST_CHECK(!fs::exists(options.output_dir / "checkpoint-900"));

  options.output_dir = workspace.folder.write("file", "");
  check_error_parts(ErrorKind::write, {"is a file"}, [&] { finetune(options); });
  options.output_dir = workspace.model;
  check_error_parts(ErrorKind::usage, {"--output_dir", "lies in it"}, [&] { finetune(options); });
  options.output_dir = workspace.folder / "locked";
  const FolderLock lock(options.output_dir);
  check_error_parts(ErrorKind::write, {"locked", "running process"}, [&] { finetune(options); });
}

BOOST_AUTO_TEST_CASE(refuses_options_that_do_not_fit) {
  const Workspace workspace;
  const auto refuse = [&](const std::vector<std::string>& parts, auto&& change,
                          ErrorKind kind = ErrorKind::usage) {
    FinetuneOptions options = workspace.options("run");
    change(options);
    check_error_parts(kind, parts, [&] { finetune(options); });
    BOOST_CHECK(is_empty_run_folder(options.output_dir));
  };
  refuse({"--method", "layernorm"}, [](auto& options) { options.method.method = "layernom"; });
  refuse({"adamw_torch"}, [](auto& options) { options.optim = "adam"; });
  refuse({"linear"}, [](auto& options) { options.lr_scheduler_type = "lineer"; });
  refuse({"--eval_strategy", "epoch"}, [](auto& options) { options.eval_strategy = "epochs"; });
  refuse({"--learning_rate"}, [](auto& options) { options.learning_rate = std::nan(""); });
  refuse({"--num_train_epochs"}, [](auto& options) { options.num_train_epochs = 0; });
  refuse({"--per_device_train_batch_size", "0"},
         [](auto& options) { options.per_device_train_batch_size = 0; });
  refuse({"--hidden_dropout_prob", "1"}, [](auto& options) { options.hidden_dropout_prob = 1; });
  refuse({"--max_seq_length", "32", "33"}, [](auto& options) { options.max_seq_length = 33; });
  refuse({"--load_best_model_at_end"}, [](auto& options) {
    options.eval_strategy = "no";
    options.load_best_model_at_end = true;
  });
  refuse({"--early_stopping_patience"}, [](auto& options) {
    options.eval_strategy = "no";
    options.early_stopping_patience = 3;
  });
  refuse({"accuracy"}, [](auto& options) { options.metric_for_best_model = "acuracy"; });
  refuse({"--save_unmerged"}, [](auto& options) { options.save_unmerged = true; });
  refuse({"--glue_dir"}, [](auto& options) { options.task.glue_dir = ""; });
  refuse({"--train_file"}, [](auto& options) { options.task = {}; });
  refuse({"sst2"}, [](auto& options) { options.task.task_name = "sst"; });
  refuse(
      {"nowhere"}, [](auto& options) { options.model_name_or_path = "nowhere"; }, ErrorKind::model);
}

BOOST_AUTO_TEST_CASE(pairs_need_two_token_types) {
  const Workspace workspace;
  FinetuneOptions options = workspace.options("run");
  options.model_name_or_path = tiny::write_model(workspace.folder / "one-type", {.type_vocab_size = 1});
  options.max_steps = 1;
  finetune(options);  // single texts are fine
  options.output_dir = workspace.folder / "pairs";
  options.task.task_name = "rte";
  check_error_parts(ErrorKind::model, {"one token type", "two texts"}, [&] { finetune(options); });
}

BOOST_AUTO_TEST_CASE(stops_at_the_first_value_that_is_not_finite) {
  const Workspace workspace;
  FinetuneOptions options = workspace.options("run");
  options.save_strategy = "steps";
  options.save_steps = 1;
  options.eval_strategy = "no";
  // The first update has learning rate 0; the second one moves by four times the learning rate, since
  // adamw_bert does not correct the bias of its moments.
  options.warmup_steps = 1;
  options.learning_rate = 3e38;
  options.optim = "adamw_bert";
  check_error_parts(ErrorKind::numeric, {"step 2", "tensor '", "--learning_rate"},
                    [&] { finetune(options); });
  // The last good checkpoint is there, and no other.
  BOOST_CHECK_EQUAL(metrics_lines(options.output_dir, "checkpoint").size(), 1);
  BOOST_CHECK((checkpoint_steps(options.output_dir) == std::vector<int64_t>{1}));
  const auto ends = metrics_lines(options.output_dir, "end");
  BOOST_REQUIRE_EQUAL(ends.size(), 1);
  BOOST_CHECK_EQUAL(ends[0].at("status"), "failed");
  for (const NamedTensor& named : read_state_dict(options.output_dir / "checkpoint-1").tensors) {
    BOOST_CHECK(std::isfinite(named.tensor.backend().squared_norms({{named.tensor}}).front()));
  }
  BOOST_CHECK(!fs::exists(options.output_dir / "all_results.json"));
}

BOOST_AUTO_TEST_CASE(the_run_id_is_that_of_options_and_files) {
  const Workspace workspace;
  std::set<std::string> ids;
  const auto id_of = [&](FinetuneOptions options, const std::string& output) {
    options.output_dir = workspace.folder / output;
    options.max_steps = 1;
    finetune(options);
    return results_of(options.output_dir).at("run").get<std::string>();
  };
  const FinetuneOptions options = workspace.options("a");
  const std::string id = id_of(options, "a");
  BOOST_CHECK_EQUAL(id.size(), 16);
  FinetuneOptions elsewhere = options;
  elsewhere.save_steps = 3;
  fs::copy(workspace.glue, workspace.folder / "glue2", fs::copy_options::recursive);
  elsewhere.task.glue_dir = workspace.folder / "glue2";
  BOOST_CHECK_EQUAL(id_of(elsewhere, "b"), id);
  FinetuneOptions other_seed = options;
  other_seed.seed = 1;
  BOOST_CHECK_NE(id_of(other_seed, "c"), id);
  std::ofstream(workspace.folder / "glue2/SST-2/train.tsv", std::ios::app) << "a good cat\t1\n";
  BOOST_CHECK_NE(id_of(elsewhere, "d"), id);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
