#include "experiments/comparison_plan.h"

#include <boost/test/unit_test.hpp>
#include <functional>
#include <set>

#include "experiments/finetune_options.h"
#include "experiments/training_run.h"
#include "tests/experiments/comparison_fixture.h"

namespace normtune {

using comparison::inputs;
using nlohmann::json;

namespace {

ComparedRun first_run(const ComparisonOptions& options, const ComparisonInputs& files = inputs()) {
  return plan_runs(options, files).front();
}

/// A run of `method` after a change of the options.
ComparedRun run_of(const std::string& method, const std::function<void(ComparisonOptions&)>& change = {}) {
  ComparisonOptions options = comparison::options("out");
  options.rows = {method};
  if (change) change(options);
  return first_run(options);
}

using OptionsChange = std::function<void(ComparisonOptions&)>;

}  // namespace

BOOST_AUTO_TEST_SUITE(comparison_plan)

/// Results that were computed with this identity are still found: it may only change together with the
/// numbers, and then numbers_version changes.
BOOST_AUTO_TEST_CASE(the_identity_of_a_run_stays_what_it_is) {
  const ComparedRun run = run_of("lora", [](ComparisonOptions& options) {
    options.finetune.method.lora_r = 4;
    options.finetune.per_device_train_batch_size = 16;
    options.report_split = "test_labelled";
  });
  BOOST_CHECK_EQUAL(
      run.identity.dump(),
      R"({"data_sha256":{"dev":[["a-dev"]],"test_labelled":[["a-test"]],"train":["a-train"]},"device_type":"cpu",)"
      R"("model_sha256":{"config.json":"c","vocab.txt":"v","weights":"w"},"numbers_version":2,)"
      R"("options":{"data_seed":1,"dropout_seed":1,"init_seed":1,"learning_rate":5e-05,"lora_r":4,"method":"lora",)"
      R"("per_device_train_batch_size":16,"seed":1},"task":"cola"})");
  BOOST_CHECK_EQUAL(run.id, "d546fa5b128338de");
}

/// The identity leaves out options that have their default value, so a default that changes must come with
/// another numbers_version. New options may be added.
BOOST_AUTO_TEST_CASE(defaults_are_part_of_the_identity) {
  BOOST_CHECK_EQUAL(numbers_version, 2);
  const json recorded = json::parse(
      R"({"adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-08, "adapter_non_linearity": "", )"
      R"("adapter_reduction_factor": null, "adapter_size": null, "attention_probs_dropout_prob": null, )"
      R"("classifier_dropout": null, "data_seed": 42, "dropout_seed": 42, )"
      R"("early_stopping_patience": null, "eval_steps": 10, "eval_strategy": "epoch", )"
      R"("fresh_pooler": false, "gradient_accumulation_steps": 1, "hidden_dropout_prob": null, )"
      R"("houlsby_layernorm": true, "init_seed": 42, "last_layer_cls_only": true, "learning_rate": 5e-05, )"
      R"("load_best_model_at_end": false, "lora_alpha": 16.0, "lora_dropout": 0.0, "lora_r": 8, )"
      R"("lora_target_modules": ["query", "value"], "lr_scheduler_type": "linear", "mask_seed": 42, )"
      R"("max_eval_samples": null, "max_grad_norm": 1.0, "max_seq_length": 128, "max_steps": -1, )"
      R"("metric_for_best_model": "", "num_train_epochs": 3.0, "optim": "adamw_torch", )"
      R"("per_device_eval_batch_size": 8, "per_device_train_batch_size": 8, "precision": "fp32", )"
      R"("random_init": false, "random_k": null, "random_scope": "encoder", "seed": 42, "shuffle": true, )"
      R"("train_params": "", "train_pooler": "auto", "warmup_ratio": 0.0, "warmup_steps": 0, )"
      R"("weight_decay": 0.0})");
  const json now = options_json(FinetuneOptions{});
  for (const auto& [name, value] : recorded.items()) BOOST_CHECK_MESSAGE(now.at(name) == value, name);
}

