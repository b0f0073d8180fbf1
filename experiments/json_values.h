#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

namespace normtune {

/// The value, or null where there is none: `or_null<json>(state.best_score)`.
template <typename Json, typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

/// JSON has no infinity and no NaN: null stands for them too.
inline nlohmann::ordered_json finite_or_null(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

}  // namespace normtune
