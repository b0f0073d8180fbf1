#include "tests/cuda/stand_in/machine.h"

#include <cstring>
#include <map>
#include <stdexcept>
#include <utility>

namespace normtune::stand_in {

namespace {

struct Failure {
  int calls_left;
  int code;
};

std::map<std::string, Failure, std::less<>>& failures() {
  static auto& failures = *new std::map<std::string, Failure, std::less<>>;
  return failures;
}

thread_local cudaError_t last_error = cudaSuccess;

bool has_device(int index) {
  return 0 <= index && index < machine().num_devices;
}

}  // namespace

Machine& machine() {
  static Machine machine;
  return machine;
}

Counts& counts() {
  static Counts counts;
  return counts;
}

int& current_device() {
  thread_local int device = 0;
  return device;
}

void misuse(const std::string& what) {
  throw std::logic_error("stand-in for CUDA: " + what);
}

std::recursive_mutex& turn() {
  static auto& mutex = *new std::recursive_mutex;
  return mutex;
}

void fail_call(std::string_view function, cudaError_t code, int nth) {
  failures()[std::string(function)] = {nth, code};
}

void fail_call(std::string_view function, cublasStatus_t status, int nth) {
  failures()[std::string(function)] = {nth, status};
}

bool is_failure_left() {
  return !failures().empty();
}

int wanted_failure(std::string_view function) {
  const auto found = failures().find(function);
  if (found == failures().end() || --found->second.calls_left > 0) return 0;
  const int code = found->second.code;
  failures().erase(found);
  return code;
}

cudaError_t remember(cudaError_t code) {
  if (code != cudaSuccess) last_error = code;
  return code;
}

}  // namespace normtune::stand_in

using namespace normtune::stand_in;

extern "C" {

cudaError_t cudaGetLastError() {
  return std::exchange(last_error, cudaSuccess);
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    default:
      return "another error";
  }
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    default:
      return "a reason that the stand-in has no words for";
  }
}

cudaError_t cudaGetDeviceCount(int* count) {
  return call("cudaGetDeviceCount", [&] {
    *count = machine().num_devices;
    return *count == 0 ? cudaErrorNoDevice : cudaSuccess;
  });
}

cudaError_t cudaDriverGetVersion(int* version) {
  return call("cudaDriverGetVersion", [&] {
    *version = machine().driver_version;
    return cudaSuccess;
  });
}

cudaError_t cudaSetDevice(int device) {
  return call("cudaSetDevice", [&] {
    if (!has_device(device)) return cudaErrorInvalidDevice;
    current_device() = device;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  return call("cudaDeviceGetAttribute", [&] {
    if (!has_device(device)) return cudaErrorInvalidDevice;
    switch (attribute) {
      case cudaDevAttrComputeCapabilityMajor:
        *value = machine().major;
        break;
      case cudaDevAttrComputeCapabilityMinor:
        *value = machine().minor;
        break;
      default:
        misuse("an attribute of devices that it does not have");
    }
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return call("cudaGetDeviceProperties", [&] {
    if (!has_device(device)) return cudaErrorInvalidDevice;
    *properties = {};
    std::strcpy(properties->name, "stand-in");
    properties->major = machine().major;
    properties->minor = machine().minor;
    properties->totalGlobalMem = machine().memory_bytes;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  return call("cudaDeviceGetStreamPriorityRange", [&] {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
  });
}

}  // extern "C"
