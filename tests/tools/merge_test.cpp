#include <boost/test/unit_test.hpp>

#include "tests/tools/support.h"

using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(merge)

namespace {

struct TwoModels {
  TemporaryFolder folder;
  std::string before = (folder / "before").string(), after = (folder / "after").string();
  std::string delta = (folder / "delta.safetensors").string(), merged = (folder / "merged").string();

  TwoModels() {
    write_tiny_model(before);
    write_tiny_model(after, {.constant_logits = {0, 1}});
  }
};

void check_refused(std::vector<std::string> arguments, int code, std::string_view message) {
  const Outcome outcome = run_normtune(std::move(arguments));
  BOOST_TEST(outcome.exit_code == code, outcome.err);
  BOOST_TEST(outcome.last_error_line().find(message) != std::string::npos, outcome.err);
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(there_and_back, TwoModels) {
  const Outcome diff = run_normtune({"diff", before, after, "--output_file", delta, "--json"});
  BOOST_TEST(diff.exit_code == 0, diff.err);
  BOOST_TEST(diff.json()["tensors"] == 2);
  BOOST_TEST(diff.json()["sparse_tensors"] == 0);
  BOOST_TEST(diff.json()["count"] == 2 * 8 + 2);
  const Outcome merge = run_normtune({"merge", before, delta, "--output_dir", merged});
  BOOST_TEST(merge.exit_code == 0, merge.err);
  BOOST_TEST(merge.out.find("2 whole tensors, 0 elements of 0 others") != std::string::npos, merge.out);
  for (const char* name : {"/model.safetensors", "/config.json", "/vocab.txt"}) {
    BOOST_TEST(read_text(merged + name) == read_text(after + name), name);
  }
}

BOOST_FIXTURE_TEST_CASE(mistakes, TwoModels) {
  check_refused({"diff", before}, 2, "BEFORE and AFTER");
  check_refused({"diff", before, after}, 2, "--output_file is missing");
  check_refused({"diff", before, after, "--output_file", after}, 7, after);
  check_refused({"merge", before}, 2, "BASE and DELTA");
  check_refused({"merge", before, delta}, 2, "--output_dir is missing");
  check_refused({"merge", before, delta, "--output_dir", after}, 2, "--overwrite_output_dir");
  check_refused({"merge", before, delta, "--output_dir", merged}, 3, "delta.safetensors");
  check_refused({"merge", before, after, "--output_dir", merged}, 3, "has no adapter_config.json");
  write_text(delta, "no safetensors");
  check_refused({"merge", before, delta, "--output_dir", merged}, 3, "delta.safetensors");
  BOOST_TEST(!std::filesystem::exists(merged + "/config.json"));
}

BOOST_FIXTURE_TEST_CASE(a_delta_belongs_to_its_base, TwoModels) {
  BOOST_TEST(run_normtune({"diff", before, after, "--output_file", delta}).exit_code == 0);
  check_refused({"merge", after, delta, "--output_dir", merged}, 3, "--allow_other_base");
  BOOST_TEST(run_normtune({"merge", after, delta, "--output_dir", merged, "--allow_other_base"}).exit_code ==
             0);
}

/// The adapters of another model would be loaded with the new weights.
BOOST_FIXTURE_TEST_CASE(what_an_earlier_run_left_goes, TwoModels) {
  BOOST_REQUIRE(run_normtune({"diff", before, after, "--output_file", delta}).exit_code == 0);
  for (const char* name :
       {"/adapterhub/adapter_config.json", "/peft/adapter_config.json", "/best/config.json",
        "/checkpoint-3/config.json", "/all_results.json", "/notes.txt"}) {
    write_text(merged + name, "{}");
  }
  const Outcome outcome =
      run_normtune({"merge", before, delta, "--output_dir", merged, "--overwrite_output_dir"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  for (const char* name : {"/adapterhub", "/peft", "/best", "/checkpoint-3", "/all_results.json"}) {
    BOOST_TEST(!std::filesystem::exists(merged + name), name);
  }
  BOOST_TEST(std::filesystem::exists(merged + "/notes.txt"));
  BOOST_CHECK(read_text(merged + "/model.safetensors") == read_text(after + "/model.safetensors"));
}

BOOST_FIXTURE_TEST_CASE(no_input_is_replaced, TwoModels) {
  BOOST_REQUIRE(run_normtune({"diff", before, after, "--output_file", delta}).exit_code == 0);
  const std::string weights = read_text(after + "/model.safetensors");
  for (const std::string& folder_name : {before, after}) {
    check_refused({"diff", before, after, "--output_file", folder_name + "/model.safetensors"}, 2,
                  "lies in " + folder_name + ", which is read");
    check_refused({"merge", folder_name, delta, "--output_dir", folder_name, "--overwrite_output_dir"}, 2,
                  folder_name + ", which is read, lies in it");
  }
  check_refused({"merge", before, delta, "--output_dir", folder / ".", "--overwrite_output_dir"}, 2,
                "which is read, lies in it");
  BOOST_CHECK(read_text(after + "/model.safetensors") == weights);
}

BOOST_AUTO_TEST_SUITE_END()
