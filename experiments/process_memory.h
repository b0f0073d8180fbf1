#pragma once

#include <cstdint>
#include <optional>

#include "tensor/device.h"

namespace normtune {

/// The largest resident set that this process has had so far, in bytes (VmHWM of /proc/self/status; getrusage
/// where there is none).
int64_t peak_rss_bytes();

/// The most bytes that tensors on a device have held at a time. None for the CPU, whose tensors are part of
/// peak_rss_bytes().
std::optional<int64_t> peak_device_bytes(Device device);

/// The most bytes that the allocator of a device has held at a time: those of tensors, and those that it
/// keeps for later ones. None for the CPU.
std::optional<int64_t> peak_reserved_bytes(Device device);

}  // namespace normtune
