#pragma once

#include <string>

#include "experiments/finetune.h"
#include "tools/common_options.h"
#include "tools/method_options.h"
#include "tools/options.h"

namespace normtune {

/// What the command line says of a fine-tuning, before defaults that depend on other options are filled in.
struct FinetuneArguments {
  CommonOptions common;
  MethodArguments method;
  std::string resume_from_checkpoint;  ///< empty or false: no; true: the latest; else a checkpoint's folder
  FinetuneOptions options;
};

void add_finetune_options(Options& options, FinetuneArguments& arguments);
/// The same without a place for the model among the arguments without name.
void add_named_finetune_options(Options& options, FinetuneArguments& arguments);

/// The options as the library takes them.
FinetuneOptions resolve_finetune(const FinetuneArguments& arguments);

}  // namespace normtune
