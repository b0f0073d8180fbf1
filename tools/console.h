#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/text_table.h"

namespace normtune {

/// Prepares the standard streams: a broken pipe becomes a failed write instead of a signal, and a stream that
/// the caller closed is occupied, so that no file we open gets its number and is written to by accident.
void prepare_standard_streams();

/// Writes to standard output. Throws Error(write) if that fails.
void write_output(std::string_view text);
/// Hands everything written to the system. Throws Error(write).
void flush_output();

/// `normtune: error: MESSAGE` on standard error, as one line whatever the message holds.
void print_error(std::string_view message);

/// What a command tells: results go to standard output, everything else to standard error. With --json
/// standard output holds one JSON document and nothing else.
class Console {
 public:
  Console(bool json, bool quiet, bool verbose) : json_(json), quiet_(quiet), verbose_(verbose) {}

  bool json() const { return json_; }
  bool quiet() const { return quiet_; }
  bool verbose() const { return verbose_; }

  /// A result for people: a line (or lines) on standard output, left out with --json.
  void result(std::string_view line) const;
  /// The result for programs: the document on standard output, with --json only.
  void document(const nlohmann::ordered_json& document) const;

  void note(std::string_view line) const;     ///< left out with --quiet
  void detail(std::string_view line) const;   ///< with --verbose only
  void warning(std::string_view line) const;  ///< always: nothing doubtful passes in silence

 private:
  bool json_, quiet_, verbose_;
};

}  // namespace normtune
