#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "tensor/error.h"

namespace normtune {

/// Reads a JSON document. Throws Error(kind), naming file and line, if the file is missing, not UTF-8, not
/// JSON, nested deeper than 64 levels, or has a key twice in one object.
nlohmann::json read_json_file(const std::filesystem::path& path, ErrorKind kind);

/// Parses JSON text under the same rules; `where` names the source in messages ("vocab.json",
/// "model.safetensors: header"),
/// `first_line` is the line of it that the text begins at.
nlohmann::json parse_json(std::string_view text, const std::string& where, ErrorKind kind,
                          int64_t first_line = 1);

/// Writes `value` with sorted keys, two spaces of indentation and a final newline, atomically.
/// Throws Error(ErrorKind::write).
void write_json_file(const std::filesystem::path& path, const nlohmann::json& value);

/// The text that write_json_file writes.
std::string json_text(const nlohmann::json& value);

}  // namespace normtune
