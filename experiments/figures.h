#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace normtune {

/// What became of a plotting script's run.
struct DrawnFigures {
  std::vector<std::filesystem::path> files;  ///< written, as the script names them; empty if none
  /// Why nothing was drawn, and the command that draws it later, as one line for people; empty if all went
  /// well.
  std::string note;
};

/// Runs a plotting script of the folder tools/ ("plot_drift.py") with these arguments, and waits for it.
/// Scripts write SVG and PNG files and print a path per line (tools/figure_style.py). They lie in the source
/// folder that the program was built from, or in $NORMTUNE_TOOLS; they are run by $NORMTUNE_PYTHON, or else
/// by the first python3 on the PATH that has matplotlib. Figures are an extra: a system without Python,
/// without matplotlib or without the script gives a note, never an error.
DrawnFigures draw_figures(const std::string& script, const std::vector<std::string>& arguments);

}  // namespace normtune
