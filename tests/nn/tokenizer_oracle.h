#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "nn/tokenizer.h"
#include "nn/unicode.h"

/// The other half of tools/record_tokenizer.py: the same digests and the same random texts.
namespace normtune::testing {

/// FNV-1a, 64 bits.
class Digest {
 public:
  void add_bytes(std::string_view bytes) {
    for (const char byte : bytes) value_ = (value_ ^ static_cast<unsigned char>(byte)) * 0x100000001B3;
  }
  void add_text(std::string_view text) {
    add_bytes(text);
    add_bytes("\xff");
  }
  void add_numbers(std::span<const int32_t> numbers) {
    for (const int32_t number : numbers) add_number(number);
    add_number(-1);
  }
  void add_encoding(const Encoding& encoding) {
    add_numbers(encoding.input_ids);
    add_numbers(encoding.token_type_ids);
  }
  std::string hex() const { return fmt::format("{:016x}", value_); }

 private:
  void add_number(int32_t number) {
    for (int shift = 0; shift < 32; shift += 8) {
      const char byte = static_cast<char>(static_cast<uint32_t>(number) >> shift);
      add_bytes({&byte, 1});
    }
  }

  uint64_t value_ = 0xCBF29CE484222325;
};

/// SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195).
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
  }
  uint64_t below(uint64_t bound) { return next() % bound; }

 private:
  uint64_t state_;
};

/// A folder or file that record_tokenizer.py wrote.
inline std::filesystem::path recorded_tokenizer(const std::string& name) {
  return std::filesystem::path(NORMTUNE_TEST_FILES) / "tokenizer" / name;
}

inline nlohmann::json read_recorded(const char* name) {
  std::ifstream file(recorded_tokenizer(name));
  return nlohmann::json::parse(file);
}

/// The entries of a recorded list, a string with spaces between them.
template <typename T>
std::vector<T> read_list(const nlohmann::json& text) {
  std::istringstream stream(text.get<std::string>());
  std::vector<T> entries;
  for (T entry; stream >> entry;) entries.push_back(entry);
  return entries;
}

/// The texts that random_text() in record_tokenizer.py makes.
class RandomTexts {
 public:
  explicit RandomTexts(const nlohmann::json& texts)
      : ranges_(texts["random_ranges"].get<std::vector<std::pair<uint32_t, uint32_t>>>()),
        literals_(texts["random_literals"].get<std::vector<std::string>>()) {}

  std::string text(uint64_t index) const {
    SplitMix64 random(index);
    std::string text;
    for (uint64_t left = random.below(41); left > 0; --left) {
      const uint64_t choice = random.below(ranges_.size() + literals_.size());
      if (choice < ranges_.size()) {
        const auto [first, last] = ranges_[choice];
        append_utf8(static_cast<char32_t>(first + random.below(last - first + 1)), text);
      } else {
        text += literals_[choice - ranges_.size()];
      }
    }
    return text;
  }

 private:
  std::vector<std::pair<uint32_t, uint32_t>> ranges_;
  std::vector<std::string> literals_;
};

/// NORMTUNE_DATA, if it is set: a folder with glue/ and models/.
inline std::optional<std::filesystem::path> data_folder() {
  const char* folder = std::getenv("NORMTUNE_DATA");
  if (folder == nullptr || *folder == '\0') return std::nullopt;
  return folder;
}

}  // namespace normtune::testing
