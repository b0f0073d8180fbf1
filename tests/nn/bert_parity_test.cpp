// BERT against transformers: random models of odd shapes and a public checkpoint
// (tests/files/bert/README.md).

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "autograd/add.h"
#include "autograd/cross_entropy_loss.h"
#include "autograd/mse_loss.h"
#include "nn/bert.h"
#include "nn/checkpoint.h"
#include "tensor/precision.h"
#include "tests/nn/oracle.h"

using namespace normtune;
using namespace normtune::oracle;
namespace data = boost::unit_test::data;

namespace {

const std::vector<std::string> classification_cases = {"hidden60_heads5", "head_size33", "layers3_relu",
                                                       "layers13",        "regression",  "single"};
const std::vector<std::string> pretraining_cases = {"pretraining", "pretraining_relu"};
const std::vector<std::string> precisions = {"float32", "float64"};

DType dtype_named(const std::string& precision) {
  return precision == "float32" ? DType::float32 : DType::float64;
}

Bert generated_model(const BertConfig& config, BertHead head, DType dtype) {
  Bert model(config, head, dtype);
  for (Parameter& parameter : model.parameters()) {
    fill_with_generated_weight(parameter);
    parameter.variable.set_requires_grad(true);
  }
  return model;
}

/// The mean loss of the recorded labels.
Variable classification_loss(const Case& recorded, const Variable& logits) {
  const double scale = 1.0 / static_cast<double>(recorded.num_examples());
  if (recorded.config.is_regression()) {
    return mse_loss(logits, recorded.tensor("labels").to(logits.dtype()), scale);
  }
  return cross_entropy_loss(logits, select_labels(recorded.integers("labels"), recorded.all_examples()),
                            scale);
}

void check_values(const std::string& what, const Tensor& found, const Case& recorded,
                  const Tolerances& tolerance) {
  const std::vector<double> expected = recorded.values(what);
  BOOST_TEST_CONTEXT(what) {
    BOOST_TEST(max_abs_error(doubles(found), expected) <= tolerance.max_abs);
    BOOST_TEST(relative_l2_error(doubles(found), expected) <= tolerance.relative);
  }
}

void check_loss(const Variable& loss, double expected, const Tolerances& tolerance) {
  BOOST_TEST(std::abs(loss.tensor().item() - expected) <= tolerance.loss * std::abs(expected));
}

void check_key_bias(const ParameterList& parameters, const Parameter& key_bias, const Tolerances& tolerance) {
  const Parameter& query_bias = parameters.at(query_bias_of(key_bias.name));
  BOOST_TEST(norm(doubles(key_bias.variable.grad())) <=
             tolerance.key_bias * norm(doubles(query_bias.variable.grad())));
}

/// Leaves the vectors to be trained: gains and biases, as in LayerNorm tuning and BitFit.
void freeze_matrices(const Bert& model) {
  for (Parameter parameter : model.parameters()) {
    parameter.variable.set_requires_grad(parameter.variable.shape().rank() == 1);
  }
}

/// Every recorded gradient against that of the parameter of the same name; no parameter may be without one
/// but those that are frozen.
void check_gradients(const ParameterList& parameters, const Case& recorded, const Tolerances& tolerance) {
  const std::vector<std::string> names = recorded.names("grad.");
  BOOST_TEST(names.size() == parameters.size());
  for (const std::string& name : names) {
    BOOST_TEST_CONTEXT(name) {
      const Parameter& parameter = parameters.at(name);
      BOOST_TEST_REQUIRE(parameter.variable.has_grad() == parameter.variable.requires_grad());
      if (!parameter.variable.has_grad()) continue;
      if (is_key_bias(name)) {
        check_key_bias(parameters, parameter, tolerance);
        continue;
      }
      const double error =
          relative_l2_error(doubles(parameter.variable.grad()), recorded.values("grad." + name));
      BOOST_TEST(error <= tolerance.gradient);
    }
  }
}

std::vector<int64_t> predicted_rows(const Case& recorded) {
  std::vector<int64_t> rows;
  const std::vector<int64_t> labels = recorded.integers("mlm_labels");
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] >= 0) rows.push_back(static_cast<int64_t>(i));
  }
  return rows;
}

