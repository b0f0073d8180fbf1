#include "nn/json_fields.h"

#include <nlohmann/json.hpp>

#include "nn/printable.h"

namespace normtune {
namespace {

/// The value as JSON text, cut to fit a message.
std::string shown(const nlohmann::json& value) {
  return printable(value.dump());
}

}  // namespace

JsonFields::JsonFields(const nlohmann::json& object, std::string where, ErrorKind kind)
    : object_(object), where_(std::move(where)), kind_(kind) {
  if (!object_.is_object()) fail(kind_, "{}: expected a JSON object, found {}", where_, object_.type_name());
}

bool JsonFields::has(const char* key) const {
  const auto found = object_.find(key);
  return found != object_.end() && !found->is_null();
}

const nlohmann::json& JsonFields::value(const char* key) const {
  if (!has(key)) fail(kind_, "{}: {} is missing", where_, key);
  return *object_.find(key);
}

JsonFields JsonFields::members(const char* key) const {
  return {value(key), where_ + ": " + key, kind_};
}

int64_t JsonFields::integer(const char* key, int64_t least, int64_t most) const {
  const nlohmann::json& found = value(key);
  const bool fits = found.is_number_integer() &&
                    !(found.is_number_unsigned() && found.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX));
  if (!fits || found.get<int64_t>() < least || found.get<int64_t>() > most) {
    refuse(key, "expected an integer from {} to {}, found {}", least, most, shown(found));
  }
  return found.get<int64_t>();
}

double JsonFields::number(const char* key, double least, double most) const {
  const nlohmann::json& found = value(key);
  if (!found.is_number() || !(found.get<double>() >= least && found.get<double>() <= most)) {
    refuse(key, "expected a number from {} to {}, found {}", least, most, shown(found));
  }
  return found.get<double>();
}

bool JsonFields::flag(const char* key) const {
  const nlohmann::json& found = value(key);
  if (!found.is_boolean()) refuse(key, "expected true or false, found {}", shown(found));
  return found.get<bool>();
}

std::string JsonFields::text(const char* key) const {
  const nlohmann::json& found = value(key);
  if (!found.is_string()) refuse(key, "expected a string, found {}", shown(found));
  return found.get<std::string>();
}

std::vector<std::string> JsonFields::texts(const char* key) const {
  const nlohmann::json& found = value(key);
  if (found.is_string()) return {found.get<std::string>()};
  if (!found.is_array()) refuse(key, "expected a list of strings, found {}", shown(found));
  std::vector<std::string> texts;
  for (const nlohmann::json& item : found) {
    if (!item.is_string()) refuse(key, "expected a list of strings, found {}", shown(found));
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

int64_t JsonFields::integer_or(const char* key, int64_t otherwise, int64_t least, int64_t most) const {
  return has(key) ? integer(key, least, most) : otherwise;
}

double JsonFields::number_or(const char* key, double otherwise, double least, double most) const {
  return has(key) ? number(key, least, most) : otherwise;
}

bool JsonFields::flag_or(const char* key, bool otherwise) const {
  return has(key) ? flag(key) : otherwise;
}

std::string JsonFields::text_or(const char* key, std::string_view otherwise) const {
  return has(key) ? text(key) : std::string(otherwise);
}

}  // namespace normtune
