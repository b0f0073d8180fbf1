#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

namespace normtune {

/// A grid of tasks for the threads of a parallel region. Each thread has a share of the rows and is given the
/// tasks in them first, column by column: what it wrote of these rows in the kernels before is in its cache,
/// and to fetch a line that another core has written takes several times as long. Then it takes what is left
/// of the shares of others.
class TaskGrid {
 public:
  struct Task {
    int64_t row, column;
  };

  TaskGrid(int64_t rows, int64_t columns, int64_t threads)
      : rows_(rows), columns_(columns), shares_(static_cast<size_t>(threads)) {}

  int64_t count() const { return rows_ * columns_; }

  /// A task of this round that no thread has been given; none if there is none left. All tasks are given once
  /// in each round, and a round begins when the one before has ended in all threads.
  std::optional<Task> next(int64_t thread, int64_t round = 0) {
    for (size_t i = 0; i < shares_.size(); ++i) {
      const size_t share = (static_cast<size_t>(thread) + i) % shares_.size();
      if (const std::optional<Task> task = next_of(share, round)) return task;
    }
    return std::nullopt;
  }

 private:
  /// Tasks of a share that have been given, of all rounds; on a cache line of its own.
  struct alignas(64) Share {
    std::atomic<int64_t> given = 0;
  };

  int64_t first_row(size_t share) const {
    return rows_ * static_cast<int64_t>(share) / static_cast<int64_t>(shares_.size());
  }

  std::optional<Task> next_of(size_t share, int64_t round) {
    const int64_t begin = first_row(share), rows = first_row(share + 1) - begin, size = rows * columns_;
    std::atomic<int64_t>& given = shares_[share].given;
    int64_t task = given.load(std::memory_order_relaxed);
    while (task < (round + 1) * size) {
      if (!given.compare_exchange_weak(task, task + 1, std::memory_order_relaxed)) continue;
      const int64_t in_round = task - round * size;
      return Task{begin + in_round % rows, in_round / rows};
    }
    return std::nullopt;
  }

  int64_t rows_, columns_;
  std::vector<Share> shares_;
};

}  // namespace normtune