Tensor as_int32(const std::vector<int64_t>& values) {
  return Tensor::from_values(Shape{static_cast<int64_t>(values.size())},
                             std::vector<int32_t>(values.begin(), values.end()));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(bert_parity)

BOOST_DATA_TEST_CASE(hidden_states_and_pooled_output,
                     data::make(classification_cases) * data::make(precisions), name, precision) {
  const Case recorded(recorded_cases, name);
  const DType dtype = dtype_named(precision);
  const Bert model = generated_model(recorded.config, BertHead::classification, dtype);
  const PackedBatch batch = recorded.batch();
  check_values("hidden_states", model.encode(batch, {}).tensor(), recorded, tolerances(dtype));
  check_values("pooled_output", model.pool(model.encode_cls(batch, {}), batch, {}).tensor(), recorded,
               tolerances(dtype));
}

BOOST_DATA_TEST_CASE(logits_loss_and_every_gradient,
                     data::make(classification_cases) * data::make(precisions) * data::make({false, true}) *
                         data::make({false, true}),
                     name, precision, last_layer_cls_only, matrices_are_frozen) {
  const Case recorded(recorded_cases, name);
  const DType dtype = dtype_named(precision);
  Bert model = generated_model(recorded.config, BertHead::classification, dtype);
  model.set_last_layer_cls_only(last_layer_cls_only);
  if (matrices_are_frozen) freeze_matrices(model);
  const Variable logits = model.classify(recorded.batch(), {});
  check_values("logits", logits.tensor(), recorded, tolerances(dtype));
  const Variable loss = classification_loss(recorded, logits);
  check_loss(loss, recorded.scalar("loss"), tolerances(dtype));
  loss.backward();
  check_gradients(model.parameters(), recorded, tolerances(dtype));
}

/// Products of rounded factors: near float32 by the precision of bfloat16, not equal.
BOOST_DATA_TEST_CASE(logits_loss_and_gradients_in_bf16,
                     data::make(classification_cases) * data::make({false, true}), name,
                     matrices_are_frozen) {
  const Tolerances tolerance{.max_abs = 1,
                             .relative = 2e-2,
                             .loss = 1e-2,
                             .gradient = 2e-1,
                             .key_bias = 1e-1,
                             .moved = 0,
                             .training_loss = 0};
  constexpr double joined_tolerance = 5e-2;
  const Case recorded(recorded_cases, name);
  const Bert model =
      generated_model(recorded.config, BertHead::classification, use_precision(Precision::bf16, Device{}));
  if (matrices_are_frozen) freeze_matrices(model);
  const Variable logits = model.classify(recorded.batch(), {});
  const Variable loss = classification_loss(recorded, logits);
  loss.backward();
  use_precision(Precision::fp32, Device{});
  check_values("logits", logits.tensor(), recorded, tolerance);
  check_loss(loss, recorded.scalar("loss"), tolerance);
  check_gradients(model.parameters(), recorded, tolerance);
  std::vector<double> found, expected;
  for (const std::string& gradient : recorded.names("grad.")) {
    const Variable& variable = model.parameters().at(gradient).variable;
    if (!variable.has_grad()) continue;
    const std::vector<double> own = doubles(variable.grad());
    const std::vector<double> theirs = recorded.values("grad." + gradient);
    found.insert(found.end(), own.begin(), own.end());
    expected.insert(expected.end(), theirs.begin(), theirs.end());
  }
  BOOST_TEST(relative_l2_error(found, expected) <= joined_tolerance);
}

BOOST_DATA_TEST_CASE(padding_row_gets_no_gradient, data::make(precisions), precision) {
  const Case recorded(recorded_cases, "layers3_relu");
  Bert model = generated_model(recorded.config, BertHead::classification, dtype_named(precision));
  classification_loss(recorded, model.classify(recorded.batch(), {})).backward();
  const Tensor gradient = model.parameters().at("bert.embeddings.word_embeddings.weight").variable.grad();
  const std::vector<double> row = doubles(gradient.slice(0, 1));
  BOOST_TEST(row == std::vector<double>(row.size(), 0.0), boost::test_tools::per_element());
}

// transformers computed the recorded batch padded; here each example stands alone, and in another order.
BOOST_DATA_TEST_CASE(alone_equals_padded, data::make(classification_cases) * data::make(precisions), name,
                     precision) {
  const Case recorded(recorded_cases, name);
  const DType dtype = dtype_named(precision);
  const Bert model = generated_model(recorded.config, BertHead::classification, dtype);
  const std::vector<double> logits = recorded.values("logits");
  const size_t num_labels = logits.size() / static_cast<size_t>(recorded.num_examples());
  for (int64_t example = 0; example < recorded.num_examples(); ++example) {
    const auto begin = logits.begin() + static_cast<int64_t>(num_labels) * example;
    const std::vector<double> expected(begin, begin + static_cast<int64_t>(num_labels));
    const std::vector<double> found = doubles(model.classify(recorded.batch({example}), {}).tensor());
    BOOST_TEST(max_abs_error(found, expected) <= tolerances(dtype).max_abs);
  }
}

// Packing changes nothing: the same example first, last, and alone.
BOOST_DATA_TEST_CASE(packing_changes_nothing, data::make(classification_cases) * data::make(precisions), name,
                     precision) {
  const Case recorded(recorded_cases, name);
  const DType dtype = dtype_named(precision);
  const Bert model = generated_model(recorded.config, BertHead::classification, dtype);
  std::vector<int64_t> reversed = recorded.all_examples();
  std::reverse(reversed.begin(), reversed.end());
  const Tensor in_order = model.classify(recorded.batch(), {}).tensor();
  const Tensor in_reverse = model.classify(recorded.batch(reversed), {}).tensor();
  const double tolerance = dtype == DType::float64 ? 1e-13 : 5e-6;
  for (int64_t example = 0; example < recorded.num_examples(); ++example) {
    const int64_t row = recorded.num_examples() - 1 - example;
    const std::vector<double> expected = doubles(in_order.slice(example, example + 1));
    BOOST_TEST(max_abs_error(doubles(in_reverse.slice(row, row + 1)), expected) <= tolerance);
    const Tensor alone = model.classify(recorded.batch({example}), {}).tensor();
    BOOST_TEST(max_abs_error(doubles(alone), expected) <= tolerance);
  }
}

BOOST_DATA_TEST_CASE(pretraining_heads, data::make(pretraining_cases) * data::make(precisions), name,
                     precision) {
  const Case recorded(recorded_cases, name);
  const DType dtype = dtype_named(precision);
  const Tolerances tolerance = tolerances(dtype);
  Bert model = generated_model(recorded.config, BertHead::pretraining, dtype);
  const PackedBatch batch = recorded.batch();
  const std::vector<int64_t> rows = predicted_rows(recorded);

  const Variable hidden_states = model.encode(batch, {});
  const Variable token_logits = model.predict_tokens(hidden_states, as_int32(rows));
  const Variable sentence_logits = model.predict_next_sentence(hidden_states, batch, {});
  check_values("hidden_states", hidden_states.tensor(), recorded, tolerance);
  check_values("prediction_logits", token_logits.tensor(), recorded, tolerance);
  check_values("seq_relationship_logits", sentence_logits.tensor(), recorded, tolerance);

  const Variable mlm_loss =
      cross_entropy_loss(token_logits, select_labels(recorded.integers("mlm_labels"), rows),
                         1.0 / static_cast<double>(rows.size()));
  const Variable nsp_loss = cross_entropy_loss(
      sentence_logits, select_labels(recorded.integers("nsp_labels"), recorded.all_examples()),
      1.0 / static_cast<double>(batch.batch_size));
  check_loss(mlm_loss, recorded.scalar("mlm_loss"), tolerance);
  check_loss(nsp_loss, recorded.scalar("nsp_loss"), tolerance);
  add(mlm_loss, nsp_loss).backward();
  check_gradients(model.parameters(), recorded, tolerance);
}

namespace {

/// The checkpoint's weights with a generated classifier.
Bert checkpoint_model(const std::filesystem::path& folder, const BertConfig& config, DType dtype) {
  Bert model(config, BertHead::classification, dtype);
  const StateDict state = read_state_dict(folder);
  for (Parameter& parameter : model.parameters()) {
    parameter.variable.set_requires_grad(true);
    if (parameter.name.starts_with("classifier.")) {
      fill_with_generated_weight(parameter);
      continue;
    }
    const Tensor* stored = state.find(parameter.name);
    BOOST_TEST_REQUIRE(stored != nullptr, parameter.name);
    Tensor value = parameter.variable.tensor();
    value.copy_from(stored->to(dtype));
  }
  return model;
}

double projection(const std::vector<double>& values, std::string_view name) {
  const UniformStream uniform(name);
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) sum += values[i] * uniform[static_cast<int64_t>(i)];
  return sum;
}

void check_hidden_states(const Tensor& hidden_states, const PackedBatch& batch, const Case& recorded,
                         const Tolerances& tolerance) {
  const std::vector<int32_t> cu_seqlens = batch.cu_seqlens.to_vector<int32_t>();
  std::vector<double> first, last, projections;
  for (int64_t row = 0; row < batch.total_tokens; ++row) {
    const std::vector<double> values = doubles(hidden_states.slice(row, row + 1));
    projections.push_back(projection(values, "projection.hidden_states"));
    for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
      if (row == cu_seqlens[s]) first.insert(first.end(), values.begin(), values.end());
      if (row == cu_seqlens[s + 1] - 1) last.insert(last.end(), values.begin(), values.end());
    }
  }
  BOOST_TEST(max_abs_error(first, recorded.values("hidden_states.first")) <= tolerance.max_abs);
  BOOST_TEST(max_abs_error(last, recorded.values("hidden_states.last")) <= tolerance.max_abs);
  // A projection adds up hidden_size errors of random sign.
  const double spread = std::sqrt(static_cast<double>(hidden_states.size(1)));
  BOOST_TEST(max_abs_error(projections, recorded.values("hidden_states.projection")) <=
             tolerance.max_abs * spread);
}

