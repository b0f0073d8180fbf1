#pragma once

#include <string>

#include "experiments/training_options.h"
#include "tools/common_options.h"
#include "tools/options.h"

namespace normtune {

// What finetune and pretrain have in common on the command line, group by group.

void add_dropout_options(Options& options, TrainingOptions& target);
void add_optimizer_options(Options& options, TrainingOptions& target);
/// The output folder, evaluation, saving and logging.
void add_output_options(Options& options, TrainingOptions& target);
/// `resume` becomes empty or false (no), true (the latest checkpoint), or a checkpoint's folder.
void add_resume_option(Options& options, std::string& resume);
void add_seed_options(Options& options, TrainingOptions& target);

/// Fills in what the common options and --resume_from_checkpoint say.
void resolve_training(const CommonOptions& common, const std::string& resume, TrainingOptions& target);

/// What a training that a signal stopped tells at the end. Returns the exit code.
int report_interrupt(const TrainingResult& result);

}  // namespace normtune
