#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace normtune {

using TableRows = std::vector<std::vector<std::string>>;

/// A cell without a value.
inline constexpr const char* no_value = "–";

/// Columns of text: the first is aligned to the left, all others (numbers) to the right. The first row is the
/// heading. Widths count code points (of one column each), so that `±` does not move what follows.
std::string format_table(const TableRows& rows);

/// The same as a table of Markdown.
std::string markdown_table(const TableRows& rows);

/// The same as a tabular of LaTeX with the rules of booktabs. A cell that is bold in Markdown is bold here.
std::string latex_table(const TableRows& rows);

/// 333581314 -> "333,581,314"
std::string with_thousands(int64_t number);

}  // namespace normtune