/// Small gradients whole, large ones by their norm and a projection. An error of relative size e changes the
/// projection by about e * norm / sqrt(3); five times that is allowed.
void check_summarized_gradients(const ParameterList& parameters, const Case& recorded,
                                const Tolerances& tolerance) {
  for (const Parameter& parameter : parameters) {
    BOOST_TEST_CONTEXT(parameter.name) {
      if (is_key_bias(parameter.name)) {
        check_key_bias(parameters, parameter, tolerance);
        continue;
      }
      const std::vector<double> gradient = doubles(parameter.variable.grad());
      const double expected_norm = recorded.scalar("grad_norm." + parameter.name);
      BOOST_TEST(std::abs(norm(gradient) - expected_norm) <= tolerance.gradient * expected_norm);
      const double found = projection(gradient, "projection." + parameter.name);
      BOOST_TEST(std::abs(found - recorded.scalar("grad_projection." + parameter.name)) <=
                 3 * tolerance.gradient * expected_norm);
      if (recorded.contains("grad." + parameter.name)) {
        BOOST_TEST(relative_l2_error(gradient, recorded.values("grad." + parameter.name)) <=
                   tolerance.gradient);
      }
    }
  }
}

}  // namespace

BOOST_DATA_TEST_CASE(public_checkpoint, data::make(precisions), precision) {
  const char* root = std::getenv("NORMTUNE_DATA");
  if (root == nullptr) {
    BOOST_TEST_MESSAGE("skipped: NORMTUNE_DATA is not set");
    return;
  }
  const Case recorded(recorded_cases, "checkpoint_minilm");
  const DType dtype = dtype_named(precision);
  const Tolerances tolerance = tolerances(dtype);
  Bert model =
      checkpoint_model(std::filesystem::path(root) / "models" / "all-MiniLM-L6-v2", recorded.config, dtype);
  const PackedBatch batch = recorded.batch();
  check_hidden_states(model.encode(batch, {}).tensor(), batch, recorded, tolerance);
  check_values("pooled_output", model.pool(model.encode_cls(batch, {}), batch, {}).tensor(), recorded,
               tolerance);
  const Variable logits = model.classify(batch, {});
  check_values("logits", logits.tensor(), recorded, tolerance);
  const Variable loss = classification_loss(recorded, logits);
  check_loss(loss, recorded.scalar("loss"), tolerance);
  loss.backward();
  check_summarized_gradients(model.parameters(), recorded, tolerance);
}

BOOST_AUTO_TEST_SUITE_END()
