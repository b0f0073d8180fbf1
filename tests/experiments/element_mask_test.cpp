#include "experiments/element_mask.h"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <numeric>

#include "experiments/mask_overlap.h"
#include "experiments/method.h"
#include "tests/experiments/fixtures.h"

using namespace normtune;
using fixtures::check_error_parts;
using fixtures::TemporaryFolder;

namespace {

const std::string layer_norm_tensor = "bert.encoder.layer.{}.output.LayerNorm.{}";

std::string gain(int layer) {
  return fmt::format(fmt::runtime(layer_norm_tensor), layer, "weight");
}
std::string bias(int layer) {
  return fmt::format(fmt::runtime(layer_norm_tensor), layer, "bias");
}

NamedTensor named(const std::string& name, const std::vector<double>& values) {
  return {name, Tensor::from_values({static_cast<int64_t>(values.size())}, values)};
}

/// Out of the model's order, as a file sorts them: biases first.
ElementScores example_scores() {
  return {.method = "from-fisher",
          .base_model_sha256 = "abc",
          .tensors = {named(bias(10), {5, 1, 3}), named(bias(2), {3, 0, 7}), named(gain(10), {3, 3, 9}),
                      named(gain(2), {0.5, 3, 2}), named("bert.pooler.dense.bias", {100, 200}),
                      named("classifier.bias", {1000})}};
}

/// "2w[1] 10b[0,2]": layer, weight or bias, indices.
std::string text_of(const ElementMask& mask) {
  std::string text;
  for (const MaskedTensor& masked : mask.tensors) {
    const bool is_gain = masked.name.ends_with("weight");
    const std::string layer = masked.name.substr(19, masked.name.find('.', 19) - 19);
    text += fmt::format("{}{}{}[{}]", text.empty() ? "" : " ", layer, is_gain ? "w" : "b",
                        fmt::join(masked.indices, ","));
  }
  return text;
}

MaskSize top(int64_t k, bool lowest = false) {
  return {.top_k = k, .top_share = {}, .lowest = lowest};
}

std::string chosen(const MaskSize& size) {
  return text_of(choose_by_score(example_scores(), size).mask);
}

ElementMask mask_of(const std::vector<MaskedTensor>& tensors, int64_t candidates = 0) {
  return {.origin = {.method = "m", .base_model_sha256 = "abc", .selector = "s", .candidates = candidates},
          .tensors = tensors};
}

struct TemporaryFiles {
  TemporaryFolder folder;
  std::filesystem::path write(const std::string& name, const std::vector<NamedTensor>& tensors,
                              const std::string& base = "abc") const {
    write_safetensors(folder / name, tensors, {{"base_model_sha256", base}});
    return folder / name;
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(element_mask)

BOOST_AUTO_TEST_CASE(the_largest_scores) {
  BOOST_TEST(chosen(top(0)) == "");
  BOOST_TEST(chosen(top(1)) == "10w[2]");
  BOOST_TEST(chosen(top(2)) == "2b[2] 10w[2]");
  BOOST_TEST(chosen(top(3)) == "2b[2] 10w[2] 10b[0]");
  BOOST_TEST(chosen(top(12)) == "2w[0,1,2] 2b[0,1,2] 10w[0,1,2] 10b[0,1,2]");
}

/// Five elements have the score 3: layer 2 before layer 10, weight before bias, then by index.
BOOST_AUTO_TEST_CASE(ties_are_broken_by_the_order_of_the_model) {
  BOOST_TEST(chosen(top(4)) == "2w[1] 2b[2] 10w[2] 10b[0]");
  BOOST_TEST(chosen(top(5)) == "2w[1] 2b[0,2] 10w[2] 10b[0]");
  BOOST_TEST(chosen(top(6)) == "2w[1] 2b[0,2] 10w[0,2] 10b[0]");
  BOOST_TEST(chosen(top(7)) == "2w[1] 2b[0,2] 10w[0,1,2] 10b[0]");
  BOOST_TEST(chosen(top(8)) == "2w[1] 2b[0,2] 10w[0,1,2] 10b[0,2]");
}

BOOST_AUTO_TEST_CASE(the_smallest_scores) {
  BOOST_TEST(chosen(top(1, true)) == "2b[1]");
  BOOST_TEST(chosen(top(4, true)) == "2w[0,2] 2b[1] 10b[1]");
}

BOOST_AUTO_TEST_CASE(shares_and_scopes) {
  MaskSize size{.top_k = {}, .top_share = 0.25};
  BOOST_TEST(chosen(size) == chosen(top(3)));
  size.scope = "*.10.*.bias";
  size.top_share = 0.5;  // 1.5 of 3 elements
  BOOST_TEST(chosen(size) == "10b[0,2]");
  size.scope = "bert.*";
  size.top_share = {};
  size.top_k = 2;
  const ChosenElements pooler = choose_by_score(example_scores(), size);
  BOOST_TEST(pooler.mask.tensors.at(0).name == "bert.pooler.dense.bias");
  BOOST_TEST(pooler.mask.origin.candidates == 14);
  BOOST_TEST(pooler.mask.origin.selector == "top 2 of 14 elements of bert.*");
  BOOST_TEST(pooler.mask.origin.base_model_sha256 == "abc");
}

BOOST_AUTO_TEST_CASE(the_classifier_is_never_chosen) {
  MaskSize size = top(1);
  size.scope = "*";
  BOOST_TEST(choose_by_score(example_scores(), size).mask.tensors.at(0).name == "bert.pooler.dense.bias");
  size.scope = "classifier.*";
  check_error_parts(ErrorKind::usage, {"--scope", "classifier.*"},
                    [&] { choose_by_score(example_scores(), size); });
}

BOOST_AUTO_TEST_CASE(rounding_noise_ranks_last) {
  ElementScores scores{.method = "from-drift",
                       .base_model_sha256 = "",
                       .tensors = {named("bert.encoder.layer.0.attention.self.key.bias", {9, 9}),
                                   named("bert.encoder.layer.0.output.LayerNorm.bias", {0, 1, 2})}};
  for (const bool lowest : {false, true}) {
    BOOST_TEST(text_of(choose_by_score(scores, top(3, lowest)).mask) == "0b[0,1,2]");
    BOOST_TEST(choose_by_score(scores, top(5, lowest)).mask.count() == 5);
  }
}

BOOST_AUTO_TEST_CASE(zero_scores_are_told) {
  BOOST_TEST(choose_by_score(example_scores(), top(11)).notes.empty());
  const std::vector<std::string> notes = choose_by_score(example_scores(), top(12)).notes;
  BOOST_TEST(notes.size() == 1u);
  BOOST_TEST(notes.at(0).find("1 of the 12 elements have the score 0") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(mistakes) {
  check_error_parts(ErrorKind::usage,
                    {"--top_k: expected at most the 12 elements of 'bert.encoder.*', found 13"},
                    [] { chosen(top(13)); });
  check_error_parts(ErrorKind::usage, {"--scope", "'*.attention.*'"}, [] {  // the scores have none
    MaskSize size = top(1);
    size.scope = "*.attention.*";
    chosen(size);
  });
  check_error_parts(ErrorKind::usage, {"either --top_k or --top_share"},
                    [] { chosen({.top_k = {}, .top_share = {}}); });
}

BOOST_AUTO_TEST_CASE(files_count_the_same) {
  const TemporaryFiles files;
  const auto one = files.write("one", {named(bias(0), {1, 0, 0})}),
             two = files.write("two", {named(bias(0), {0, 1, 3})});
  const ElementScores mean = read_element_scores({one, two, two}, "from-fisher");
  BOOST_TEST(mean.tensors.at(0).tensor.to_vector<double>() == (std::vector<double>{1.0 / 3, 2.0 / 3, 2}),
             boost::test_tools::per_element());
  BOOST_TEST(mean.base_model_sha256 == "abc");
  const auto other = files.write("other", {named(bias(0), {1, 1, 1})}, "def");
  BOOST_TEST(read_element_scores({one, other}, "from-fisher").base_model_sha256 == "");
  BOOST_TEST(read_element_scores({one, two}, "from-fisher", "*.weight").tensors.empty());
  // Classifiers differ from task to task.
  const auto wide = files.write("wide", {named(bias(0), {1, 1, 1}), named("classifier.bias", {1, 1})});
  BOOST_TEST(read_element_scores({one, wide}, "from-fisher").tensors.size() == 1u);
}

BOOST_AUTO_TEST_CASE(files_that_are_no_scores) {
  const TemporaryFiles files;
  const auto good = files.write("good", {named(bias(0), {1, 2, 3})});
  const auto refuse = [&](const std::filesystem::path& bad, const std::string& reason) {
    check_error_parts(ErrorKind::model, {bad.string(), reason}, [&] {
      read_element_scores({good, bad}, "from-fisher");
    });
  };
  refuse(files.write("negative", {named(bias(0), {1, -2, 3})}),
         "expected scores of at least 0, found -2 at place 1");
  refuse(files.write("nan", {named(bias(0), {1, NAN, 3})}), "found nan at place 1");
  refuse(files.write("short", {named(bias(0), {1, 2})}),
         "expected shape [3] as in the first file, found [2]");
  refuse(files.write("name", {named(gain(0), {1, 2, 3})}), "found a difference at");
  refuse(files.write("more", {named(bias(0), {1, 2, 3}), named(gain(0), {1})}), "found a difference at");
  write_mask(files.folder / "mask", mask_of({{bias(0), {1}}}));
  refuse(files.folder / "mask", "expected floating-point scores");
  refuse(files.folder / "nowhere", "");
}

BOOST_AUTO_TEST_CASE(random_is_that_of_the_method) {
  BertConfig config;
  config.vocab_size = 11;
  config.hidden_size = 6;
  config.num_hidden_layers = 12;
  config.num_attention_heads = 2;
  config.intermediate_size = 7;
  config.max_position_embeddings = 5;
  Bert model(config, BertHead::classification);
  std::vector<TensorSize> sizes;
  for (const Parameter& parameter : model.parameters()) sizes.push_back({parameter.name, parameter.numel()});
  const ElementMask mask = choose_at_random(sizes, top(100), 5, "abc");
  BOOST_TEST(mask.count() == 100);
  BOOST_TEST(mask.origin.method == "random");
  std::map<std::string, std::vector<int64_t>> of_method;
  for (const TrainableTensor& tensor :
       apply_method(model, {.method = "random", .random_k = 100, .mask_seed = 5}, 1)) {
    if (tensor.indices.defined()) of_method[tensor.name] = tensor.indices.to_vector<int64_t>();
  }
  BOOST_TEST(of_method.size() == mask.tensors.size());
  for (const MaskedTensor& masked : mask.tensors) BOOST_CHECK(of_method[masked.name] == masked.indices);
  BOOST_TEST(choose_at_random(sizes, top(100), 6, "").tensors.at(0).indices != mask.tensors.at(0).indices);
}

BOOST_AUTO_TEST_CASE(unions_and_intersections) {
  const ElementMask a = mask_of({{gain(0), {1, 2}}, {bias(0), {0}}}, 12);
  const ElementMask b = mask_of({{gain(0), {2, 5}}, {bias(1), {3}}}, 12);
  BOOST_TEST(text_of(unite({a, b})) == "0b[0] 0w[1,2,5] 1b[3]");
  BOOST_TEST(text_of(intersect({a, b})) == "0w[2]");
  BOOST_TEST(text_of(unite({a})) == text_of(mask_of({{bias(0), {0}}, {gain(0), {1, 2}}})));
  BOOST_TEST(intersect({a, b, mask_of({})}).count() == 0);
  const SubsetOrigin origin = unite({a, b, a}).origin;
  BOOST_TEST(origin.method == "union");
  BOOST_TEST(origin.selector == "union of 3 masks");
  BOOST_TEST(origin.base_model_sha256 == "abc");
  BOOST_TEST(origin.candidates == 12);
  ElementMask other = b;
  other.origin.base_model_sha256 = "def";
  other.origin.candidates = 13;
  BOOST_TEST(unite({a, other}).origin.base_model_sha256 == "");
  BOOST_TEST(unite({a, other}).origin.candidates == 0);
}

BOOST_AUTO_TEST_CASE(overlap_and_what_chance_would_give) {
  const ElementMask a = mask_of({{gain(0), {0, 1, 2, 3}}}, 40),
                    b = mask_of({{gain(0), {3, 4}}, {bias(0), {1}}}, 40), c = mask_of({{bias(0), {1}}});
  const std::vector<MaskPair> pairs = compare_masks({a, b, c});
  BOOST_TEST(pairs.size() == 3u);
  BOOST_TEST(pairs[0].shared == 1);
  BOOST_TEST(pairs[0].jaccard == 1.0 / 6);
  BOOST_TEST(pairs[0].shared_by_chance.value() == 4.0 * 3 / 40);
  BOOST_TEST(pairs[0].jaccard_by_chance.value() == 0.3 / 6.7, boost::test_tools::tolerance(1e-12));
  BOOST_TEST((pairs[2].a == 1 && pairs[2].b == 2));
  BOOST_TEST(pairs[2].shared == 1);
  BOOST_TEST(!pairs[2].shared_by_chance.has_value());
  BOOST_TEST(compare_masks({mask_of({}), mask_of({})})[0].jaccard == 1);
}

BOOST_AUTO_TEST_CASE(samples_are_different_numbers_in_range) {
  const std::vector<int64_t> all = sample_without_replacement(50, 50, 3);
  std::vector<int64_t> counting(50);
  std::iota(counting.begin(), counting.end(), 0);
  BOOST_CHECK(all == counting);
  BOOST_TEST(sample_without_replacement(0, 50, 3).empty());
  BOOST_CHECK(sample_without_replacement(7, 1000, 3) == sample_without_replacement(7, 1000, 3));
}

BOOST_AUTO_TEST_SUITE_END()
