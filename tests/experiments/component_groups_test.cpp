#include "experiments/component_groups.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <nlohmann/json.hpp>

#include "nn/bert.h"

using namespace normtune;

BOOST_AUTO_TEST_SUITE(component_groups)

namespace {

std::vector<std::string> names_of(const std::vector<ComponentGroup>& rows) {
  std::vector<std::string> names;
  for (const ComponentGroup& row : rows) names.push_back(row_name(row));
  return names;
}

}  // namespace

BOOST_AUTO_TEST_CASE(lists_are_ordered_as_data_flows_whatever_the_order_of_the_file) {
  const std::vector<TensorSize> tensors = {{"classifier.bias", 2},
                                           {"bert.encoder.layer.10.output.LayerNorm.bias", 4},
                                           {"bert.encoder.layer.2.output.LayerNorm.weight", 4},
                                           {"bert.encoder.layer.2.output.LayerNorm.bias", 4},
                                           {"bert.encoder.layer.2.attention.output.LayerNorm.bias", 4},
                                           {"bert.embeddings.LayerNorm.bias", 4},
                                           {"scale", 1}};
  const ComponentLists lists = group_by_component(tensors);
  const std::vector<std::string> components = {"embeddings.LayerNorm", "attention.output.LayerNorm",
                                               "output.LayerNorm", "classifier", "scale"};
  BOOST_TEST(names_of(lists.components) == components, boost::test_tools::per_element());
  const std::vector<std::string> parts = {"embeddings.LayerNorm.bias", "attention.output.LayerNorm.bias",
                                          "output.LayerNorm.weight",   "output.LayerNorm.bias",
                                          "classifier.bias",           "scale.weight"};
  BOOST_TEST(names_of(lists.component_parts) == parts, boost::test_tools::per_element());
  const std::vector<std::string> layers = {"embeddings.LayerNorm", "2 attention.output.LayerNorm",
                                           "2 output.LayerNorm",   "10 output.LayerNorm",
                                           "classifier",           "scale"};
  BOOST_TEST(names_of(lists.component_layers) == layers, boost::test_tools::per_element());
  BOOST_REQUIRE_EQUAL(lists.tensors.size(), tensors.size());
  BOOST_TEST(lists.tensors[2].tensor == "bert.encoder.layer.2.output.LayerNorm.weight");
  BOOST_TEST(lists.components[2].elements == 12);
  BOOST_TEST(lists.components[2].members == (std::vector<size_t>{2, 3, 1}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(the_order_is_that_of_the_model) {
  BertConfig config;
  config.vocab_size = 7, config.hidden_size = 4, config.num_hidden_layers = 2;
  config.num_attention_heads = 2, config.intermediate_size = 8, config.max_position_embeddings = 5;
  config.type_vocab_size = 2;
  const Bert bert(config, BertHead::classification);
  std::vector<TensorSize> tensors;
  for (const Parameter& parameter : bert.parameters()) tensors.push_back({parameter.name, parameter.numel()});
  std::vector<std::string> expected;
  for (const TensorSize& tensor : tensors) expected.push_back(tensor.name);
  std::reverse(tensors.begin(), tensors.end());
  std::vector<std::string> found;
  for (const ComponentGroup& row : group_by_component(tensors).tensors) found.push_back(row.tensor);
  BOOST_TEST(found == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(only_the_key_bias_is_rounding_noise) {
  const ComponentLists lists = group_by_component({{"bert.encoder.layer.0.attention.self.key.bias", 4},
                                                   {"bert.encoder.layer.0.attention.self.key.weight", 16},
                                                   {"bert.encoder.layer.0.attention.self.query.bias", 4}});
  for (const auto* rows : {&lists.component_parts, &lists.tensors}) {
    for (const ComponentGroup& row : *rows) {
      BOOST_TEST(row.rounding_noise == (row.component == "attention.self.key" && row.part == Part::bias));
    }
  }
  for (const auto* rows : {&lists.components, &lists.component_layers}) {
    for (const ComponentGroup& row : *rows) BOOST_TEST(!row.rounding_noise);
  }
}

BOOST_AUTO_TEST_CASE(rows_in_files) {
  const ComponentLists lists = group_by_component({{"bert.encoder.layer.3.output.LayerNorm.bias", 4}});
  BOOST_TEST(group_json(lists.tensors[0]).dump() ==
             R"({"tensor":"bert.encoder.layer.3.output.LayerNorm.bias","component":"output.LayerNorm",)"
             R"("layer":3,"part":"bias","elements":4,"rounding_noise":false})");
  BOOST_TEST(
      group_json(lists.components[0]).dump() ==
      R"({"component":"output.LayerNorm","layer":null,"part":"all","elements":4,"rounding_noise":false})");
  BOOST_TEST(group_fields(lists.tensors[0]).size() == group_columns(true).size());
  BOOST_TEST(group_fields(lists.components[0]).size() == group_columns(false).size());
}

BOOST_AUTO_TEST_SUITE_END()
