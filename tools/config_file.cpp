#include "tools/config_file.h"

#include <toml++/toml.h>

#include <algorithm>

#include "nn/mapped_file.h"
#include "nn/printable.h"
#include "tensor/error.h"

namespace normtune {

namespace {

toml::table parse(const std::filesystem::path& file) {
  const std::string text = read_file(file, ErrorKind::model);
  try {
    return toml::parse(text, file.string());
  } catch (const toml::parse_error& error) {
    fail(ErrorKind::model, "{}:{}: not TOML: {}", file.string(), error.source().begin.line,
         error.description());
  }
}

/// The text of a single value; empty for what no option takes.
std::optional<std::string> scalar_text(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* integer = node.as_integer()) return fmt::format("{}", integer->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* boolean = node.as_boolean()) return boolean->get() ? "true" : "false";
  return std::nullopt;
}

std::optional<std::string> value_text(const toml::node& node) {
  const toml::array* array = node.as_array();
  if (array == nullptr) return scalar_text(node);
  std::string joined;
  for (const toml::node& element : *array) {
    const std::optional<std::string> text = scalar_text(element);
    if (!text) return std::nullopt;
    joined += (joined.empty() ? "" : ",") + *text;
  }
  return joined;
}

}  // namespace

std::vector<ConfigEntry> read_config_file(const std::filesystem::path& file) {
  std::vector<ConfigEntry> entries;
  for (const auto& [key, node] : parse(file)) {
    const int64_t line = node.source().begin.line;
    const std::optional<std::string> value = value_text(node);
    if (!value) {
      fail(ErrorKind::usage, "{}:{}: {}: expected text, a number, true, false or a list of them",
           file.string(), line, printable(key.str()));
    }
    entries.push_back({std::string(key.str()), *value, line});
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const ConfigEntry& a, const ConfigEntry& b) { return a.line < b.line; });
  return entries;
}

}  // namespace normtune
