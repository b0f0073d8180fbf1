#pragma once

namespace normtune {

/// While it lives, SIGINT and SIGTERM do not end the process: the first one is remembered, so that a loop can
/// finish what it does and stop. The second one has its usual effect. One object at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// The signal received; 0 if there was none.
  static int signal();
};

}  // namespace normtune
