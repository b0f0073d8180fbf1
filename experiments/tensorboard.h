#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "experiments/append_file.h"

namespace normtune {

/// CRC-32C (Castagnoli): reflected polynomial 0x82F63B78, all bits set before and inverted after.
uint32_t crc32c(std::string_view bytes);

/// The TFRecord framing of one TensorBoard event: length, masked checksum, event, masked checksum.
std::string version_record(double wall_time);
std::string scalar_record(std::string_view tag, float value, int64_t step, double wall_time);

/// Appends scalars to a new event file that TensorBoard reads. Each record is flushed when it is written.
class EventWriter {
 public:
  /// Creates `folder`/events.out.tfevents.<seconds>.<host>.<pid>.<n>. Throws Error(write).
  explicit EventWriter(const std::filesystem::path& folder);

  /// Adds a point now. Throws Error(write).
  void add_scalar(std::string_view tag, double value, int64_t step);
  const std::filesystem::path& file() const { return file_.path(); }

 private:
  AppendFile file_;
};

}  // namespace normtune
