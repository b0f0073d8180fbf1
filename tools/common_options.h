#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tensor/device.h"
#include "tensor/dtype.h"
#include "tensor/precision.h"
#include "tools/console.h"
#include "tools/options.h"

namespace normtune {

/// The options that every command has.
struct CommonOptions {
  std::string device_name = "cpu";
  std::string precision_name = "fp32";
  std::optional<int64_t> num_threads;
  uint64_t seed = 42;
  bool json = false, quiet = false, verbose = false;

  Console console() const { return {json, quiet, verbose}; }
  /// Of device_name, which apply_common_options() has checked.
  Device device() const;
  /// Of precision_name, which apply_common_options() has checked.
  Precision precision() const;
};

void add_common_options(Options& options, CommonOptions& common);

/// Call after Options::parse(): sets the number of threads, and throws Error(usage) for a device or precision
/// that this build does not have.
void apply_common_options(const CommonOptions& common);

}  // namespace normtune
