#include <fmt/format.h>

#include <exception>
#include <string>
#include <vector>

#include "experiments/nearest_name.h"
#include "nn/printable.h"
#include "tensor/error.h"
#include "tools/commands.h"
#include "tools/console.h"
#include "tools/failure.h"
#include "tools/version.h"

namespace normtune {

namespace {

struct Command {
  std::string name;
  std::string summary;
  int (*run)(Arguments);
};

const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
      {"inspect", "counts the parameters of a model and those that a method trains", run_inspect},
      {"tokenize", "turns lines of text into token ids", run_tokenize},
      {"finetune", "fine-tunes a model on a task", run_finetune},
      {"pretrain", "pre-trains a model on plain text", run_pretrain},
      {"evaluate", "scores a fine-tuned model", run_evaluate},
      {"predict", "writes a fine-tuned model's answers", run_predict},
      {"submission", "packs predictions for the GLUE server", run_submission},
      {"compare", "fine-tunes by several methods on several tasks, and makes the table", run_compare},
      {"reproduce", "does an experiment: runs, tables, figures and a report with its verdict", run_reproduce},
      {"drift", "measures what moved between two versions of a model", run_drift},
      {"diff", "writes what turns one model into another as a delta file", run_diff},
      {"merge", "puts a delta on its base model", run_merge},
      {"pocket", "writes a small generated corpus and five tasks to learn from", run_pocket},
      {"fisher", "measures the Fisher information of every parameter", run_fisher},
      {"mask", "chooses single elements to train, by Fisher information, drift or lot", run_mask},
      {"bench", "times kernels and whole training steps against the machine's roof", run_bench},
  };
  return table;
}

std::string help_text() {
  std::string text =
      "Fine-tunes BERT: which parameters of a pre-trained model must move to learn a task?\n"
      "Usage: normtune COMMAND [options]\n\nCommands:\n";
  for (const Command& command : commands())
    text += fmt::format("  {:<12}{}\n", command.name, command.summary);
  return text +
         "\n  normtune COMMAND --help   lists the options of a command\n"
         "  normtune --version        names build, libraries, instruction set and devices\n";
}

const Command& find_command(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    if (command.name == name) return command;
    names.push_back(command.name);
  }
  if (name.starts_with("-")) {
    fail(ErrorKind::usage, "{}: expected a command first (see normtune --help)", printable(name));
  }
  fail(ErrorKind::usage, "{}: unknown command; the nearest is {}, all are {}", printable(name),
       nearest_name(name, names), fmt::join(names, ", "));
}

int run_program(const std::vector<std::string>& arguments) {
  if (arguments.empty()) fail(ErrorKind::usage, "expected a command (see normtune --help)");
  const std::string& first = arguments.front();
  int code = 0;
  if (first == "--help" || first == "-h") {
    write_output(help_text());
  } else if (first == "--version") {
    write_output(version_text());
  } else {
    code = find_command(first).run(Arguments(arguments).subspan(1));
  }
  flush_output();
  return code;
}

/// Runs the program and turns what it throws into the last line on standard error and the exit code.
int run_and_report(const std::vector<std::string>& arguments) {
  try {
    return run_program(arguments);
  } catch (...) {
    const Failure failure = describe_failure(std::current_exception());
    print_error(failure.message);
    return failure.exit_code;
  }
}

}  // namespace

}  // namespace normtune

int main(int argc, char** argv) {
  normtune::prepare_standard_streams();
  return normtune::run_and_report({argv + 1, argv + argc});
}
