#include "experiments/process_memory.h"

#include <sys/resource.h>

#include <fstream>
#include <string>

#include "tensor/backend.h"

namespace normtune {

int64_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  std::string key;
  for (int64_t kilobytes = 0; status >> key;) {
    if (key == "VmHWM:" && status >> kilobytes) return kilobytes * 1024;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

std::optional<int64_t> peak_device_bytes(Device device) {
  if (device.type == DeviceType::cpu) return std::nullopt;
  return static_cast<int64_t>(backend_of(device).allocator().stats().peak_in_use);
}

std::optional<int64_t> peak_reserved_bytes(Device device) {
  if (device.type == DeviceType::cpu) return std::nullopt;
  return static_cast<int64_t>(backend_of(device).allocator().stats().peak_reserved);
}

}  // namespace normtune
