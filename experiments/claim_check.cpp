#include <fnmatch.h>

#include <algorithm>

#include "experiments/claim.h"
#include "experiments/component_groups.h"
#include "experiments/nearest_name.h"
#include "nn/printable.h"
#include "tensor/error.h"

namespace normtune {

namespace {

/// `pattern` is a row or a glob of rows.
void check_row(const std::string& pattern, const std::string& text, const ComparisonOptions& options) {
  const bool matches = std::any_of(options.rows.begin(), options.rows.end(), [&](const std::string& row) {
    return fnmatch(pattern.c_str(), row.c_str(), 0) == 0;
  });
  if (matches) return;
  fail(ErrorKind::usage,
       "--statements: {}: there is no row {} (the nearest is {}, all are {}); add it to --methods or change "
       "the statement",
       printable(text), pattern, nearest_name(pattern, options.rows), fmt::join(options.rows, ", "));
}

/// The rows whose runs keep a measurement; an untrained one has no start model that it could have left.
std::vector<std::string> measured_rows(const std::string& quantity, const ComparisonOptions& options) {
  std::vector<std::string> rows;
  for (const std::string& row : quantity == "drift" ? options.keep.drift_rows : options.keep.fisher_rows) {
    if (contains(options.rows, row) && !(quantity == "drift" && is_untrained(row))) rows.push_back(row);
  }
  return rows;
}

void check_component(const std::string& name, const std::string& quantity, const std::string& text,
                     const std::vector<std::string>& rows) {
  const bool with_classifier = quantity == "fisher";
  const std::vector<std::string> known = bert_component_names(with_classifier, true);
  if (contains(known, name)) return;
  // The Fisher information of adapters is measured too; how they are called depends on their folder.
  const bool has_adapters = std::any_of(rows.begin(), rows.end(), [](const std::string& row) {
    return method_of_row(row) == "houlsby" || method_of_row(row) == "pfeiffer";
  });
  if (with_classifier && has_adapters && name.find(".adapters.") != std::string::npos) return;
  fail(ErrorKind::usage,
       "--statements: {}: there is no component {}; the nearest is {}, all are {} (each also with .weight or "
       ".bias), change the statement",
       printable(text), name, nearest_name(name, known),
       fmt::join(bert_component_names(with_classifier, false), ", "));
}

void check_components(const Statement& statement, const std::string& text, const ComparisonOptions& options) {
  const std::string quantity = statement.kind == Statement::Kind::drift ? "drift" : "fisher";
  const std::vector<std::string> rows = measured_rows(quantity, options);
  check_component(statement.a, quantity, text, rows);
  if (statement.b != "layers") check_component(statement.b, quantity, text, rows);
  if (!rows.empty()) return;
  fail(
      ErrorKind::usage,
      "--statements: {}: expected a row that keeps this measurement, found none; name one of {} in --keep_{}",
      printable(text), fmt::join(options.rows, ", "), quantity);
}

}  // namespace

void check_statement(const std::string& text, const ComparisonOptions& options) {
  const Statement statement = parse_statement(text);
  if (statement.kind == Statement::Kind::drift || statement.kind == Statement::Kind::fisher) {
    check_components(statement, text, options);
    return;
  }
  check_row(statement.a, text, options);
  check_row(statement.b, text, options);
}

}  // namespace normtune
