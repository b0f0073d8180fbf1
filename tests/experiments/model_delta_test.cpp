#include "experiments/model_delta.h"

#include <boost/test/unit_test.hpp>

#include "experiments/model_folder.h"
#include "tests/experiments/tiny_run.h"
#include "tests/file_helpers.h"

using namespace normtune;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(model_delta)

namespace {

void check_same_file(const fs::path& expected, const fs::path& found) {
  BOOST_CHECK_MESSAGE(testing::read_bytes(expected) == testing::read_bytes(found),
                      found.string() << " is not " << expected.string());
}

/// merge(before, diff(before, after)) against after.
void check_round_trip(const fs::path& before, const fs::path& after, const fs::path& place) {
  fs::create_directories(place);
  write_subset_delta(place / "delta.safetensors", diff_models(before, after));
  merge_delta(before, place / "delta.safetensors", place / "merged");
  for (const char* name : {"model.safetensors", "config.json", "vocab.txt", "tokenizer_config.json"}) {
    check_same_file(after / name, place / "merged" / name);
  }
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(merging_a_diff_gives_the_model_back_byte_for_byte, tiny::Workspace) {
  for (const std::string method : {"full", "layernorm", "bitfit", "random", "lora"}) {
    FinetuneOptions run = options(method);
    run.method.method = method;
    finetune(run);
    check_round_trip(model, run.output_dir, folder / ("trip-" + method));
    // And back: the classifier, which only the tuned model has, is removed.
    const SubsetDelta back = diff_models(run.output_dir, model);
    BOOST_TEST(back.removed == (std::vector<std::string>{"classifier.bias", "classifier.weight"}),
               boost::test_tools::per_element());
  }
}

BOOST_FIXTURE_TEST_CASE(a_diff_is_as_small_as_the_change, tiny::Workspace) {
  FinetuneOptions run = options("run");
  run.method.method = "random";
  run.method.random_k = 9;
  finetune(run);
  const SubsetDelta delta = diff_models(model, run.output_dir);
  int64_t elements = 0;
  for (const SparseValues& sparse : delta.elements) elements += static_cast<int64_t>(sparse.indices.size());
  BOOST_TEST(elements > 0);
  BOOST_TEST(elements <= 9);
  BOOST_TEST(delta.tensors.size() == 2u);  // the classifier
  const SubsetDelta nothing = diff_models(run.output_dir, run.output_dir);
  BOOST_TEST(nothing.count() == 0);
  BOOST_TEST(nothing.removed.empty());
}

BOOST_FIXTURE_TEST_CASE(a_peft_folder_is_merged_into_the_base_that_is_given, tiny::Workspace) {
  for (const std::string method : {"lora", "layernorm"}) {
    FinetuneOptions run = options(method);
    run.method.method = method;
    run.save_unmerged = true;
    finetune(run);
    // The folder names a base by its path; here it is another one.
    const fs::path base = folder / (method + "-base");
    fs::rename(model, base);
    const fs::path merged = folder / (method + "-merged");
    const MergeReport report = merge_delta(base, run.output_dir / "peft", merged);
    fs::rename(base, model);
    BOOST_TEST(report.left_over.empty());
    const ModelFolder expected(run.output_dir), found(merged);
    BOOST_TEST(expected.names() == found.names(), boost::test_tools::per_element());
    for (const std::string& name : expected.names()) {
      const Tensor a = expected.read(name), b = found.read(name);
      double error = 0;
      for (int64_t i = 0; i < a.numel(); ++i) {
        error = std::max(error, std::abs(static_cast<double>(a.data<float>()[i]) - b.data<float>()[i]));
      }
      BOOST_CHECK_MESSAGE(error <= 1e-6, name << ": " << error);
    }
  }
}

BOOST_FIXTURE_TEST_CASE(adapters_stay_beside_the_weights, tiny::Workspace) {
  FinetuneOptions run = options("run");
  run.method.method = "pfeiffer";
  finetune(run);
  const fs::path merged = folder / "merged";
  const MergeReport report = merge_delta(model, run.output_dir / "adapterhub", merged);
  BOOST_TEST(!report.left_over.empty());
  const ModelFolder expected(run.output_dir), found(merged);
  BOOST_TEST(expected.names() == found.names(), boost::test_tools::per_element());
  check_same_file(run.output_dir / "model.safetensors", merged / "model.safetensors");
  testing::check_error(ErrorKind::model, "belongs to an adapter",
                       [&] { diff_models(model, run.output_dir); });
}

BOOST_FIXTURE_TEST_CASE(a_delta_that_does_not_fit_is_refused, tiny::Workspace) {
  FinetuneOptions run = options("run");
  run.method.method = "layernorm";
  finetune(run);
  const fs::path file = folder / "delta.safetensors";
  const auto refused = [&](const SubsetDelta& delta, const std::string& message) {
    write_subset_delta(file, delta);
    testing::check_error(ErrorKind::model, message, [&] { merge_delta(model, file, folder / "merged"); });
  };
  SubsetDelta delta = diff_models(model, run.output_dir);
  delta.origin.base_model_sha256 = std::string(64, '0');
  refused(delta, "give that base, or --allow_other_base");
  merge_delta(model, file, folder / "allowed", {.allow_other_base = true});
  check_same_file(run.output_dir / "model.safetensors", folder / "allowed/model.safetensors");

  const Tensor one = Tensor::full({1}, 1, DType::float32);
  refused({.elements = {{"absent.bias", {0}, one}}}, "which the base lacks");
  refused({.elements = {{"bert.embeddings.LayerNorm.bias", {12}, one}}},
          "index 12 is beyond the 12 elements");
  refused({.tensors = {{"bert.embeddings.LayerNorm.bias", one}}}, "expected shape");
  refused({.removed = {"absent.bias"}}, "removes tensor 'absent.bias'");
  testing::check_error(ErrorKind::model, "has no adapter_config.json",
                       [&] { merge_delta(model, model, folder / "merged"); });
  testing::check_error(ErrorKind::model, "",
                       [&] { merge_delta(model, folder / "absent.safetensors", folder / "merged"); });
}

/// A file by others: no configuration, no base, and a classifier of three classes.
BOOST_FIXTURE_TEST_CASE(a_classifier_brings_its_classes, tiny::Workspace) {
  const fs::path file = folder / "delta.safetensors";
  write_safetensors(file, {{"classifier.weight", Tensor::full({3, 12}, 0.5, DType::float32)},
                           {"classifier.bias", Tensor::full({3}, 0, DType::float32)}});
  merge_delta(model, file, folder / "merged");
  BOOST_TEST(read_bert_config(folder / "merged").num_labels() == 3);
  BOOST_TEST(load_model(folder / "merged", {}).fresh_classifier == false);
}

BOOST_AUTO_TEST_SUITE_END()
