#include "tensor/backend.h"

#include "tensor/cpu/cpu_backend.h"
#include "tensor/error.h"

namespace normtune {

Backend& backend_of(Device device) {
  // Never destroyed: tensors of static lifetime give their memory back after the end of main.
  static CpuBackend& cpu = *new CpuBackend;
  if (device.type == DeviceType::cpu && device.index == 0) return cpu;
  fail(ErrorKind::usage, "device {}: this build has no such device; use cpu", to_string(device));
}

}  // namespace normtune
