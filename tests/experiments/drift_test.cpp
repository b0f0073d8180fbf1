#include "experiments/drift.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "nn/tensor_file.h"
#include "tests/experiments/tiny_run.h"
#include "tests/file_helpers.h"
#include "tests/nn/oracle.h"

using namespace normtune;
using nlohmann::json;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(drift)

namespace {

// ---- The two versions that tools/record_drift.py compared, generated as it says

bool is_frozen(const std::string& name) {
  return name.find("layer.1.") != std::string::npos &&
         (name.ends_with("value.weight") || name.ends_with("value.bias"));
}

Tensor moved_weight(const std::string& name, const Tensor& before) {
  const oracle::UniformStream uniform("after." + name);
  Tensor after = before.clone();
  const int64_t columns = before.shape().back();
  for (int64_t i = 0; i < before.numel(); ++i) {
    if (is_frozen(name)) continue;
    if (name.ends_with("word_embeddings.weight") && i / columns % 3 != 0) continue;
    if (name.ends_with("intermediate.dense.weight") && i % 7 != 0) continue;
    after.data<double>()[i] += uniform[i] / 100;
  }
  return after;
}

struct Versions {
  testing::TemporaryFolder folder;
  json record = read_json_file(testing::recorded("drift.json"), ErrorKind::data);

  Versions() {
    std::vector<NamedTensor> before, after;
    for (const auto& [name, sizes] : record["shapes"].items()) {
      const Shape shape(std::span<const int64_t>(sizes.get<std::vector<int64_t>>()));
      before.push_back({name, oracle::generated_weight(name, shape, DType::float64)});
      after.push_back({name, moved_weight(name, before.back().tensor)});
    }
    write("before", before);
    write("after", after);
  }
  void write(const char* name, const std::vector<NamedTensor>& tensors) const {
    make_folder(folder / name);
    write_safetensors(folder / name / "model.safetensors", tensors);
  }
  Drift measure() const { return measure_drift(folder / "before", folder / "after"); }
};

const DriftRow& find_row(const std::vector<DriftRow>& rows, const std::string& key) {
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const DriftRow& row) {
    return (row.group.tensor.empty() ? row_name(row.group) : row.group.tensor) == key;
  });
  BOOST_REQUIRE_MESSAGE(found != rows.end(), "no row " << key);
  return *found;
}

void check_close(double found, const json& expected, const std::string& what, double tolerance = 1e-12) {
  const double value = expected.is_null() ? std::numeric_limits<double>::quiet_NaN() : expected.get<double>();
  const double error = std::abs(found - value) / std::max(std::abs(value), 1e-300);
  BOOST_CHECK_MESSAGE(found == value || error <= tolerance,
                      what << ": expected " << value << ", found " << found);
}