BOOST_AUTO_TEST_CASE(what_changes_no_number_does_not_change_the_id) {
  const std::vector<std::pair<std::string, OptionsChange>> changes = {
      {"output_dir", [](auto& o) { o.output_dir = o.finetune.output_dir = "elsewhere"; }},
      {"model_name_or_path", [](auto& o) { o.finetune.model_name_or_path = "/moved/model"; }},
      {"glue_dir", [](auto& o) { o.finetune.task.glue_dir = "/moved/glue"; }},
      {"jobs", [](auto& o) { o.jobs = 7; }},
      {"num_threads", [](auto& o) { o.num_threads = 3; }},
      {"shard",
       [](auto& o) {
         o.shard = {1, 2};
       }},
      {"keep_models", [](auto& o) { o.keep_models = true; }},
      {"logging_steps", [](auto& o) { o.finetune.logging_steps = 1; }},
      {"save_strategy", [](auto& o) { o.finetune.save_strategy = "no"; }},
      {"save_steps", [](auto& o) { o.finetune.save_steps = 5; }},
      {"save_total_limit", [](auto& o) { o.finetune.save_total_limit = 3; }},
      {"cuda_graphs", [](auto& o) { o.finetune.cuda_graphs = false; }},
      {"eval_strategy", [](auto& o) { o.finetune.eval_strategy = "no"; }},
      {"metric_for_best_model", [](auto& o) { o.finetune.metric_for_best_model = "accuracy"; }},
      {"other rows", [](auto& o) { o.rows.push_back("bitfit"); }},
      {"other seeds",
       [](auto& o) {
         o.seeds = {1, 5};
       }},
      {"the rate written out", [](auto& o) { o.learning_rates["full"] = {5e-5}; }},
      {"lora_r", [](auto& o) { o.finetune.method.lora_r = 2; }},
      {"adapter_size", [](auto& o) { o.finetune.method.adapter_size = 2; }},
      {"random_k", [](auto& o) { o.finetune.method.random_k = 2; }},
      {"mask", [](auto& o) { o.finetune.method.mask = "mask.safetensors"; }},
      {"mask_seed", [](auto& o) { o.mask_seed = 9; }}};
  const std::string id = run_of("full").id;
  for (const auto& [name, change] : changes) BOOST_CHECK_MESSAGE(run_of("full", change).id == id, name);
}

BOOST_AUTO_TEST_CASE(what_changes_numbers_changes_the_id) {
  const std::vector<std::pair<std::string, OptionsChange>> changes = {
      {"learning rate", [](auto& o) { o.learning_rates["full"] = {1e-4}; }},
      {"seed", [](auto& o) { o.seeds = {2}; }},
      {"data_seed", [](auto& o) { o.finetune.data_seed = 5; }},
      {"init_seed", [](auto& o) { o.finetune.init_seed = 5; }},
      {"dropout_seed", [](auto& o) { o.finetune.dropout_seed = 5; }},
      {"epochs", [](auto& o) { o.finetune.num_train_epochs = 2; }},
      {"max_steps", [](auto& o) { o.finetune.max_steps = 2; }},
      {"batch size", [](auto& o) { o.finetune.per_device_train_batch_size = 2; }},
      {"accumulation", [](auto& o) { o.finetune.gradient_accumulation_steps = 2; }},
      {"weight_decay", [](auto& o) { o.finetune.weight_decay = .1; }},
      {"optim", [](auto& o) { o.finetune.optim = "sgd"; }},
      {"schedule", [](auto& o) { o.finetune.lr_scheduler_type = "cosine"; }},
      {"warmup", [](auto& o) { o.finetune.warmup_ratio = .1; }},
      {"clipping", [](auto& o) { o.finetune.max_grad_norm = 2; }},
      {"dropout", [](auto& o) { o.finetune.hidden_dropout_prob = 0; }},
      {"classifier dropout", [](auto& o) { o.finetune.classifier_dropout = 0; }},
      {"length", [](auto& o) { o.finetune.max_seq_length = 64; }},
      {"rows", [](auto& o) { o.finetune.task.max_train_samples = 10; }},
      {"precision", [](auto& o) { o.finetune.precision = Precision::fp64; }},
      {"shuffle", [](auto& o) { o.finetune.shuffle = false; }},
      {"train_params", [](auto& o) { o.finetune.method.train_params = "*.bias"; }},
      {"train_pooler", [](auto& o) { o.finetune.method.train_pooler = TrainPooler::no; }},
      {"best model", [](auto& o) { o.finetune.load_best_model_at_end = true; }},
      {"report split", [](auto& o) { o.report_split = "test_labelled"; }},
      {"task", [](auto& o) { o.tasks = {"sst2"}; }},
      {"method", [](auto& o) { o.rows = {"layernorm"}; }},
      {"untrained", [](auto& o) { o.rows = {"full@untrained"}; }}};
  std::set<std::string> ids = {run_of("full").id};
  for (const auto& [name, change] : changes) {
    BOOST_CHECK_MESSAGE(ids.insert(run_of("full", change).id).second, name);
  }
}

