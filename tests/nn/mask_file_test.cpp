#include "nn/mask_file.h"

#include "tests/file_helpers.h"
#include "tests/nn/tensor_helpers.h"

using namespace normtune;
using namespace normtune::testing;

namespace {

struct MaskFile {
  TemporaryFolder folder;
  std::filesystem::path path = folder / "mask.safetensors";

  void check_mask_refused(std::string_view expected) const {
    check_error(ErrorKind::model, expected, [&] { read_mask(path); });
    check_error(ErrorKind::model, path.string(), [&] { read_mask(path); });
  }
  void check_delta_refused(std::string_view expected) const {
    check_error(ErrorKind::model, expected, [&] { read_subset_delta(path); });
  }
  void write_indices(const std::vector<int64_t>& indices,
                     std::map<std::string, std::string> metadata = {}) const {
    const Shape shape{static_cast<int64_t>(indices.size())};
    write_safetensors(path, {{"a.indices", Tensor::from_values(shape, indices)}}, std::move(metadata));
  }
};

ElementMask example() {
  return {.origin = {.method = "random", .base_model_sha256 = "ab12", .selector = "bert.encoder.*"},
          .tensors = {{"b.weight", {0, 7, int64_t{1} << 33}}, {"a.bias", {2}}, {"c", {}}}};
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(mask_file, MaskFile)

BOOST_AUTO_TEST_CASE(a_mask_reads_as_it_was_written) {
  write_mask(path, example());
  const ElementMask mask = read_mask(path);
  BOOST_TEST(mask.origin.method == "random");
  BOOST_TEST(mask.origin.base_model_sha256 == "ab12");
  BOOST_TEST(mask.origin.selector == "bert.encoder.*");
  BOOST_TEST(mask.count() == 4);
  BOOST_REQUIRE(mask.tensors.size() == 3u);
  BOOST_TEST(mask.tensors[0].name == "a.bias");
  BOOST_TEST(mask.tensors[0].indices == std::vector<int64_t>{2});
  BOOST_TEST(mask.tensors[1].name == "b.weight");
  BOOST_TEST(mask.tensors[1].indices == (std::vector<int64_t>{0, 7, int64_t{1} << 33}));
  BOOST_TEST(mask.tensors[2].indices.empty());
  const SafetensorsFile file(path);
  BOOST_TEST(file.metadata().at("count") == "4");
  BOOST_CHECK(file.entry("a.bias.indices").type == ElementType::I32);
  BOOST_CHECK(file.entry("b.weight.indices").type == ElementType::I64);
}

BOOST_AUTO_TEST_CASE(a_delta_reads_as_it_was_written) {
  SubsetDelta delta{
      .origin = {.method = "bitfit", .base_model_sha256 = "", .selector = ""},
      .tensors = {{"classifier.bias", counting({2})}},
      .elements = {{"b", {1, 4}, counting({2}, 9)}, {"a", {0}, counting({1}).to(DType::float64)}}};
  write_subset_delta(path, delta);
  const SubsetDelta again = read_subset_delta(path);
  BOOST_TEST(again.origin.method == "bitfit");
  BOOST_TEST(again.count() == 5);
  BOOST_CHECK(equal_bits(again.tensors, delta.tensors));
  BOOST_REQUIRE(again.elements.size() == 2u);
  BOOST_TEST(again.elements[0].name == "a");
  BOOST_CHECK(equal_bits(again.elements[0].values, delta.elements[1].values));
  BOOST_TEST(again.elements[1].indices == (std::vector<int64_t>{1, 4}));
  BOOST_CHECK(equal_bits(again.elements[1].values, counting({2}, 9)));
}

BOOST_AUTO_TEST_CASE(mistakes_of_the_caller_are_refused) {
  for (const std::vector<int64_t>& indices : {std::vector<int64_t>{1, 1}, {2, 1}, {-1, 1}}) {
    BOOST_CHECK_THROW(write_mask(path, {.origin = {}, .tensors = {{"a", indices}}}), std::invalid_argument);
  }
  BOOST_CHECK_THROW(
      write_subset_delta(path, {.origin = {}, .tensors = {}, .elements = {{"a", {1}, counting({2})}}}),
      std::invalid_argument);
  BOOST_TEST(!std::filesystem::exists(path));
}

BOOST_AUTO_TEST_CASE(indices_must_ascend_from_zero) {
  write_indices({0, 3, 3});
  check_mask_refused("tensor 'a.indices': expected ascending indices from 0, found 3 at place 2");
  write_indices({4, 3});
  check_mask_refused("found 3 at place 1");
  write_indices({-1});
  check_mask_refused("found -1 at place 0");
  write_safetensors(path, {{"a.indices", counting({2})}});
  check_mask_refused("tensor 'a.indices': expected a list of I32 or I64, found F32 [2]");
  write_safetensors(path, {{"a.indices", Tensor::from_values<int32_t>({1, 1}, std::vector<int32_t>{3})}});
  check_mask_refused("expected a list of I32 or I64, found I32 [1, 1]");
}

BOOST_AUTO_TEST_CASE(the_count_must_agree) {
  write_indices({1, 2}, {{"count", "2"}});
  BOOST_TEST(read_mask(path).count() == 2);
  for (const char* count : {"3", "x", "2x", "99999999999999999999"}) {
    write_indices({1, 2}, {{"count", count}});
    check_mask_refused(fmt::format("the metadata count '{}' elements, found 2", count));
  }
}

BOOST_AUTO_TEST_CASE(masks_and_deltas_are_told_apart) {
  write_subset_delta(path, {.origin = {}, .tensors = {}, .elements = {{"a", {1}, counting({1})}}});
  check_mask_refused("tensor 'a.values': a mask holds NAME.indices only (is this a delta or a model?)");
  write_mask(path, example());
  check_delta_refused("tensor 'a.bias.values' is missing (a mask, which has indices only?)");
}

BOOST_AUTO_TEST_CASE(values_must_fit_their_indices) {
  const Tensor indices = Tensor::from_values<int32_t>({2}, std::vector<int32_t>{1, 2});
  write_safetensors(path, {{"a.values", counting({2})}});
  check_delta_refused("tensor 'a.values' has no indices beside it");
  write_safetensors(path, {{"a.values", counting({3})}, {"a.indices", indices}});
  check_delta_refused("tensor 'a.values': expected shape [2], found float32 [3]");
  write_safetensors(path, {{"a.values", indices.clone()}, {"a.indices", indices}});
  check_delta_refused("tensor 'a.values': expected shape [2], found int32 [2]");
}

BOOST_AUTO_TEST_CASE(corrupted_files_give_a_value_or_an_error) {
  write_mask(path, example());
  const std::string bytes = read_bytes(path);
  BOOST_TEST(corrupt(bytes, path, [&] { read_mask(path); }) > 1000);
}

BOOST_AUTO_TEST_SUITE_END()