void check_rows(const std::vector<DriftRow>& rows, const json& expected, bool quantiles) {
  BOOST_TEST(rows.size() == expected.size());
  for (const json& row : expected) {
    const std::string raw = row["key"], key = raw.starts_with("None ") ? raw.substr(5) : raw;
    const DriftRow& found = find_row(rows, key);
    BOOST_TEST(found.group.elements == row["elements"].get<int64_t>());
    check_close(found.change.mean_abs, row["mean_abs"], key + " mean_abs");
    check_close(found.change.rel_l2.value_or(-1), row["rel_l2"], key + " rel_l2");
    check_close(found.change.cosine.value_or(-1), row["cosine"], key + " cosine");
    check_close(found.change.max_abs, row["max_abs"], key + " max_abs");
    check_close(found.change.changed, row["changed"], key + " changed");
    BOOST_TEST(found.change.quantiles.size() == (quantiles ? std::size(drift_quantiles) : 0u));
  }
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(measures_equal_those_of_pytorch, Versions) {
  const Drift drift = measure();
  check_rows(drift.components, record["components"], true);
  check_rows(drift.component_parts, record["component_parts"], true);
  check_rows(drift.component_layers, record["component_layers"], false);
  check_rows(drift.tensors, record["tensors"], false);
  // Quantiles come from a histogram; PyTorch interpolates between two elements. With few elements or a share
  // of exact zeros near q these differ, so the larger components are compared, loosely.
  for (const json& row : record["components"]) {
    if (row["elements"].get<int64_t>() < 150 || row["changed"].get<double>() < 1) continue;
    const Change& change = find_row(drift.components, row["key"]).change;
    for (size_t i = 0; i < change.quantiles.size(); ++i) {
      check_close(change.quantiles[i], row["quantiles"][i], row["key"].get<std::string>() + " quantile", 0.1);
    }
  }
}

BOOST_FIXTURE_TEST_CASE(every_element_is_written, Versions) {
  const fs::path file = folder / "drift.safetensors";
  measure_drift(folder / "before", folder / "after", {.element_file = file});
  const SafetensorsFile elements(file);
  BOOST_TEST(elements.names().size() == record["shapes"].size());
  BOOST_TEST(elements.metadata().at("base_model_sha256").size() == 64u);
  const SafetensorsFile before(folder / "before/model.safetensors");
  for (const std::string& name : elements.names()) {
    const Tensor b = before.read(name), a = moved_weight(name, b), found = elements.read(name);
    BOOST_REQUIRE(found.shape() == b.shape());
    for (int64_t i = 0; i < b.numel(); ++i) {
      const auto expected = static_cast<float>(std::abs(a.data<double>()[i] - b.data<double>()[i]));
      BOOST_REQUIRE(found.data<float>()[i] == expected);
    }
  }
}

BOOST_FIXTURE_TEST_CASE(identical_folders_give_exactly_zero, Versions) {
  const Drift drift = measure_drift(folder / "after", folder / "after");
  for (const auto* rows : {&drift.components, &drift.component_layers, &drift.tensors}) {
    for (const DriftRow& row : *rows) {
      BOOST_TEST(row.change.mean_abs == 0);
      BOOST_TEST(row.change.max_abs == 0);
      BOOST_TEST(row.change.changed == 0);
      BOOST_TEST(row.change.rel_l2.value() == 0);
      BOOST_TEST(row.change.cosine.value() == 1);
    }
  }
}

BOOST_FIXTURE_TEST_CASE(the_result_does_not_depend_on_the_number_of_threads, Versions) {
  const auto text_with = [&](int threads) {
    const tiny::ThreadCount count(threads);
    return to_json(measure()).dump();
  };
  const std::string expected = text_with(1);
  for (const int threads : {2, 3, 8}) BOOST_TEST(text_with(threads) == expected);
}

BOOST_FIXTURE_TEST_CASE(the_key_bias_is_marked_and_not_ranked, Versions) {
  const Drift drift = measure();
  int64_t marked = 0;
  for (const DriftRow& row : drift.tensors) marked += row.group.rounding_noise;
  BOOST_TEST(marked == 2);
  const std::vector<DriftRow> rows = ranked(drift.tensors);
  BOOST_TEST(rows.size() + 2 == drift.tensors.size());
  for (size_t i = 1; i < rows.size(); ++i) {
    BOOST_TEST(rows[i - 1].change.mean_abs >= rows[i].change.mean_abs);
    BOOST_TEST(!rows[i].group.tensor.ends_with("key.bias"));
  }
}

BOOST_FIXTURE_TEST_CASE(json_gives_the_value_back, Versions) {
  Drift drift = measure();
  drift.step_sizes =
      StepSizes{.optimizer = "adamw_torch", .steps = 3, .max_lr = 2, .sum_lr = 3, .sum_sq_lr = 5};
  drift.only_after = {"classifier.weight"};
  drift.checkpoints = {{.step = 4, .components = drift.components, .component_layers = {}}};
  const std::string text = to_json(drift).dump();
  BOOST_TEST(to_json(drift_from_json(json::parse(text), "here")).dump() == text);
  testing::check_error(ErrorKind::model, "here: expected what `normtune drift` writes",
                       [] { drift_from_json(json::parse(R"({"before": 1})"), "here"); });
}

BOOST_AUTO_TEST_CASE(a_zero_reference_has_no_relative_change) {
  const testing::TemporaryFolder folder;
  for (const auto& [name, value] : {std::pair{"before", 0.0}, std::pair{"after", 0.5}}) {
    make_folder(folder / name);
    write_safetensors(folder / name / "model.safetensors",
                      {{"classifier.bias", Tensor::full({3}, value, DType::float32)}});
  }
  const Change change = measure_drift(folder / "before", folder / "after").tensors.front().change;
  BOOST_TEST(change.mean_abs == 0.5);
  BOOST_TEST(!change.rel_l2.has_value());
  BOOST_TEST(!change.cosine.has_value());
}

BOOST_AUTO_TEST_CASE(folders_that_do_not_fit_are_refused) {
  const testing::TemporaryFolder folder;
  const auto write = [&](const char* name, const std::vector<NamedTensor>& tensors) {
    make_folder(folder / name);
    write_safetensors(folder / name / "model.safetensors", tensors);
    return folder / name;
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const fs::path two = write("two", {{"classifier.bias", Tensor::full({2}, 1, DType::float32)}});
  const fs::path three = write("three", {{"classifier.bias", Tensor::full({3}, 1, DType::float32)}});
  const fs::path other = write("other", {{"x.bias", Tensor::full({2}, 1, DType::float32)}});
  const fs::path broken = write("broken", {{"classifier.bias", Tensor::full({2}, nan, DType::float32)}});
  const auto refused = [](const fs::path& before, const fs::path& after, const std::string& message) {
    testing::check_error(ErrorKind::model, message, [&] { measure_drift(before, after); });
  };
  refused(two, three, "tensor 'classifier.bias'");
  refused(two, other, "have no tensor in common");
  refused(two, broken, "holds a value that is not finite");
  refused(two, folder / "absent", "there is no such folder");
  testing::check_error(ErrorKind::model, "has no checkpoint-N/",
                       [&] { measure_drift(two, two, {.checkpoints = true}); });
}

// ---- Runs

BOOST_FIXTURE_TEST_CASE(frozen_tensors_of_a_run_are_exactly_zero, tiny::Workspace) {
  for (const std::string method : {"layernorm", "bitfit", "lora", "houlsby", "full"}) {
    FinetuneOptions run = options(method);
    run.method.method = method;
    finetune(run);
    const Drift drift = measure_drift(model, run.output_dir);
    BOOST_TEST(drift.only_after.size() >= 2u);  // the classifier, and adapters
    BOOST_TEST(drift.only_before.empty());
    const auto moves = [&](const ComponentGroup& group) {
      if (method == "layernorm") return group.component == "output.LayerNorm";
      if (method == "bitfit") return group.part == Part::bias;
      if (method == "houlsby") return group.component.ends_with("LayerNorm");
      if (method == "lora") {
        return group.part == Part::weight &&
               (group.component == "attention.self.query" || group.component == "attention.self.value");
      }
      return true;
    };
    for (const DriftRow& row : drift.tensors) {
      if (row.group.rounding_noise) continue;
      BOOST_TEST((row.change.max_abs > 0) == moves(row.group), method << ": " << row.group.tensor);
    }
  }
}

BOOST_FIXTURE_TEST_CASE(a_run_tells_its_learning_rates, tiny::Workspace) {
  FinetuneOptions run = options("run");
  run.warmup_steps = 3;
  finetune(run);
  const StepSizes steps = measure_drift(model, run.output_dir).step_sizes.value();
  double sum = 0, squares = 0;
  for (int64_t t = 0; t < 14; ++t) {
    const double lr = 5e-3 * (t < 3 ? static_cast<double>(t) / 3 : static_cast<double>(14 - t) / 11);
    sum += lr;
    squares += lr * lr;
  }
  BOOST_TEST(steps.steps == 14);
  BOOST_TEST(steps.optimizer == "adamw_torch");
  BOOST_TEST(steps.walks());
  check_close(steps.sum_lr, sum, "sum_lr");
  check_close(steps.sum_sq_lr, squares, "sum_sq_lr");
  const Drift drift = measure_drift(model, run.output_dir);
  const Change& change = find_row(drift.components, "output.LayerNorm").change;
  check_close(change.of_sign_walk.value(), change.mean_abs / sum, "of_sign_walk");
  // Adam's step is about lr: no component goes farther than the sign walk, by much.
  for (const DriftRow& row : drift.components) BOOST_TEST(row.change.of_sign_walk.value() <= 1.5);
}

BOOST_FIXTURE_TEST_CASE(a_run_that_began_elsewhere_has_no_walk, tiny::Workspace) {
  const FinetuneOptions run = options("run");
  finetune(run);
  const Drift drift = measure_drift(run.output_dir, run.output_dir);
  BOOST_TEST(drift.step_sizes.value().no_walk_because == "the run began with other weights than BEFORE");
  BOOST_TEST(!drift.components.front().change.of_sign_walk.has_value());
}

BOOST_FIXTURE_TEST_CASE(walks_say_nothing_of_sgd, tiny::Workspace) {
  FinetuneOptions run = options("run");
  run.optim = "sgd";
  finetune(run);
  const Drift drift = measure_drift(model, run.output_dir);
  BOOST_TEST(!drift.step_sizes.value().walks());
  BOOST_TEST(!drift.components.front().change.of_sign_walk.has_value());
}

BOOST_FIXTURE_TEST_CASE(checkpoints_give_trajectories, tiny::Workspace) {
  FinetuneOptions run = options("run");
  run.save_strategy = "steps";
  run.save_steps = 5;
  run.save_total_limit = 10;
  finetune(run);
  const Drift drift = measure_drift(model, run.output_dir, {.checkpoints = true});
  BOOST_REQUIRE_GE(drift.checkpoints.size(), 2u);
  BOOST_TEST(drift.checkpoints[0].step == 5);
  const Drift first = measure_drift(model, run.output_dir / "checkpoint-5");
  BOOST_TEST(first.step_sizes.value().steps == 5);
  for (size_t i = 0; i < first.components.size(); ++i) {
    BOOST_TEST(drift.checkpoints[0].components[i].change.mean_abs == first.components[i].change.mean_abs);
    BOOST_TEST(drift.checkpoints[0].components[i].change.of_sign_walk.value() ==
               first.components[i].change.of_sign_walk.value());
  }
}

BOOST_FIXTURE_TEST_CASE(embedding_rows_that_never_occur_are_told_apart, tiny::Workspace) {
  FinetuneOptions run = options("run");
  finetune(run);
  const Drift by_change = measure_drift(model, run.output_dir);
  BOOST_REQUIRE_EQUAL(by_change.embedding_rows.size(), 3u);
  const EmbeddingRows& words = by_change.embedding_rows[0];
  BOOST_TEST(words.tensor == "bert.embeddings.word_embeddings.weight");
  BOOST_TEST(words.rows == static_cast<int64_t>(tiny::words.size() + 5));
  BOOST_TEST(words.occurring > 5);
  BOOST_TEST(words.occurring < words.rows);
  BOOST_TEST(words.of_others.max_abs == 0);
  BOOST_TEST(words.of_occurring.mean_abs >
             find_row(by_change.components, "embeddings.word_embeddings").change.mean_abs);

  OccurringRows told{.tokens = std::vector<bool>(static_cast<size_t>(words.rows)),
                     .num_positions = 4,
                     .num_token_types = 1,
                     .source = "a test"};
  told.tokens[2] = true;  // [CLS]
  const Drift by_tokens = measure_drift(model, run.output_dir, {.occurring = told});
  BOOST_TEST(by_tokens.embedding_rows[0].occurring == 1);
  BOOST_TEST(by_tokens.embedding_rows[1].occurring == 4);
  BOOST_TEST(by_tokens.embedding_rows[2].occurring == 1);
  BOOST_TEST(by_tokens.embedding_rows[0].of_others.max_abs > 0);
}

BOOST_FIXTURE_TEST_CASE(a_delta_folder_is_compared_over_its_base, tiny::Workspace) {
  FinetuneOptions run = options("run");
  run.method.method = "lora";
  run.save_unmerged = true;
  finetune(run);
  const Drift merged = measure_drift(model, run.output_dir);
  const Drift delta = measure_drift(model, run.output_dir / "peft");
  for (size_t i = 0; i < merged.tensors.size(); ++i) {
    BOOST_TEST(delta.tensors[i].group.tensor == merged.tensors[i].group.tensor);
    check_close(delta.tensors[i].change.mean_abs, merged.tensors[i].change.mean_abs,
                merged.tensors[i].group.tensor, 1e-5);
  }
}

// ---- Learning rates of other programs' runs

BOOST_AUTO_TEST_CASE(rates_between_logged_steps_are_interpolated) {
  const testing::TemporaryFolder folder;
  folder.write("trainer_state.json",
               R"({"global_step": 8, "max_steps": 8, "best_metric": null, "log_history": [
                   {"step": 2, "learning_rate": 6.0}, {"step": 4, "eval_loss": 1.0},
                   {"step": 6, "learning_rate": 2.0}]})");
  const StepSizes steps = read_step_sizes(folder.path()).value();
  BOOST_TEST(steps.steps == 8);
  BOOST_TEST(steps.optimizer == "");
  // 7 6 5 4 3 2 1 0
  check_close(steps.sum_lr, 28.0, "sum_lr");
  check_close(steps.sum_sq_lr, 140.0, "sum_sq_lr");
  check_close(steps.max_lr, 7.0, "max_lr");
  folder.write("trainer_state.json", R"({"global_step": 8, "log_history": []})");
  BOOST_TEST(!read_step_sizes(folder.path()).has_value());
  folder.write("trainer_state.json", R"({"global_step": "x"})");
  testing::check_error(ErrorKind::model, "global_step", [&] { read_step_sizes(folder.path()); });
}

BOOST_AUTO_TEST_SUITE_END()
