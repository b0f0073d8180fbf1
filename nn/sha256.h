#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "tensor/error.h"

namespace normtune {

/// SHA-256 (FIPS 180-4) as 64 lower-case hexadecimal digits.
std::string sha256(std::string_view bytes);

/// The same of a file's content. Throws Error(kind) if the file is missing or cannot be read.
std::string sha256_file(const std::filesystem::path& path, ErrorKind kind);

}  // namespace normtune
