// The squared gradients of single examples in BERT: one pass over a batch against one backward pass for each
// example.

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "autograd/cross_entropy_loss.h"
#include "autograd/mse_loss.h"
#include "nn/bert.h"
#include "tests/nn/oracle.h"

using namespace normtune;
using namespace normtune::oracle;
namespace data = boost::unit_test::data;

namespace {

const std::vector<std::string> cases = {"hidden60_heads5", "head_size33", "layers3_relu",
                                        "layers13",        "regression",  "single"};

Bert generated_model(const BertConfig& config, DType dtype) {
  Bert model(config, BertHead::classification, dtype);
  for (Parameter& parameter : model.parameters()) {
    fill_with_generated_weight(parameter);
    parameter.variable.set_requires_grad(true);
  }
  return model;
}

/// The sum over some examples of a loss.
Variable total_loss(const Case& recorded, const Bert& model, const std::vector<int64_t>& examples) {
  const Variable logits = model.classify(recorded.batch(examples), {});
  if (!recorded.config.is_regression()) {
    return cross_entropy_loss(logits, select_labels(recorded.integers("labels"), examples), 1.0);
  }
  std::vector<double> targets;
  for (const int64_t i : examples) targets.push_back(recorded.values("labels").at(static_cast<size_t>(i)));
  const Shape shape{static_cast<int64_t>(targets.size())};
  return mse_loss(logits, Tensor::from_values(shape, targets).to(logits.dtype()), 1.0);
}

/// One backward pass for each example: sum of squared gradients, per parameter.
std::vector<std::vector<double>> loop(const Case& recorded, Bert& model) {
  std::vector<std::vector<double>> squares;
  for (const Parameter& parameter : model.parameters()) {
    squares.emplace_back(static_cast<size_t>(parameter.numel()), 0.0);
  }
  for (const int64_t example : recorded.all_examples()) {
    model.parameters().zero_grad();
    total_loss(recorded, model, {example}).backward();
    size_t i = 0;
    for (const Parameter& parameter : model.parameters()) {
      const std::vector<double> gradient = doubles(parameter.variable.grad());
      for (size_t j = 0; j < gradient.size(); ++j) squares[i][j] += gradient[j] * gradient[j];
      ++i;
    }
  }
  model.parameters().zero_grad();
  return squares;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(squared_gradients)

BOOST_DATA_TEST_CASE(equal_one_backward_pass_for_each_example,
                     data::make(cases) * data::make({"float32", "float64"}) * data::make({false, true}), name,
                     precision, last_layer_cls_only) {
  const DType dtype = precision == std::string("float64") ? DType::float64 : DType::float32;
  const Case recorded(recorded_cases, name);
  Bert model = generated_model(recorded.config, dtype);
  model.set_last_layer_cls_only(last_layer_cls_only);
  const std::vector<std::vector<double>> expected = loop(recorded, model);
  total_loss(recorded, model, recorded.all_examples()).backward_squares(recorded.batch().cu_seqlens);

  const double tolerance = dtype == DType::float64 ? 1e-6 : 1e-4;
  size_t i = 0;
  for (const Parameter& parameter : model.parameters()) {
    BOOST_TEST_CONTEXT(parameter.name) {
      const std::vector<double> found = doubles(parameter.variable.grad());
      if (is_key_bias(parameter.name)) {  // noise: its square root is held against the query's
        const double query =
            norm(doubles(model.parameters().at(query_bias_of(parameter.name)).variable.grad()));
        const double noise = tolerances(dtype).key_bias;
        BOOST_TEST(norm(found) <= noise * noise * query);
      } else {
        BOOST_TEST(relative_l2_error(found, expected[i]) <= tolerance);
        BOOST_TEST(norm(found) > 0);
      }
    }
    ++i;
  }
}

BOOST_AUTO_TEST_SUITE_END()
