#pragma once

#include <span>
#include <string>
#include <string_view>

namespace normtune {

/// The commands of the program, one file each. Each takes the arguments behind its name and returns the exit
/// code; an error that the user can act on is thrown as Error.
using Arguments = std::span<const std::string>;

int run_bench(Arguments arguments);
int run_inspect(Arguments arguments);
int run_tokenize(Arguments arguments);
int run_finetune(Arguments arguments);
int run_pretrain(Arguments arguments);
int run_evaluate(Arguments arguments);
int run_predict(Arguments arguments);
int run_submission(Arguments arguments);
int run_compare(Arguments arguments);
int run_reproduce(Arguments arguments);
int run_pocket(Arguments arguments);
int run_drift(Arguments arguments);
int run_merge(Arguments arguments);
int run_diff(Arguments arguments);
int run_fisher(Arguments arguments);
int run_mask(Arguments arguments);

}  // namespace normtune
