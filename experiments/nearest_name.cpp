#include "experiments/nearest_name.h"

#include <algorithm>
#include <numeric>

#include "tensor/error.h"

namespace normtune {

std::string plain_name(std::string_view name) {
  std::string plain;
  for (char c : name) {
    if (c == '-' || c == '_' || c == ' ') continue;
    plain += (c >= 'A' && c <= 'Z') ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return plain;
}

int64_t edit_distance(std::string_view a, std::string_view b) {
  // One row of the dynamic-programming table: distance[j] is that of the first i bytes of a to the first j of
  // b.
  std::vector<int64_t> distance(b.size() + 1);
  std::iota(distance.begin(), distance.end(), int64_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    int64_t diagonal = distance[0];
    distance[0] = static_cast<int64_t>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int64_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = distance[j];
      distance[j] = std::min({substituted, distance[j] + 1, distance[j - 1] + 1});
    }
  }
  return distance.back();
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& names) {
  check(!names.empty(), "nearest_name: expected at least one name");
  const std::string plain = plain_name(name);
  return *std::min_element(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    return edit_distance(plain, plain_name(a)) < edit_distance(plain, plain_name(b));
  });
}

}  // namespace normtune