BOOST_AUTO_TEST_CASE(options_of_a_method_count_for_it) {
  const std::vector<std::pair<std::string, OptionsChange>> changes = {
      {"lora", [](auto& o) { o.finetune.method.lora_alpha = 2; }},
      {"houlsby", [](auto& o) { o.finetune.method.adapter_size = 2; }},
      {"houlsby", [](auto& o) { o.finetune.method.houlsby_layernorm = false; }},
      {"pfeiffer", [](auto& o) { o.finetune.method.adapter_non_linearity = "gelu"; }},
      {"random", [](auto& o) { o.finetune.method.random_k = 2; }},
      {"random", [](auto& o) { o.mask_seed = 9; }},
      {"full", [](auto& o) {
         o.finetune.load_best_model_at_end = true;
         o.finetune.metric_for_best_model = "accuracy";
       }}};
  for (const auto& [method, change] : changes) {
    BOOST_CHECK_MESSAGE(run_of(method, change).id != run_of(method).id, method);
  }
}

BOOST_AUTO_TEST_CASE(the_content_of_files_is_part_of_the_identity) {
  const ComparisonOptions options = comparison::options("out");
  const std::string id = first_run(options).id;
  for (const char* file : {"weights", "config.json", "vocab.txt"}) {
    ComparisonInputs changed = inputs();
    changed.model[file] = "other";
    BOOST_CHECK_MESSAGE(first_run(options, changed).id != id, file);
  }
  for (const char* split : {"train", "dev"}) {
    ComparisonInputs changed = inputs();
    changed.tasks["cola"].hashes[split] = {"other"};
    BOOST_CHECK_MESSAGE(first_run(options, changed).id != id, split);
  }
  ComparisonInputs not_reported = inputs();
  not_reported.tasks["cola"].hashes["test_labelled"] = {"other"};
  BOOST_CHECK_EQUAL(first_run(options, not_reported).id, id);
}

BOOST_AUTO_TEST_CASE(an_untrained_row_does_not_depend_on_weights) {
  ComparisonOptions options = comparison::options("out");
  options.rows = {"full@untrained"};
  ComparisonInputs changed = inputs();
  changed.model["weights"] = "other";
  BOOST_CHECK_EQUAL(first_run(options, changed).id, first_run(options).id);
  BOOST_CHECK(first_run(options).options.random_init);
}

BOOST_AUTO_TEST_CASE(every_run_of_rows_tasks_seeds_and_rates) {
  ComparisonOptions options = comparison::options("out");
  options.rows = {"full", "head", "full@untrained"};
  options.learning_rates = {{"full", {1e-4, 2e-4}}, {"full@untrained", {1e-3}}};
  const std::vector<ComparedRun> runs = plan_runs(options, inputs());
  BOOST_REQUIRE_EQUAL(runs.size(), 2u * 2u * (2 + 1 + 1));
  std::set<std::string> ids;
  for (const ComparedRun& run : runs) {
    ids.insert(run.id);
    BOOST_CHECK_EQUAL(run.id.size(), 16u);
    BOOST_CHECK_EQUAL(run.options.output_dir.string(), "out/runs/" + run.id);
    const double rate = run.options.learning_rate;
    BOOST_CHECK(run.row != "head" || rate == 5e-5);
    BOOST_CHECK(run.row != "full@untrained" || rate == 1e-3);
    BOOST_CHECK(run.row != "full" || rate == 1e-4 || rate == 2e-4);
  }
  BOOST_CHECK_EQUAL(ids.size(), runs.size());
  BOOST_CHECK_EQUAL(runs.front().options.seed, 1u);
  BOOST_CHECK_EQUAL(runs.back().options.seed, 2u);
}

BOOST_AUTO_TEST_CASE(shards_are_a_partition) {
  for (size_t index = 0; index < 20; ++index) {
    int64_t owners = 0;
    for (int64_t shard = 1; shard <= 3; ++shard) owners += in_shard({shard, 3}, index) ? 1 : 0;
    BOOST_CHECK_EQUAL(owners, 1);
  }
}

BOOST_AUTO_TEST_CASE(arguments_name_what_differs_from_defaults) {
  const ComparedRun run = run_of("full@untrained", [](ComparisonOptions& options) {
    options.finetune.max_steps = 7;
    options.finetune.dropout_seed = 5;
    options.finetune.method.lora_target_modules = {"query"};
    options.finetune.shuffle = false;
    options.finetune.cuda_graphs = false;
  });
  const std::vector<std::string> expected = {"finetune",
                                             "--model_name_or_path=model",
                                             "--output_dir=out/runs/" + run.id,
                                             "--task_name=cola",
                                             "--glue_dir=glue",
                                             "--method=full",
                                             "--lora_target_modules=query",
                                             "--learning_rate=5e-05",
                                             "--max_steps=7",
                                             "--seed=1",
                                             "--dropout_seed=5",
                                             "--shuffle=false",
                                             "--random_init=true",
                                             "--cuda_graphs=false"};
  const std::vector<std::string> arguments = finetune_arguments(run.options);
  BOOST_CHECK_EQUAL_COLLECTIONS(arguments.begin(), arguments.end(), expected.begin(), expected.end());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
