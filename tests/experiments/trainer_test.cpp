// One update at a time, on the tiny model: what moves, what does not, and what stops it.

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <optional>

#include "autograd/cross_entropy_loss.h"
#include "experiments/classification_objective.h"
#include "experiments/data_order.h"
#include "experiments/update.h"
#include "tests/experiments/tiny_run.h"
#include "tests/nn/tensor_helpers.h"

namespace normtune {

using fixtures::check_error_parts;
using tiny::Workspace;

namespace {

const std::vector<std::string> methods = {
    "full",          "head",           "layernorm",      "layernorm-attention",
    "layernorm-all", "layernorm-bias", "layernorm-gain", "bitfit",
    "random",        "houlsby",        "pfeiffer",       "lora"};

/// A model under a method, with its data and optimiser.
struct Setup {
  Model model;
  TokenizedDataset data;
  Optimizer optimizer;

  Setup(const Workspace& workspace, const std::string& method, DType dtype = DType::float32,
        OptimizerSettings settings = {}, const std::string& task = "sst2")
      : model(load(workspace, dtype)),
        data(load_task_data({.task_name = task, .glue_dir = workspace.glue}).train, model.tokenizer, 32),
        optimizer(apply_method(model.bert, {.method = method, .adapter_size = 3, .lora_r = 2}, 42),
                  settings) {}

  static Model load(const Workspace& workspace, DType dtype) {
    return load_model(workspace.model, {.dtype = dtype, .label_names = {"negative", "positive"}});
  }

  UpdateResult update(std::span<const int64_t> examples, int64_t step, double lr = 0.01,
                      UpdateSettings settings = {.batch_size = 4}) {
    return enqueue_update(model.bert, ClassificationObjective(data), optimizer,
                          {.update = step, .indices = examples}, lr, settings)
        .finish();
  }

