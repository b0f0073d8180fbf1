#include "experiments/metrics_log.h"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>

#include "tests/experiments/fixtures.h"

using namespace normtune;
using fixtures::check_error_parts;
using fixtures::content_of;
using fixtures::TemporaryFolder;
using nlohmann::ordered_json;

BOOST_AUTO_TEST_SUITE(metrics_log)

BOOST_AUTO_TEST_CASE(lines) {
  const TemporaryFolder folder;
  MetricsLog log(folder / "metrics.jsonl", "run-7");
  log.write("step", {{"step", 3}, {"loss", 0.1}, {"grad_norm", std::nan("")}, {"lr", INFINITY}});
  const std::string content = content_of(folder / "metrics.jsonl");  // there while the log is open
  const std::regex expected(
      R"(\{"v":1,"t":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","run":"run-7","kind":"step",)"
      R"("step":3,"loss":0.1,"grad_norm":null,"lr":null\}\n)");
  BOOST_TEST(std::regex_match(content, expected), content);
  BOOST_CHECK_THROW(log.write("step", {{"kind", "other"}}), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(appended) {
  const TemporaryFolder folder;
  const auto file = folder.write("metrics.jsonl", "{\"kind\":\"start\"}\n");
  MetricsLog(file, "r").write("end", ordered_json::object());
  BOOST_TEST(content_of(file).starts_with("{\"kind\":\"start\"}\n{\"v\":1,"));
}

BOOST_AUTO_TEST_CASE(truncated_to_a_checkpoint) {
  const TemporaryFolder folder;
  const std::string kept =
      "{\"kind\":\"start\",\"config\":{\"step\":99}}\n"
      "{\"kind\":\"step\",\"step\":10,\"loss\":0.30000000000000004}\n"
      "{\"kind\":\"checkpoint\",\"step\":10}\n"
      "{\"kind\":\"of the future\"}\n";
  const auto file = folder.write("metrics.jsonl", kept +
                                                      "{\"kind\":\"step\",\"step\":11}\n"
                                                      "{\"kind\":\"eval\",\"step\":12}\n"
                                                      "{\"kind\":\"end\",\"step\":10}\n"
                                                      "{\"kind\":\"step\",\"st");
  truncate_metrics_log(file, 10);
  BOOST_TEST(content_of(file) == kept);
  truncate_metrics_log(file, 10);
  BOOST_TEST(content_of(file) == kept);
  truncate_metrics_log(folder / "none.jsonl", 10);
  BOOST_TEST(!std::filesystem::exists(folder / "none.jsonl"));
}

BOOST_AUTO_TEST_CASE(errors) {
  const TemporaryFolder folder;
  const auto damaged = folder.write("d.jsonl", "{\"kind\":\"step\"}\nnonsense\n{}\n");
  check_error_parts(ErrorKind::data, {"d.jsonl, line 2"}, [&] { truncate_metrics_log(damaged, 1); });
  const auto list = folder.write("l.jsonl", "[]\n");
  check_error_parts(ErrorKind::data, {"l.jsonl, line 1", "JSON object"},
                    [&] { truncate_metrics_log(list, 1); });
  check_error_parts(ErrorKind::write, {"none"}, [&] { MetricsLog(folder / "none" / "m.jsonl", "r"); });
  if (std::filesystem::exists("/dev/full")) {
    MetricsLog full("/dev/full", "r");
    check_error_parts(ErrorKind::write, {"/dev/full", "No space left"},
                      [&] { full.write("step", ordered_json::object()); });
  }
}

BOOST_AUTO_TEST_SUITE_END()
