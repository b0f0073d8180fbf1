#include "experiments/tensorboard.h"

#include <unistd.h>

#include <atomic>
#include <bit>
#include <chrono>
#include <cstring>

#include "tensor/error.h"

namespace normtune {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie in memory");

template <typename T>
std::string bytes_of(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

/// Protocol-buffer integer: seven bits a byte, the lowest first; the top bit says that more follow.
std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  bytes += static_cast<char>(value);
  return bytes;
}

// Protocol-buffer fields: a tag byte (field number * 8 + wire type), then the value.
std::string message_field(char tag, std::string_view message) {
  return tag + varint(message.size()) + std::string(message);
}

constexpr char event_wall_time = 0x09;     // 1, double
constexpr char event_step = 0x10;          // 2, varint
constexpr char event_file_version = 0x1a;  // 3, string
constexpr char event_summary = 0x2a;       // 5, message
constexpr char summary_value = 0x0a;       // 1, message
constexpr char value_tag = 0x0a;           // 1, string
constexpr char value_simple = 0x15;        // 2, float

/// A checksum of data that holds its own checksum is poor, so TFRecord files store it rotated and shifted.
uint32_t masked_crc32c(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return std::rotr(crc, 15) + 0xa282ead8u;
}

std::string record(std::string_view event) {
  const std::string length = bytes_of(static_cast<uint64_t>(event.size()));
  return length + bytes_of(masked_crc32c(length)) + std::string(event) + bytes_of(masked_crc32c(event));
}

double seconds_since_epoch() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::filesystem::path new_event_file(const std::filesystem::path& folder) {
  static std::atomic<int> count{0};
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') std::strcpy(host, "localhost");
  return folder / fmt::format("events.out.tfevents.{}.{}.{}.{}", static_cast<int64_t>(seconds_since_epoch()),
                              host, ::getpid(), count++);
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  for (char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) ? 0x82F63B78u : 0u);
  }
  return ~crc;
}

std::string version_record(double wall_time) {
  return record(event_wall_time + bytes_of(wall_time) + message_field(event_file_version, "brain.Event:2"));
}

std::string scalar_record(std::string_view tag, float value, int64_t step, double wall_time) {
  const std::string scalar = message_field(value_tag, tag) + value_simple + bytes_of(value);
  return record(event_wall_time + bytes_of(wall_time) + event_step + varint(static_cast<uint64_t>(step)) +
                message_field(event_summary, message_field(summary_value, scalar)));
}

EventWriter::EventWriter(const std::filesystem::path& folder) : file_(new_event_file(folder), true) {
  file_.append(version_record(seconds_since_epoch()));
}

void EventWriter::add_scalar(std::string_view tag, double value, int64_t step) {
  file_.append(scalar_record(tag, static_cast<float>(value), step, seconds_since_epoch()));
}

}  // namespace normtune
