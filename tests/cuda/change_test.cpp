#include "tensor/change.h"

#include "experiments/drift.h"
#include "nn/safetensors_writer.h"
#include "tests/cuda/device_testing.h"
#include "tests/file_helpers.h"

using namespace normtune;
using namespace normtune::test;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(change)

namespace {

using Inputs = const std::vector<Tensor>&;

/// A second version of a tensor, in which some elements, all or none are others.
Tensor moved(CaseRandom& random, const Tensor& before, double scale) {
  std::vector<float> values = before.to_vector<float>();
  const std::vector<float> change = random.floats(before.shape(), scale).to_vector<float>();
  const int64_t kept = random.integer(0, 4);
  for (size_t i = 0; i < values.size(); ++i) {
    if (static_cast<int64_t>(i % 4) >= kept) values[i] += change[i];
  }
  return Tensor::from_values(before.shape(), values);
}

/// The columns of [pieces, 7] float64 as vectors of float32.
std::vector<Tensor> columns_of(const Tensor& sums) {
  const std::vector<double> values = sums.to_vector<double>();
  const auto width = static_cast<size_t>(sums.size(1));
  std::vector<Tensor> columns;
  for (size_t column = 0; column < width; ++column) {
    std::vector<float> numbers;
    for (size_t i = column; i < values.size(); i += width) numbers.push_back(static_cast<float>(values[i]));
    columns.push_back(Tensor::from_values({sums.size(0)}, numbers));
  }
  return columns;
}

}  // namespace

/// Pieces that are rows, of which the last may be shorter, in slices of longer tensors.
BOOST_AUTO_TEST_CASE(sums_of_changes) {
  for_generated_cases("change sums", 120, [](CaseRandom& random, const CheckCase& check) {
    const int64_t count = random.integer(0, 11) == 0 ? 0 : random.integer(1, 6) * random.size(513),
                  piece = random.size(600);
    const double scale = std::array{1e-30, 1e-6, 0.1}[static_cast<size_t>(random.integer(0, 2))];
    const bool wants_change = random.coin(), wants_histogram = random.coin();
    const Tensor before = random.floats({count + 1});
    check({before, moved(random, before, scale)}, [=](Inputs in) {
      const Tensor from = without_first_row(in[0]), to = without_first_row(in[1]);
      const Device device = from.device();
      const Tensor sums =
          Tensor::empty({(count + piece - 1) / piece, ChangeTerms::num_results}, DType::float64, device);
      const Tensor change = Tensor::empty_like(from),
                   histogram = Tensor::full({MagnitudeBins::count}, 3, DType::int64, device);
      from.backend().sum_changes({.before = from,
                                  .after = to,
                                  .piece = piece,
                                  .sums = sums,
                                  .change = wants_change ? &change : nullptr,
                                  .histogram = wants_histogram ? &histogram : nullptr});
      std::vector<Tensor> results = columns_of(sums);
      if (wants_change) results.push_back(change);
      if (wants_histogram) results.push_back(histogram);
      return results;
    });
  });
}

namespace {

void check_rows(const std::vector<DriftRow>& found, const std::vector<DriftRow>& expected) {
  BOOST_REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    const Change &there = found[i].change, &here = expected[i].change;
    BOOST_CHECK_LE(std::abs(there.mean_abs - here.mean_abs), 1e-12 * here.mean_abs);
    BOOST_CHECK_LE(std::abs(there.rel_l2.value_or(-1) - here.rel_l2.value_or(-1)), 1e-12);
    BOOST_CHECK_LE(std::abs(there.cosine.value_or(-1) - here.cosine.value_or(-1)), 1e-12);
    BOOST_TEST(there.max_abs == here.max_abs);
    BOOST_TEST(there.changed == here.changed);
    BOOST_TEST(there.quantiles == here.quantiles, boost::test_tools::per_element());
  }
}

}  // namespace

/// Of two model folders, one tensor of them in float64, another frozen.
BOOST_AUTO_TEST_CASE(drift_of_two_folders) {
  if (!device_at_hand()) return;
  const testing::TemporaryFolder folder;
  CaseRandom random(1);
  std::vector<NamedTensor> before, after;
  for (const auto& [name, shape] : std::vector<std::pair<std::string, Shape>>{
           {"bert.embeddings.word_embeddings.weight", {40, 12}},
           {"bert.encoder.layer.0.attention.self.query.weight", {300, 260}},
           {"bert.encoder.layer.0.attention.self.query.bias", {300}},
           {"bert.encoder.layer.0.output.LayerNorm.weight", {12}}}) {
    before.push_back({name, random.floats(shape)});
    after.push_back(
        {name, name.ends_with("bias") ? before.back().tensor : moved(random, before.back().tensor, 0.01)});
  }
  before.back().tensor = before.back().tensor.to(DType::float64);
  for (const auto& [name, tensors] : {std::pair{"before", &before}, std::pair{"after", &after}}) {
    fs::create_directory(folder / name);
    write_safetensors(folder / name / "model.safetensors", *tensors);
  }
  const Drift expected = measure_drift(folder / "before", folder / "after",
                                       {.element_file = folder / "elements.safetensors"}),
              found = measure_drift(
                  folder / "before", folder / "after",
                  {.element_file = folder / "elements_there.safetensors", .device = cuda_device});
  check_rows(found.components, expected.components);
  check_rows(found.component_parts, expected.component_parts);
  check_rows(found.tensors, expected.tensors);
  BOOST_TEST(found.embedding_rows.front().occurring == expected.embedding_rows.front().occurring);
  BOOST_TEST(testing::read_bytes(folder / "elements_there.safetensors") ==
             testing::read_bytes(folder / "elements.safetensors"));
}

BOOST_AUTO_TEST_SUITE_END()
