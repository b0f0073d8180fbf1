#pragma once

#include "experiments/task_data.h"
#include "tools/options.h"

namespace normtune {

/// --task_name, --glue_dir, the user's own files, and how many rows are taken.
void add_task_options(Options& options, TaskOptions& task);

/// The same with the task's own name for what the user wrote (MNLI, sst-2). Throws Error(usage) that names
/// the nearest task.
TaskOptions resolve_task(TaskOptions task);

}  // namespace normtune
