#pragma once

#include <string>

namespace normtune {

enum class DeviceType { cpu, cuda };

/// Where a tensor lives. `index` tells several CUDA devices apart; it is 0 on the CPU.
struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

inline std::string to_string(Device device) {
  return device.type == DeviceType::cpu ? "cpu" : "cuda:" + std::to_string(device.index);
}

}  // namespace normtune
