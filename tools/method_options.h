#pragma once

#include "experiments/method.h"
#include "tools/options.h"

namespace normtune {

/// What --method and its options say, before the seeds that they default to are known.
struct MethodArguments {
  MethodOptions options;
  std::string train_pooler = "auto";
  std::optional<uint64_t> mask_seed;  ///< --seed
};

void add_method_options(Options& options, MethodArguments& method);

/// The options as the library takes them. Throws Error(usage) for an unknown method or pattern.
MethodOptions resolve_method(const MethodArguments& method, uint64_t seed);

}  // namespace normtune