  std::vector<Tensor> values() const {
    std::vector<Tensor> copies;
    for (const Parameter& parameter : model.bert.parameters()) {
      copies.push_back(parameter.variable.tensor().clone());
    }
    return copies;
  }
};

/// Largest difference between the parameters of two models.
double max_difference(const Setup& a, const Setup& b) {
  double largest = 0;
  for (const Parameter& parameter : a.model.bert.parameters()) {
    const std::vector<double> x = parameter.variable.tensor().to_vector<double>();
    const std::vector<double> y =
        b.model.bert.parameters().at(parameter.name).variable.tensor().to_vector<double>();
    for (size_t i = 0; i < x.size(); ++i) {
      if (!(std::abs(x[i] - y[i]) <= largest)) largest = std::abs(x[i] - y[i]);
    }
  }
  return largest;
}

std::vector<int64_t> first_examples(int64_t count) {
  return epoch_order(count, 0, 0, /*shuffle=*/false);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(trainer)

BOOST_AUTO_TEST_CASE(frozen_tensors_keep_their_bytes_for_50_steps) {
  const Workspace workspace;
  for (const std::string& method : methods) {
    Setup setup(workspace, method, DType::float32, {.weight_decay = 0.1});
    const std::vector<Tensor> before = setup.values();
    DataOrder order({.num_examples = setup.data.size(), .batch_size = 4}, 42, true);
    for (int64_t step = 0; step < 50; ++step) setup.update(order.update_examples(step), step);
    size_t i = 0;
    for (const Parameter& parameter : setup.model.bert.parameters()) {
      const bool same = testing::equal_bits(before[i++], parameter.variable.tensor());
      const bool frozen = !parameter.variable.requires_grad();
      BOOST_CHECK_MESSAGE(!frozen || same, method << " moved " << parameter.name);
      BOOST_CHECK_MESSAGE(frozen || !same, method << " did not move " << parameter.name);
    }
  }
}

BOOST_AUTO_TEST_CASE(every_trainable_tensor_gets_a_gradient_and_no_other) {
  const Workspace workspace;
  for (const std::string& method : methods) {
    Setup setup(workspace, method, DType::float64);
    const std::vector<int64_t> examples = first_examples(26);
    const Variable logits = setup.model.bert.classify(setup.data.batch(examples), {});
    cross_entropy_loss(logits, setup.data.labels(examples, DType::float64), 1.0 / 26).backward();
    for (const Parameter& parameter : setup.model.bert.parameters()) {
      const Tensor& gradient = parameter.variable.grad();
      BOOST_CHECK_MESSAGE(gradient.defined() == parameter.variable.requires_grad(),
                          method << ": " << parameter.name);
      if (!gradient.defined()) continue;
      const double norm = gradient.backend().squared_norms({{gradient}}).front();
      const bool is_lora_A = parameter.component.ends_with("lora_A");  // its gradient passes through B = 0
      const bool is_key_bias = parameter.component == "attention.self.key" && parameter.is_bias;
      // One text only: token type 1 and most positions and words do not occur, but some do.
      if (is_lora_A) {
        BOOST_CHECK_EQUAL(norm, 0);
      } else if (is_key_bias) {
        BOOST_CHECK_MESSAGE(norm <= 1e-24, parameter.name << ": " << norm);
      } else {
        BOOST_CHECK_MESSAGE(norm > 0, method << ": " << parameter.name);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(learns_its_examples_by_heart) {
  const Workspace workspace;
  const std::vector<std::pair<std::string, double>> remaining_losses = {
      {"full", 0.25}, {"layernorm", 0.25}, {"bitfit", 0.25},
      {"lora", 0.5},  {"houlsby", 0.25},   {"pfeiffer", 0.75}};
  for (const auto& [method, remaining] : remaining_losses) {
    Setup setup(workspace, method);
    const std::vector<int64_t> examples = first_examples(8);
    const double before = setup.update(examples, 0, 0).loss;
    double after = before;
    for (int64_t step = 1; step <= 150; ++step) after = setup.update(examples, step, 0.02).loss;
    BOOST_CHECK_MESSAGE(after < remaining * before, method << ": from " << before << " to " << after);
  }
}

BOOST_AUTO_TEST_CASE(accumulated_batches_are_one_large_batch) {
  // With dropout: its masks belong to the examples, not to the batches. 11 = 4 + 4 + 3: a ragged end.
  const Workspace workspace;
  for (const std::string method : {"full", "lora"}) {
    Setup large(workspace, method, DType::float64), accumulated(workspace, method, DType::float64);
    const std::vector<int64_t> examples = first_examples(11);
    for (int64_t step = 0; step < 5; ++step) {
      const UpdateResult a = large.update(examples, step, 1e-3, {.batch_size = 11});
      const UpdateResult b = accumulated.update(examples, step, 1e-3, {.batch_size = 4});
      BOOST_CHECK_LE(std::abs(a.loss - b.loss), 1e-12);
      BOOST_CHECK_LE(std::abs(a.gradient_norm - b.gradient_norm), 1e-12 * a.gradient_norm);
      BOOST_CHECK_EQUAL(a.num_tokens, b.num_tokens);
    }
    // The key bias moves by rounding noise, which Adam blows up: it is compared before any of that.
    accumulated.optimizer.zero_grad();
    for (const char* layer : {"0", "1"}) {
      const std::string name = fmt::format("bert.encoder.layer.{}.attention.self.key.bias", layer);
      Tensor noise = accumulated.model.bert.parameters().at(name).variable.tensor();
      noise.copy_from(large.model.bert.parameters().at(name).variable.tensor());
    }
    BOOST_CHECK_LE(max_difference(large, accumulated), 1e-12);
  }
}

BOOST_AUTO_TEST_CASE(clips_the_gradient_as_pytorch_does) {
  const Workspace workspace;
  Setup clipped(workspace, "full", DType::float64, {.kind = OptimizerKind::sgd});
  Setup free(workspace, "full", DType::float64, {.kind = OptimizerKind::sgd});
  const std::vector<int64_t> examples = first_examples(6);
  const double lr = 0.1, limit = 0.01;
  const double norm = free.update(examples, 0, lr, {.batch_size = 6, .max_grad_norm = 0}).gradient_norm;
  BOOST_REQUIRE_GT(norm, 2 * limit);
  const double factor = limit / (norm + 1e-6);
  clipped.update(examples, 0, lr, {.batch_size = 6, .max_grad_norm = limit});
  const Setup start(workspace, "full", DType::float64);
  for (const Parameter& parameter : start.model.bert.parameters()) {
    const auto values = [&](const Setup& setup) {
      return setup.model.bert.parameters().at(parameter.name).variable.tensor().to_vector<double>();
    };
    const std::vector<double> before = values(start), moved = values(free), found = values(clipped);
    for (size_t i = 0; i < before.size(); ++i) {
      const double error = std::abs(found[i] - (before[i] + factor * (moved[i] - before[i])));
      BOOST_REQUIRE_MESSAGE(error <= 1e-14, parameter.name << ": " << error);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_repeated_step_takes_no_memory_from_the_system) {
  const Workspace workspace;
  for (const std::string& method : methods) {
    Setup setup(workspace, method);
    DataOrder order({.num_examples = setup.data.size(), .batch_size = 8}, 42, true);
    Allocator& allocator = setup.model.bert.parameters().begin()->variable.backend().allocator();
    // Two epochs show every shape (updates are the same ones in file order).
    for (int64_t step = 0; step < 8; ++step) setup.update(order.update_examples(step % 4), step);
    const AllocatorStats before = allocator.stats();
    for (int64_t step = 8; step < 24; ++step) setup.update(order.update_examples(step % 4), step);
    const AllocatorStats after = allocator.stats();
    BOOST_CHECK_EQUAL(after.system_allocations, before.system_allocations);
    BOOST_CHECK_EQUAL(after.reserved, before.reserved);
    BOOST_CHECK_EQUAL(after.in_use, before.in_use);
  }
}

BOOST_AUTO_TEST_CASE(names_the_tensor_behind_a_loss_that_is_not_finite) {
  const Workspace workspace;
  const std::vector<std::pair<std::string, double>> faults = {
      {"bert.encoder.layer.1.output.LayerNorm.bias", std::nan("")},
      {"classifier.bias", std::numeric_limits<double>::infinity()}};
  for (const auto& [name, bad] : faults) {
    Setup setup(workspace, "layernorm");
    Tensor bias = setup.model.bert.parameters().at(name).variable.tensor();
    bias.slice(1, 2).fill(bad);
    const std::vector<Tensor> before = setup.values();
    const std::vector<int64_t> examples = {5, 2, 9};
    check_error_parts(ErrorKind::numeric, {"step 13", "loss", "'" + name + "'", "5, 2, 9"},
                      [&] { setup.update(examples, 12); });
    size_t i = 0;
    for (const Parameter& parameter : setup.model.bert.parameters()) {
      BOOST_CHECK(testing::equal_bits(before[i++], parameter.variable.tensor()));
    }
  }
}

/// Losses are read when all batches of an update have been enqueued: the message still tells which was at
/// fault.
BOOST_AUTO_TEST_CASE(names_the_batch_whose_loss_is_not_finite) {
  const Workspace workspace;
  Setup setup(workspace, "layernorm");
  const std::vector<int64_t> examples = {5, 2, 9};
  const auto occurs = [&](int32_t token, int64_t index) {
    return std::ranges::count(setup.data.example(index).input_ids, token) > 0;
  };
  std::optional<int32_t> token_of_second;
  for (const int32_t token : setup.data.example(2).input_ids) {
    if (!occurs(token, 5) && !occurs(token, 9)) token_of_second = token;
  }
  BOOST_REQUIRE(token_of_second.has_value());
  const std::string name = "bert.embeddings.word_embeddings.weight";
  const Tensor table = setup.model.bert.parameters().at(name).variable.tensor();
  table.slice(*token_of_second, *token_of_second + 1).fill(std::nan(""));
  const std::vector<Tensor> before = setup.values();
  check_error_parts(ErrorKind::numeric, {"step 1:", "loss", "'" + name + "'", "examples 2 (counted from 0)"},
                    [&] { setup.update(examples, 0, 0.01, {.batch_size = 1}); });
  size_t i = 0;
  for (const Parameter& parameter : setup.model.bert.parameters()) {
    BOOST_CHECK(testing::equal_bits(before[i++], parameter.variable.tensor()));
  }
}

BOOST_AUTO_TEST_CASE(names_the_tensor_with_a_gradient_that_is_not_finite) {
  const Workspace workspace;
  Setup setup(workspace, "full");
  // A wrong answer with logits of 1e36: the loss is finite, but 3e38 - (-3e38), the gradient of the pooled
  // output, is not.
  const auto value = [&](const char* name) {
    return setup.model.bert.parameters().at(name).variable.tensor();
  };
  value("classifier.weight").slice(0, 1).fill(3e38);
  value("classifier.weight").slice(1, 2).fill(-3e38);
  value("bert.pooler.dense.weight").fill(0);
  value("bert.pooler.dense.bias").fill(1e-3);
  const std::vector<int64_t> example = {3};
  BOOST_REQUIRE_EQUAL(setup.data.labels(example, DType::float32).to_vector<int32_t>().front(), 1);
  const std::vector<Tensor> before = setup.values();
  check_error_parts(ErrorKind::numeric, {"step 1:", "gradient of tensor 'bert."},
                    [&] { setup.update(example, 0); });
  size_t i = 0;
  for (const Parameter& parameter : setup.model.bert.parameters()) {
    BOOST_CHECK(testing::equal_bits(before[i++], parameter.variable.tensor()));
  }
}

BOOST_AUTO_TEST_CASE(dropout_masks_depend_on_seed_and_step) {
  const Workspace workspace;
  const std::vector<int64_t> examples = first_examples(4);
  const auto loss = [&](uint64_t dropout_seed, int64_t step) {
    Setup setup(workspace, "head");
    return setup.update(examples, step, 0, {.batch_size = 4, .dropout_seed = dropout_seed}).loss;
  };
  BOOST_CHECK_EQUAL(loss(1, 0), loss(1, 0));
  BOOST_CHECK_NE(loss(1, 0), loss(2, 0));
  BOOST_CHECK_NE(loss(1, 0), loss(1, 1));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
