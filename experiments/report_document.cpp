#include "experiments/report_document.h"

#include <fmt/format.h>

#include <cstdint>

#include "experiments/csv_file.h"
#include "nn/mapped_file.h"
#include "tensor/error.h"

namespace normtune {

namespace {

/// Self-contained, readable on screens of any width and on paper.
constexpr const char* style = R"css(
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 62rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin-bottom: .4rem; }
h2 { font-size: 1.25rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc; padding-bottom: .2rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
.claim { font-size: 1.1rem; border-left: .3rem solid #0072B2; padding: .2rem 0 .2rem .9rem; margin: 1rem 0; }
.verdict { border: 2px solid #777; border-radius: .4rem; padding: .6rem .9rem; margin: 1rem 0; }
.verdict strong { text-transform: uppercase; letter-spacing: .03em; }
.verdict.supported { border-color: #007a55; background: #eefaf5; }
.verdict.not-supported { border-color: #b34700; background: #fdf3ec; }
.verdict.undecided { border-color: #777; background: #f5f5f5; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; margin: .3rem 0; }
th, td { padding: .22rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e3e3e3; }
th { border-bottom: 2px solid #555; }
th:first-child, td:first-child { text-align: left; }
td.words, th.words { text-align: left; white-space: normal; min-width: 11rem; }
tr:last-child td { border-bottom: 2px solid #555; }
figure { margin: 1.2rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption, .note { font-size: .86rem; color: #444; }
.note { margin: .15rem 0; }
code, pre { font: .84rem/1.4 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
pre { background: #f5f5f5; padding: .6rem .8rem; overflow-x: auto; white-space: pre-wrap; word-break: break-word; }
details summary { cursor: pointer; font-weight: 600; margin: .8rem 0 .3rem; }
@media print {
  body { max-width: none; margin: 0; font-size: 10pt; }
  h2, h3 { break-after: avoid; } figure, table, .verdict { break-inside: avoid; }
  .scroll { overflow: visible; } th, td { white-space: normal; }
}
)css";

std::string escaped(std::string_view text) {
  std::string html;
  for (const char character : text) {
    switch (character) {
      case '&':
        html += "&amp;";
        break;
      case '<':
        html += "&lt;";
        break;
      case '>':
        html += "&gt;";
        break;
      case '"':
        html += "&quot;";
        break;
      default:
        html += character;
    }
  }
  return html;
}

bool is_bold(const std::string& cell) {
  return cell.size() > 4 && cell.starts_with("**") && cell.ends_with("**");
}

std::string html_cell(const std::string& cell) {
  return is_bold(cell) ? "<strong>" + escaped(cell.substr(2, cell.size() - 4)) + "</strong>" : escaped(cell);
}

/// A column of sentences rather than numbers: it may wrap.
bool holds_words(const TableRows& rows, size_t column) {
  for (const std::vector<std::string>& row : rows) {
    if (column < row.size() && row[column].size() > 34) return true;
  }
  return false;
}

std::string html_table_rows(const TableRows& rows) {
  std::string html = "<div class=\"scroll\"><table>\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    const char* tag = i == 0 ? "th" : "td";
    html += "<tr>";
    for (size_t column = 0; column < rows[i].size(); ++column) {
      html += fmt::format("<{}{}>{}</{}>", tag, holds_words(rows, column) ? " class=\"words\"" : "",
                          html_cell(rows[i][column]), tag);
    }
    html += "</tr>\n";
  }
  return html + "</table></div>\n";
}

std::string html_table(const ReportTable& table) {
  std::string html = html_table_rows(table.rows);
  for (const std::string& note : table.notes)
    html += fmt::format("<p class=\"note\">{}</p>\n", escaped(note));
  if (table.folded) {
    return fmt::format("<details><summary>{}</summary>\n{}</details>\n", escaped(table.title), html);
  }
  return fmt::format("<h3>{}</h3>\n{}", escaped(table.title), html);
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = 0;
    for (size_t j = 0; j < 3; ++j) word = word << 8 | (j < count ? static_cast<uint8_t>(bytes[i + j]) : 0);
    for (size_t j = 0; j < 4; ++j) text += j <= count ? digits[word >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

/// As an image of its own, so that equal names inside two figures do not meet.
std::string html_figure(const ReportFigure& figure) {
  return fmt::format(
      "<figure><img alt=\"{0}\" src=\"data:image/svg+xml;base64,{1}\"><figcaption><strong>{0}.</strong> "
      "{2}</figcaption></figure>\n",
      escaped(figure.title), base64(read_file(figure.svg, ErrorKind::data)), escaped(figure.caption));
}

std::string html_paragraph(const std::string& text) {
  // Commands are shown as they are typed.
  if (text.starts_with("$ ")) return "<pre>" + escaped(text.substr(2)) + "</pre>\n";
  return "<p>" + escaped(text) + "</p>\n";
}

std::string html_section(const ReportSection& section) {
  std::string html = fmt::format("<h2>{}</h2>\n", escaped(section.heading));
  for (const std::string& paragraph : section.paragraphs) html += html_paragraph(paragraph);
  if (!section.items.empty()) html += "<ul>\n";
  for (const std::string& item : section.items) html += fmt::format("<li>{}</li>\n", escaped(item));
  if (!section.items.empty()) html += "</ul>\n";
  for (const ReportFigure& figure : section.figures) html += html_figure(figure);
  for (const ReportTable& table : section.tables) html += html_table(table);
  return html;
}

std::string verdict_class(const std::string& verdict) {
  return verdict == "not supported" ? "not-supported" : verdict;
}

std::string without_marks(const TableRows& rows, std::string (*format)(const TableRows&)) {
  TableRows plain = rows;
  for (std::vector<std::string>& row : plain) {
    for (std::string& cell : row) {
      if (is_bold(cell)) cell = cell.substr(2, cell.size() - 4);
    }
  }
  return format(plain);
}

std::string text_section(const ReportSection& section) {
  if (section.on_files) return "";
  std::string text = fmt::format("\n{}\n", section.heading);
  for (const std::string& paragraph : section.paragraphs) text += paragraph + "\n";
  for (const std::string& item : section.items) text += "- " + item + "\n";
  for (const ReportTable& table : section.tables) {
    if (table.folded || table.on_files) continue;
    text += fmt::format("\n{}\n{}", table.title, without_marks(table.rows, format_table));
    for (const std::string& note : table.notes) text += note + "\n";
  }
  return text;
}

std::string markdown_section(const ReportSection& section) {
  std::string text = fmt::format("\n## {}\n\n", section.heading);
  for (const std::string& paragraph : section.paragraphs) {
    text += paragraph.starts_with("$ ") ? fmt::format("    {}\n\n", paragraph.substr(2)) : paragraph + "\n\n";
  }
  for (const std::string& item : section.items) text += "- " + item + "\n";
  for (const ReportFigure& figure : section.figures) {
    text += fmt::format("\n![{}](figures/{})\n\n{}\n", figure.title, figure.svg.filename().string(),
                        figure.caption);
  }
  for (const ReportTable& table : section.tables) {
    if (table.folded) continue;
    text += fmt::format("\n**{}**\n\n{}\n", table.title, markdown_table(table.rows));
    for (const std::string& note : table.notes) text += "- " + note + "\n";
  }
  return text;
}

}  // namespace

std::string report_text(const ReportDocument& report) {
  std::string text = fmt::format("{}\n\nClaim: {}\nVerdict: {}. {}\n", report.title, report.claim,
                                 report.verdict, report.verdict_reason);
  for (const ReportSection& section : report.sections) text += text_section(section);
  return text;
}

std::string report_markdown(const ReportDocument& report) {
  std::string text = fmt::format("# {}\n\n**Claim.** {}\n\n**Verdict: {}.** {}\n", report.title, report.claim,
                                 report.verdict, report.verdict_reason);
  for (const ReportSection& section : report.sections) text += markdown_section(section);
  return text;
}

std::string report_latex(const ReportDocument& report) {
  std::string text = fmt::format("% {}: {}\n", report.title, report.verdict);
  for (const ReportSection& section : report.sections) {
    for (const ReportTable& table : section.tables) {
      if (table.folded) continue;
      text += fmt::format("\n% {}\n", table.title);
      for (const std::string& note : table.notes) text += fmt::format("% {}\n", note);
      text += latex_table(table.rows);
    }
  }
  return text;
}

std::string report_html(const ReportDocument& report) {
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width, "
      "initial-scale=1\">\n<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n"
      "<h1>{0}</h1>\n<p class=\"claim\"><strong>Claim.</strong> {2}</p>\n<p class=\"verdict "
      "{3}\"><strong>{4}</strong>. "
      "{5}</p>\n",
      escaped(report.title), style, escaped(report.claim), verdict_class(report.verdict),
      escaped(report.verdict), escaped(report.verdict_reason));
  for (const ReportSection& section : report.sections) html += html_section(section);
  return html + "</body>\n</html>\n";
}

std::string csv_text(const TableRows& rows) {
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) text += (i == 0 ? "" : ",") + csv_field(row[i]);
    text += "\n";
  }
  return text;
}

}  // namespace normtune
