#include "experiments/comparison_options.h"

#include <boost/test/unit_test.hpp>

#include "tests/experiments/comparison_fixture.h"

namespace normtune {

using fixtures::check_error_parts;

namespace {

void refuses(const std::vector<std::string>& parts, const std::function<void(ComparisonOptions&)>& change) {
  ComparisonOptions options = comparison::options("out");
  change(options);
  check_error_parts(ErrorKind::usage, parts, [&] { check_comparison_options(options); });
}

}  // namespace

BOOST_AUTO_TEST_SUITE(comparison_options)

BOOST_AUTO_TEST_CASE(learning_rates_by_row) {
  const auto rates = parse_learning_rates("full=1e-4,5e-5 layernorm=1e-3 lora=2e-3,2e-3");
  BOOST_REQUIRE_EQUAL(rates.size(), 3u);
  BOOST_CHECK((rates.at("full") == std::vector<double>{5e-5, 1e-4}));
  BOOST_CHECK((rates.at("layernorm") == std::vector<double>{1e-3}));
  BOOST_CHECK((rates.at("lora") == std::vector<double>{2e-3}));
  // As a list in a configuration file arrives.
  BOOST_CHECK(parse_learning_rates("full=1e-4,5e-5,layernorm=1e-3,lora=2e-3") == rates);
  BOOST_CHECK(parse_learning_rates("").empty());
}

BOOST_AUTO_TEST_CASE(malformed_learning_rates) {
  for (const std::string text : {"1e-3", "full=", "full=fast", "full=1e-3,", "full=-1", "full=nan",
                                 "full=1e-3x", "=1e-3", "full=1e-3 model"}) {
    const bool trailing_comma = text == "full=1e-3,";
    if (trailing_comma) {
      BOOST_CHECK_EQUAL(parse_learning_rates(text).at("full").size(), 1u);
    } else {
      check_error_parts(ErrorKind::usage, {"--learning_rates: expected METHOD=RATE"},
                        [&] { parse_learning_rates(text); });
    }
  }
}

BOOST_AUTO_TEST_CASE(an_untrained_row_uses_its_methods_rates) {
  ComparisonOptions options = comparison::options("out");
  options.learning_rates = {{"full", {1e-4}}, {"head@untrained", {1e-2}}, {"head", {1e-3}}};
  BOOST_CHECK((learning_rates_of(options, "full@untrained") == std::vector<double>{1e-4}));
  BOOST_CHECK((learning_rates_of(options, "head@untrained") == std::vector<double>{1e-2}));
  BOOST_CHECK((learning_rates_of(options, "lora") == std::vector<double>{5e-5}));
  BOOST_CHECK_EQUAL(method_of_row("full@untrained"), "full");
}

BOOST_AUTO_TEST_CASE(spelling_of_tasks) {
  ComparisonOptions options = comparison::options("out");
  options.tasks = {"CoLA", "SST-2"};
  check_comparison_options(options);
  BOOST_CHECK((options.tasks == std::vector<std::string>{"cola", "sst2"}));
}

BOOST_AUTO_TEST_CASE(rates_of_methods_that_are_not_compared_are_no_mistake) {
  ComparisonOptions options = comparison::options("out");
  options.learning_rates = {{"lora", {1e-3}}, {"bitfit@untrained", {1e-3}}};
  BOOST_CHECK_NO_THROW(check_comparison_options(options));
}

BOOST_AUTO_TEST_CASE(mistakes) {
  refuses({"layernrom", "layernorm"}, [](auto& o) { o.rows = {"full", "layernrom"}; });
  refuses({"fulll", "full"}, [](auto& o) { o.rows = {"fulll@untrained"}; });
  refuses({"--methods", "full"}, [](auto& o) { o.rows = {"full", "full"}; });
  refuses({"--methods", "found none"}, [](auto& o) { o.rows.clear(); });
  refuses({"colla", "cola"}, [](auto& o) { o.tasks = {"colla"}; });
  refuses({"--tasks", "cola", "twice"}, [](auto& o) { o.tasks = {"cola", "CoLA"}; });
  refuses({"--tasks", "found none"}, [](auto& o) { o.tasks.clear(); });
  refuses({"--train_file", "cola,sst2"}, [](auto& o) { o.finetune.task.train_file = "rows.csv"; });
  refuses({"--seeds", "found none"}, [](auto& o) { o.seeds.clear(); });
  refuses({"--seeds", "3 twice"}, [](auto& o) { o.seeds = {3, 3}; });
  refuses({"lorra", "lora"}, [](auto& o) { o.learning_rates["lorra"] = {1e-3}; });
  refuses({"--report_split", "'test'"}, [](auto& o) { o.report_split = "test"; });
  refuses({"--random_init", "full@untrained"}, [](auto& o) { o.finetune.random_init = true; });
  refuses({"--overwrite_output_dir", "runs"}, [](auto& o) { o.finetune.overwrite_output_dir = true; });
  refuses({"--resume_from_checkpoint"}, [](auto& o) { o.finetune.resume_from_checkpoint = true; });
  refuses({"--shard", "4/3"}, [](auto& o) { o.shard = {4, 3}; });
  refuses({"--shard", "0/3"}, [](auto& o) { o.shard = {0, 3}; });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
