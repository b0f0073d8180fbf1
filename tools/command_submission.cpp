#include <nlohmann/json.hpp>

#include "experiments/submission.h"
#include "tensor/error.h"
#include "tools/commands.h"
#include "tools/common_options.h"

namespace normtune {

int run_submission(Arguments arguments) {
  CommonOptions common;
  std::filesystem::path output_file;
  std::vector<std::filesystem::path> folders;
  Options options("submission", "Packs predictions into the zip file that the GLUE server takes.");
  options.positionals("DIR", folders, "folders that normtune predict has written");
  options.group("Output");
  options.path("output_file", output_file, "FILE.zip", "the zip file");
  add_common_options(options, common);
  if (!options.parse(arguments)) return 0;
  apply_common_options(common);
  options.require("output_file");
  if (folders.empty()) fail(ErrorKind::usage, "DIR: expected at least one folder ({})", options.see_help());

  const SubmissionReport report = write_submission(folders, output_file);
  const Console console = common.console();
  for (const std::string& line : report.taken) console.result(line);
  for (const std::string& line : report.filled) console.result("filled: " + line);
  console.result(fmt::format("{} is written", output_file.string()));
  console.document({{"file", output_file.string()}, {"taken", report.taken}, {"filled", report.filled}});
  return 0;
}

}  // namespace normtune
