#include "experiments/figures.h"

#include <stdlib.h>

#include <boost/test/unit_test.hpp>
#include <optional>

#include "tests/file_helpers.h"

using namespace normtune;
using namespace normtune::testing;

BOOST_AUTO_TEST_SUITE(figures)

namespace {

/// Sets a variable of the environment for the lifetime of this.
class Variable {
 public:
  Variable(std::string name, const std::string& value) : name_(std::move(name)) {
    if (const char* before = ::getenv(name_.c_str())) before_ = before;
    ::setenv(name_.c_str(), value.c_str(), 1);
  }
  ~Variable() {
    if (before_) {
      ::setenv(name_.c_str(), before_->c_str(), 1);
    } else {
      ::unsetenv(name_.c_str());
    }
  }

 private:
  std::string name_;
  std::optional<std::string> before_;
};

/// The shell stands in for Python: what matters is how a script is found, run and heard.
struct Scripts {
  TemporaryFolder folder;
  Variable tools{"NORMTUNE_TOOLS", folder.path().string()};
  Variable python{"NORMTUNE_PYTHON", "/bin/sh"};
};

}  // namespace

BOOST_FIXTURE_TEST_CASE(a_script_tells_which_files_it_wrote, Scripts) {
  folder.write("plot.py", "echo \"$1/a.svg\"; echo \"$1/a.png\"\n");
  const DrawnFigures drawn = draw_figures("plot.py", {"some where"});
  BOOST_TEST(drawn.note == "");
  BOOST_REQUIRE_EQUAL(drawn.files.size(), 2u);
  BOOST_TEST(drawn.files[1].string() == "some where/a.png");
}

BOOST_FIXTURE_TEST_CASE(a_script_that_fails_leaves_a_note_with_the_command, Scripts) {
  folder.write("plot.py", "echo first >&2; echo matplotlib is missing >&2; exit 1\n");
  const DrawnFigures drawn = draw_figures("plot.py", {"some where", "--flag"});
  BOOST_TEST(drawn.files.empty());
  BOOST_TEST(drawn.note == "no figures: matplotlib is missing; to draw them later: python3 " +
                               (folder.path() / "plot.py").string() + " \"some where\" --flag");
}

BOOST_FIXTURE_TEST_CASE(a_missing_script_or_interpreter_is_no_error, Scripts) {
  BOOST_TEST(draw_figures("absent.py", {}).note.find("absent.py is not there") != std::string::npos);
  folder.write("plot.py", "");
  const Variable absent("NORMTUNE_PYTHON", (folder.path() / "no-python").string());
  BOOST_TEST(draw_figures("plot.py", {}).note.find("no-python failed with code 127") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
