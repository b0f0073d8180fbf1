#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/file_helpers.h"
#include "tests/nn/tokenizer_oracle.h"

namespace normtune::testing {

/// A copy of a recorded tokenizer (tests/files/tokenizer/NAME) to change and break.
class TokenizerFolder {
 public:
  explicit TokenizerFolder(const char* name) {
    for (const auto& entry : std::filesystem::directory_iterator(recorded_tokenizer(name))) {
      std::filesystem::copy(entry, folder_.path());
    }
  }

  const std::filesystem::path& path() const { return folder_.path(); }

  void write(const char* name, std::string_view content) const { write_bytes(folder_ / name, content); }
  std::string read(const char* name) const { return read_bytes(folder_ / name); }
  void remove(const char* name) const { std::filesystem::remove(folder_ / name); }

  /// Puts `value` at a JSON pointer of a file; a null value removes what is there.
  void change(const char* name, const std::string& pointer, const nlohmann::json& value) const {
    nlohmann::json document = nlohmann::json::parse(read(name));
    const nlohmann::json::json_pointer place(pointer);
    if (value.is_null()) {
      document[place.parent_pointer()].erase(place.back());
    } else {
      document[place] = value;
    }
    write(name, document.dump());
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace normtune::testing
