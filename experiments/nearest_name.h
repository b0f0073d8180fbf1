#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace normtune {

/// Levenshtein distance in bytes: the fewest insertions, deletions and substitutions that turn `a` into `b`.
int64_t edit_distance(std::string_view a, std::string_view b);

/// `name` in lower case, without `-`, `_` and blanks: for names that people spell in several ways.
std::string plain_name(std::string_view name);

/// One of `names` is `name`, letter by letter.
bool contains(const std::vector<std::string>& names, const std::string& name);

/// The name with the smallest edit distance to `name`; case, `-` and `_` count for nothing. The first wins a
/// tie. `names` must not be empty.
std::string nearest_name(std::string_view name, const std::vector<std::string>& names);

}  // namespace normtune
