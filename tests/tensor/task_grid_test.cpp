#include "tensor/cpu/task_grid.h"

#include <omp.h>

#include <boost/test/unit_test.hpp>

using namespace normtune;

BOOST_AUTO_TEST_SUITE(task_grid)

BOOST_AUTO_TEST_CASE(a_thread_gets_its_rows_first_column_by_column) {
  TaskGrid grid(4, 2, 2);
  const std::vector<std::pair<int64_t, int64_t>> expected = {{2, 0}, {3, 0}, {2, 1}, {3, 1},
                                                             {0, 0}, {1, 0}, {0, 1}, {1, 1}};
  for (const auto& [row, column] : expected) {
    const auto task = grid.next(/*thread=*/1);
    BOOST_REQUIRE(task.has_value());
    BOOST_TEST(task->row == row);
    BOOST_TEST(task->column == column);
  }
  BOOST_TEST(!grid.next(1).has_value());
  BOOST_TEST(!grid.next(0).has_value());
}

BOOST_AUTO_TEST_CASE(every_task_is_given_once_in_each_round) {
  for (const auto& [rows, columns, threads] :
       {std::tuple{0, 3, 2}, {1, 1, 4}, {3, 1, 8}, {5, 7, 2}, {64, 3, 3}, {7, 0, 2}}) {
    constexpr int rounds = 3;
    TaskGrid grid(rows, columns, threads);
    std::vector<std::atomic<int>> given(static_cast<size_t>(rounds * rows * columns));
#pragma omp parallel num_threads(threads)
    for (int round = 0; round < rounds; ++round) {
      while (const auto task = grid.next(omp_get_thread_num(), round)) {
        ++given[static_cast<size_t>(round * grid.count() + task->row * columns + task->column)];
      }
#pragma omp barrier
    }
    for (const std::atomic<int>& times : given) BOOST_TEST(times == 1);
  }
}

/// Of rows that no thread of a smaller team has as its share, too.
BOOST_AUTO_TEST_CASE(a_thread_alone_gets_all) {
  TaskGrid grid(5, 2, /*threads=*/16);
  int64_t found = 0;
  while (grid.next(0)) ++found;
  BOOST_TEST(found == grid.count());
}

BOOST_AUTO_TEST_SUITE_END()
