#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/error.h"

namespace normtune {

/// Typed access to the members of a JSON object. Each reader throws Error(kind) naming the source and the key
/// if the value is missing, of another type, or out of range. A null counts as missing.
class JsonFields {
 public:
  /// `object` must outlive this. `where` names the source in messages. Throws if it is not an object.
  JsonFields(const nlohmann::json& object, std::string where, ErrorKind kind);

  bool has(const char* key) const;
  const nlohmann::json& value(const char* key) const;
  /// The members of the object under this key; messages name both sources.
  JsonFields members(const char* key) const;

  int64_t integer(const char* key, int64_t least, int64_t most) const;
  double number(const char* key, double least, double most) const;
  bool flag(const char* key) const;
  std::string text(const char* key) const;
  /// A list of strings; a single string counts as a list of one.
  std::vector<std::string> texts(const char* key) const;

  int64_t integer_or(const char* key, int64_t otherwise, int64_t least, int64_t most) const;
  double number_or(const char* key, double otherwise, double least, double most) const;
  bool flag_or(const char* key, bool otherwise) const;
  std::string text_or(const char* key, std::string_view otherwise) const;

  /// Throws Error(kind): "WHERE: KEY: message".
  template <typename... Args>
  [[noreturn]] void refuse(const char* key, fmt::format_string<Args...> format, Args&&... args) const {
    fail(kind_, "{}: {}: {}", where_, key, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  const nlohmann::json& object_;
  std::string where_;
  ErrorKind kind_;
};

}  // namespace normtune
