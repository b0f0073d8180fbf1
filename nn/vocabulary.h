#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace normtune {

/// Reads vocab.txt: UTF-8, one token per line, its id is the line number from 0. Only LF ends a line; the
/// last may lack it. An empty line, a CR, a byte order mark, ill-formed UTF-8 and a token that stands twice
/// are errors of kind `model` that name file and line.
std::vector<std::string> read_vocabulary(const std::filesystem::path& path);

/// True if a token other than a bracketed one ("[CLS]") has a letter that lower-casing changes: the sign of a
/// cased vocabulary.
bool has_upper_case(std::span<const std::string> vocabulary);

/// The way back from a token to its id. Refers to the vocabulary; empty tokens (unused ids) are left out.
std::unordered_map<std::string_view, int32_t> index_tokens(std::span<const std::string> vocabulary);

}  // namespace normtune
