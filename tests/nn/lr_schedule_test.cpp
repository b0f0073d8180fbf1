#include "nn/lr_schedule.h"

#include <boost/test/unit_test.hpp>
#include <cmath>

#include "tensor/error.h"

namespace normtune {

namespace {

void check_close(double found, double expected) {
  BOOST_CHECK_MESSAGE(std::abs(found - expected) <= 1e-15, "expected " << expected << ", found " << found);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(lr_schedule)

BOOST_AUTO_TEST_CASE(linear_without_warmup) {
  const LearningRateSchedule schedule{.kind = ScheduleKind::linear, .warmup_steps = 0, .total_steps = 4};
  check_close(schedule.factor(0), 1);
  check_close(schedule.factor(1), 0.75);
  check_close(schedule.factor(3), 0.25);
  check_close(schedule.factor(4), 0);
  check_close(schedule.factor(5), 0);
}

BOOST_AUTO_TEST_CASE(warmup_begins_at_zero_and_ends_at_the_peak) {
  for (const ScheduleKind kind : {ScheduleKind::linear, ScheduleKind::constant, ScheduleKind::cosine}) {
    const LearningRateSchedule schedule{.kind = kind, .warmup_steps = 4, .total_steps = 12};
    check_close(schedule.factor(0), 0);
    check_close(schedule.factor(1), 0.25);
    check_close(schedule.factor(3), 0.75);
    check_close(schedule.factor(4), 1);
  }
}

BOOST_AUTO_TEST_CASE(decays_behind_the_warmup) {
  const LearningRateSchedule linear{.kind = ScheduleKind::linear, .warmup_steps = 4, .total_steps = 12};
  const LearningRateSchedule cosine{.kind = ScheduleKind::cosine, .warmup_steps = 4, .total_steps = 12};
  const LearningRateSchedule constant{.kind = ScheduleKind::constant, .warmup_steps = 4, .total_steps = 12};
  check_close(linear.factor(8), 0.5);
  check_close(linear.factor(11), 0.125);
  check_close(cosine.factor(6), (1 + std::sqrt(0.5)) / 2);
  check_close(cosine.factor(8), 0.5);
  check_close(cosine.factor(12), 0);
  check_close(cosine.factor(14), 0);  // does not rise again
  check_close(constant.factor(11), 1);
  check_close(constant.factor(12), 1);
}

BOOST_AUTO_TEST_CASE(all_of_it_may_be_warmup) {
  for (const ScheduleKind kind : {ScheduleKind::linear, ScheduleKind::cosine}) {
    const LearningRateSchedule schedule{.kind = kind, .warmup_steps = 5, .total_steps = 5};
    check_close(schedule.factor(4), 0.8);
    check_close(schedule.factor(5), 0);
  }
  const LearningRateSchedule longer{.kind = ScheduleKind::linear, .warmup_steps = 10, .total_steps = 5};
  check_close(longer.factor(4), 0.4);
  check_close(longer.factor(10), 0);
}

BOOST_AUTO_TEST_CASE(length_of_the_warmup) {
  BOOST_CHECK_EQUAL(warmup_length(0, 0, 100), 0);
  BOOST_CHECK_EQUAL(warmup_length(0, 0.06, 101), 7);  // ceil(6.06)
  BOOST_CHECK_EQUAL(warmup_length(3, 0.5, 100), 3);
  BOOST_CHECK_EQUAL(warmup_length(0, 1, 100), 100);
}

BOOST_AUTO_TEST_CASE(knows_its_names) {
  BOOST_CHECK(find_schedule("cosine") == ScheduleKind::cosine);
  BOOST_CHECK_EXCEPTION(find_schedule("polynomial"), Error,
                        [](const Error& error) { return error.kind() == ErrorKind::usage; });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
