#include "experiments/text_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace normtune {

namespace {

/// Code points of UTF-8 text: bytes that do not continue one.
size_t width_of(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }));
}

std::vector<size_t> column_widths(const TableRows& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  return widths;
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::string latex_cell(std::string text) {
  const bool bold = text.starts_with("**") && text.ends_with("**") && text.size() > 4;
  if (bold) text = text.substr(2, text.size() - 4);
  for (const char* special : {"_", "%", "&", "#"})
    text = replace_all(text, special, std::string("\\") + special);
  text = replace_all(text, "±", "$\\pm$");
  return bold ? "\\textbf{" + text + "}" : text;
}

}  // namespace

std::string format_table(const TableRows& rows) {
  const std::vector<size_t> widths = column_widths(rows);
  std::string table;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - width_of(row[i]), ' ');
      line += i == 0 ? row[i] + padding : "  " + padding + row[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    table += line + "\n";
  }
  return table;
}

std::string markdown_table(const TableRows& rows) {
  std::string table;
  for (size_t i = 0; i < rows.size(); ++i) {
    table += fmt::format("| {} |\n", fmt::join(rows[i], " | "));
    if (i > 0) continue;
    table += "|---|";
    for (size_t column = 1; column < rows[0].size(); ++column) table += "---:|";
    table += "\n";
  }
  return table;
}

std::string latex_table(const TableRows& rows) {
  std::string table =
      fmt::format("\\begin{{tabular}}{{l{}}}\n\\toprule\n", std::string(rows[0].size() - 1, 'r'));
  for (size_t i = 0; i < rows.size(); ++i) {
    std::vector<std::string> cells;
    for (const std::string& cell : rows[i]) cells.push_back(latex_cell(cell));
    table += fmt::format("{} \\\\\n", fmt::join(cells, " & "));
    if (i == 0) table += "\\midrule\n";
  }
  return table + "\\bottomrule\n\\end{tabular}\n";
}

std::string with_thousands(int64_t number) {
  std::string digits = fmt::format("{}", number);
  const int64_t first_digit = number < 0 ? 1 : 0;
  for (int64_t position = static_cast<int64_t>(digits.size()) - 3; position > first_digit; position -= 3) {
    digits.insert(static_cast<size_t>(position), 1, ',');
  }
  return digits;
}

}  // namespace normtune
