#include "experiments/report_document.h"

#include <boost/test/unit_test.hpp>

#include "tests/experiments/fixtures.h"

using namespace normtune;
using fixtures::TemporaryFolder;

namespace {

ReportDocument report() {
  ReportTable table{
      .title = "Scores & more", .rows = {{"method", "rte"}, {"full", "**1 < 2**"}}, .notes = {"a note"}};
  ReportTable folded{.title = "Long", .rows = {{"run"}, {"abc"}}, .notes = {}, .folded = true};
  return {.title = "A title",
          .claim = "A claim",
          .verdict = "not supported",
          .verdict_reason = "Because.",
          .sections = {{.heading = "First",
                        .paragraphs = {"Text", "$ normtune x"},
                        .items = {"item"},
                        .tables = {table, folded}}}};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(report_document)

BOOST_AUTO_TEST_CASE(text) {
  BOOST_TEST(report_text(report()) ==
             "A title\n\nClaim: A claim\nVerdict: not supported. Because.\n\nFirst\nText\n$ normtune x\n- "
             "item\n\nScores & "
             "more\nmethod    rte\nfull    1 < 2\na note\n");
}

BOOST_AUTO_TEST_CASE(markdown_and_latex) {
  const std::string markdown = report_markdown(report());
  BOOST_TEST(contains(markdown, "**Verdict: not supported.** Because."));
  BOOST_TEST(contains(markdown, "| full | **1 < 2** |"));
  BOOST_TEST(contains(markdown, "    normtune x\n"));
  const std::string latex = report_latex(report());
  BOOST_TEST(contains(latex, "\\textbf{"));
  BOOST_TEST(!contains(latex, "abc"));  // folded
}

BOOST_AUTO_TEST_CASE(html_is_escaped_and_whole) {
  const std::string html = report_html(report());
  BOOST_TEST(contains(html, "<strong>1 &lt; 2</strong>"));
  BOOST_TEST(contains(html, "Scores &amp; more"));
  BOOST_TEST(contains(html, "class=\"verdict not-supported\""));
  BOOST_TEST(contains(html, "<pre>normtune x</pre>"));
  BOOST_TEST(contains(html, "<details><summary>Long</summary>"));
}

BOOST_AUTO_TEST_CASE(figures_are_inside) {
  const TemporaryFolder folder;
  ReportDocument with_figure = report();
  folder.write("a.svg", "<svg>ab</svg>");
  with_figure.sections[0].figures = {{.title = "Fig", .caption = "Cap", .svg = folder / "a.svg"}};
  BOOST_TEST(contains(report_html(with_figure), "src=\"data:image/svg+xml;base64,PHN2Zz5hYjwvc3ZnPg==\""));
  folder.write("a.svg", "<svg>abc</svg>");
  BOOST_TEST(contains(report_html(with_figure), "base64,PHN2Zz5hYmM8L3N2Zz4=\""));
  folder.write("a.svg", "<svg>abcd</svg>");
  BOOST_TEST(contains(report_html(with_figure), "base64,PHN2Zz5hYmNkPC9zdmc+\""));
}

BOOST_AUTO_TEST_CASE(csv) {
  BOOST_TEST(csv_text({{"a", "b"}, {"x, y", "say \"hi\""}}) == "a,b\n\"x, y\",\"say \"\"hi\"\"\"\n");
}

BOOST_AUTO_TEST_SUITE_END()
