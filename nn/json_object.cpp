#include "nn/json_object.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "nn/printable.h"

namespace normtune {

using nlohmann::json;

JsonObject::JsonObject(const json& value, std::string where, ErrorKind kind)
    : value_(value), where_(std::move(where)), kind_(kind) {
  if (!value.is_object()) fail(kind, "{}: expected a JSON object, found {}", where_, printable(value.dump()));
}

const json* JsonObject::find(const std::string& key) const {
  const auto found = value_.find(key);
  return found == value_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<bool> JsonObject::find_bool(const std::string& key) const {
  const json* found = find(key);
  if (found == nullptr) return std::nullopt;
  if (!found->is_boolean()) fail_at(key, "true or false");
  return found->get<bool>();
}

std::optional<int64_t> JsonObject::find_integer(const std::string& key) const {
  const json* found = find(key);
  if (found == nullptr) return std::nullopt;
  const bool fits = found->is_number_integer() &&
                    (!found->is_number_unsigned() || found->get<uint64_t>() <= uint64_t{INT64_MAX});
  if (!fits) fail_at(key, "an integer");
  return found->get<int64_t>();
}

std::optional<std::string> JsonObject::find_string(const std::string& key) const {
  const json* found = find(key);
  if (found == nullptr) return std::nullopt;
  if (!found->is_string()) fail_at(key, "a string");
  return found->get<std::string>();
}

std::optional<JsonObject> JsonObject::find_object(const std::string& key) const {
  const json* found = find(key);
  if (found == nullptr) return std::nullopt;
  return JsonObject(*found, where_of(key), kind_);
}

bool JsonObject::bool_at(const std::string& key) const {
  const auto found = find_bool(key);
  if (!found) fail_at(key, "true or false");
  return *found;
}

int64_t JsonObject::integer_at(const std::string& key) const {
  const auto found = find_integer(key);
  if (!found) fail_at(key, "an integer");
  return *found;
}

std::string JsonObject::string_at(const std::string& key) const {
  const auto found = find_string(key);
  if (!found) fail_at(key, "a string");
  return *found;
}

JsonObject JsonObject::object_at(const std::string& key) const {
  const auto found = find_object(key);
  if (!found) fail_at(key, "a JSON object");
  return *found;
}

void JsonObject::fail_at(const std::string& key, std::string_view expected) const {
  const auto found = value_.find(key);
  const std::string shown = found == value_.end() ? "nothing" : printable(found->dump());
  fail(kind_, "{}: expected {}, found {}", where_of(key), expected, shown);
}

}  // namespace normtune
