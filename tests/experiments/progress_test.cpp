#include "experiments/progress.h"

#include <boost/test/unit_test.hpp>

#include "tests/experiments/fixtures.h"

using namespace normtune;

namespace {

/// A screen and a clock that the test moves by hand.
struct Stage {
  std::string shown;
  Progress::Clock::time_point time{};

  ProgressOutput output(bool terminal) {
    return {.write = [this](std::string_view text) { shown += text; },
            .terminal = terminal,
            .columns = 80,
            .interval = std::chrono::seconds(10)};
  }
  std::function<Progress::Clock::time_point()> clock() {
    return [this] { return time; };
  }
  void wait(int milliseconds) { time += std::chrono::milliseconds(milliseconds); }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(progress)

BOOST_AUTO_TEST_CASE(durations) {
  BOOST_TEST(format_duration(0) == "0:00");
  BOOST_TEST(format_duration(59.6) == "1:00");
  BOOST_TEST(format_duration(754) == "12:34");
  BOOST_TEST(format_duration(3723) == "1:02:03");
  BOOST_TEST(format_duration(-1) == "?");
  BOOST_TEST(format_duration(std::nan("")) == "?");
  BOOST_TEST(format_duration(INFINITY) == "?");
}

BOOST_AUTO_TEST_CASE(plain_lines_at_intervals) {
  Stage stage;
  {
    Progress bar("Training", 100, "step", stage.output(false), 0, stage.clock());
    for (int step = 1; step <= 50; ++step) {
      stage.wait(500);
      bar.update(step, fmt::format("loss {}", step));
    }
    BOOST_TEST(stage.shown ==
               "Training: 20/100 (20%), 2.0 step/s, 0:10 elapsed, 0:40 left, loss 20\n"
               "Training: 40/100 (40%), 2.0 step/s, 0:20 elapsed, 0:30 left, loss 40\n");
    bar.message("saved");
    stage.wait(500);
    bar.update(100);
  }
  BOOST_TEST(stage.shown.ends_with("saved\nTraining: 100/100 (100%), 3.9 step/s, 0:26 elapsed, 0:00 left\n"));
  BOOST_TEST(stage.shown.find('\x1b') == std::string::npos);
}

BOOST_AUTO_TEST_CASE(bar_on_a_terminal) {
  Stage stage;
  Progress bar("Training", 10, "step", stage.output(true), 0, stage.clock());
  stage.wait(4000);
  bar.update(2, "loss 0.5");
  BOOST_TEST(stage.shown ==
             "\r\x1b[KTraining  20% [#####                       ] 2/10 0:04<0:16 2.0 s/step loss 0.5");
  BOOST_TEST(stage.shown.size() == 4 + 79u);
  stage.shown.clear();
  stage.wait(50);
  bar.update(3);  // too soon to redraw
  BOOST_TEST(stage.shown == "");
  bar.message("saved");
  BOOST_TEST(stage.shown.starts_with("\r\x1b[Ksaved\n\r\x1b[KTraining  30% ["));
  bar.finish();
  BOOST_TEST(stage.shown.ends_with("\n"));
  stage.shown.clear();
  bar.finish();
  BOOST_TEST(stage.shown == "");
}

BOOST_AUTO_TEST_CASE(narrow_terminals) {
  Stage stage;
  ProgressOutput output = stage.output(true);
  output.columns = 20;
  Progress bar("Training", 10, "step", output, 0, stage.clock());
  stage.wait(1000);
  bar.update(1, "caf\xC3\xA9");
  BOOST_TEST(stage.shown == "\r\x1b[KTraining  10% 1/10 ");
}

BOOST_AUTO_TEST_CASE(a_resumed_run_counts_its_own_steps) {
  Stage stage;
  Progress bar("Training", 100, "step", stage.output(false), 90, stage.clock());
  stage.wait(10000);
  bar.update(95);
  BOOST_TEST(stage.shown == "Training: 95/100 (95%), 2.0 s/step, 0:10 elapsed, 0:10 left\n");
}

BOOST_AUTO_TEST_CASE(quiet) {
  Stage stage;
  ProgressOutput output = stage.output(true);
  output.quiet = true;
  {
    Progress bar("Training", 10, "step", output, 0, stage.clock());
    stage.wait(60000);
    bar.update(5);
    bar.message("saved");
  }
  BOOST_TEST(stage.shown == "");
}

BOOST_AUTO_TEST_CASE(colour) {
  Stage stage;
  ProgressOutput output = stage.output(true);
  output.colour = true;
  Progress bar("Training", 4, "step", output, 0, stage.clock());
  stage.wait(1000);
  bar.update(4);
  BOOST_TEST(stage.shown.find("[\x1b[32m####") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(columns_of_the_environment) {
  ::setenv("COLUMNS", "123", 1);
  BOOST_TEST(ProgressOutput::standard_error(false).columns == 123);
  ::setenv("COLUMNS", "many", 1);
  BOOST_TEST(ProgressOutput::standard_error(true).columns > 0);
  ::unsetenv("COLUMNS");
  ::setenv("NO_COLOR", "1", 1);
  BOOST_TEST(!ProgressOutput::standard_error(false).colour);
  ::unsetenv("NO_COLOR");
  BOOST_TEST(ProgressOutput::standard_error(true).quiet);
}

BOOST_AUTO_TEST_SUITE_END()
