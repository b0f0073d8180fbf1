#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace normtune {

/// A text file of rows, read whole: UTF-8 (checked), without its byte order mark.
class DataFile {
 public:
  /// Throws Error(data) naming file, line and byte if the file cannot be read or is not UTF-8.
  explicit DataFile(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  std::string_view text() const { return text_; }
  /// The records: each ends with LF, and one CR before it is taken off. Empty lines at the end are left out.
  /// Line i + 1 of the file is element i.
  std::vector<std::string_view> lines() const;

 private:
  std::filesystem::path path_;
  std::string content_;
  std::string_view text_;  // content_ behind the byte order mark
};

/// The offset of the first byte that does not continue well-formed UTF-8 (Unicode 15, table 3-7); none if all
/// do.
std::optional<size_t> find_invalid_utf8(std::string_view text);

/// The number that is the whole of `text`; none otherwise, or if it is too large. `inf` and `nan` are no
/// numbers.
std::optional<int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);

}  // namespace normtune
