#include "experiments/csv_file.h"

#include <csv.h>

#include <algorithm>
#include <memory>

#include "tensor/error.h"

namespace normtune {
namespace {

struct RowCollector {
  std::vector<CsvRow> rows;
  std::vector<std::string> fields;
  int64_t current_line = 0;
  int64_t row_begin = 0;  // line of the row under way; 0: none
};

void collect_field(void* text, size_t length, void* data) {
  auto& collector = *static_cast<RowCollector*>(data);
  if (collector.row_begin == 0) collector.row_begin = collector.current_line;
  collector.fields.emplace_back(static_cast<const char*>(text), length);
}

void collect_row(int /*terminator*/, void* data) {
  auto& collector = *static_cast<RowCollector*>(data);
  collector.rows.push_back({collector.row_begin, std::move(collector.fields)});
  collector.fields.clear();
  collector.row_begin = 0;
}

int no_space(unsigned char) {
  return 0;
}

[[noreturn]] void fail_to_parse(csv_parser& parser, const DataFile& file, const RowCollector& collector) {
  if (csv_error(&parser) == CSV_ENOMEM) throw std::bad_alloc();
  const int64_t line = collector.row_begin > 0 ? collector.row_begin : collector.current_line;
  fail(ErrorKind::data,
       "{}, line {}: expected CSV, found a double quote that is not at the ends of its field, or is never "
       "closed; "
       "write a quote inside a field as \"\"",
       file.path().string(), line);
}

}  // namespace

std::vector<CsvRow> read_csv(const DataFile& file) {
  csv_parser parser;
  if (csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI) != 0) throw std::bad_alloc();
  const std::unique_ptr<csv_parser, decltype(&csv_free)> owner(&parser, csv_free);
  csv_set_space_func(&parser, no_space);  // the library's default trims blanks, which RFC 4180 keeps
  RowCollector collector;
  const std::string_view text = file.text();
  // One line at a time, so that a row knows the line it begins at.
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    ++collector.current_line;
    if (collector.row_begin == 0) collector.row_begin = collector.current_line;
    const size_t read =
        csv_parse(&parser, text.data() + begin, end - begin, collect_field, collect_row, &collector);
    if (read != end - begin) fail_to_parse(parser, file, collector);
    begin = end;
    // An empty line begins no row (state 0 of the parser): the next one begins behind it.
    if (collector.fields.empty() && parser.pstate == 0) collector.row_begin = 0;
  }
  if (csv_fini(&parser, collect_field, collect_row, &collector) != 0) fail_to_parse(parser, file, collector);
  return std::move(collector.rows);
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char character : text) quoted += character == '"' ? "\"\"" : std::string(1, character);
  return quoted + "\"";
}

}  // namespace normtune
