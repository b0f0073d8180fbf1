#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "tensor/error.h"

namespace normtune {

/// A JSON object with its place (file and keys that lead to it), for reading typed values with precise
/// errors. A key that is absent and one that is null count as the same. Refers to the JSON value, which
/// outlives it.
class JsonObject {
 public:
  /// Throws Error(kind) unless `value` is an object.
  JsonObject(const nlohmann::json& value, std::string where, ErrorKind kind);

  const nlohmann::json& value() const { return value_; }
  const std::string& where() const { return where_; }

  /// The value of `key`; nullptr if it is absent or null.
  const nlohmann::json* find(const std::string& key) const;

  /// nullopt if the key is absent or null; throws Error if the value has another type.
  std::optional<bool> find_bool(const std::string& key) const;
  std::optional<int64_t> find_integer(const std::string& key) const;
  std::optional<std::string> find_string(const std::string& key) const;
  std::optional<JsonObject> find_object(const std::string& key) const;

  /// The same for keys that must be there.
  bool bool_at(const std::string& key) const;
  int64_t integer_at(const std::string& key) const;
  std::string string_at(const std::string& key) const;
  JsonObject object_at(const std::string& key) const;

  /// Throws an Error that says where, what was expected there and what was found.
  [[noreturn]] void fail_at(const std::string& key, std::string_view expected) const;

 private:
  std::string where_of(const std::string& key) const { return where_ + ": " + key; }

  const nlohmann::json& value_;
  std::string where_;
  ErrorKind kind_;
};

}  // namespace normtune
