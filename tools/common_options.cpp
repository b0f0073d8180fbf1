#include "tools/common_options.h"

#include <omp.h>

#include <algorithm>

#include "nn/printable.h"
#include "tensor/backend.h"

namespace normtune {

namespace {

bool is_cuda(std::string_view name) {
  if (name == "cuda") return true;
  if (!name.starts_with("cuda:") || name.size() == 5) return false;
  return std::all_of(name.begin() + 5, name.end(), [](char digit) { return digit >= '0' && digit <= '9'; });
}

void check_device(const std::string& name) {
  if (name != "cpu" && !is_cuda(name)) {
    fail(ErrorKind::usage, "--device: expected cpu, cuda or cuda:N, found {}", printable(name));
  }
}

void check_precision(const std::string& precision, Device device) {
  if (device.type == DeviceType::cuda) {
    if (precision != "fp64") return;
    fail(ErrorKind::usage,
         "--precision fp64 exists on the cpu only; use fp32, tf32 or bf16, or --device cpu");
  }
  if (precision == "tf32") {
    fail(ErrorKind::usage, "--precision tf32 exists on CUDA devices only; use fp32, bf16 or fp64");
  }
}

}  // namespace

Device CommonOptions::device() const {
  if (device_name == "cpu") return {};
  const size_t colon = device_name.find(':');
  if (colon == std::string::npos) return {DeviceType::cuda, 0};
  // Too many digits for a number are too many for a device as well.
  const std::string digits = device_name.substr(colon + 1, 6);
  return {DeviceType::cuda, std::stoi(digits)};
}

Precision CommonOptions::precision() const {
  return precision_name == "fp64"   ? Precision::fp64
         : precision_name == "tf32" ? Precision::tf32
         : precision_name == "bf16" ? Precision::bf16
                                    : Precision::fp32;
}

void add_common_options(Options& options, CommonOptions& common) {
  options.group("Common options");
  options.text("device", common.device_name, "cpu|cuda[:N]", "where to compute");
  options.choice("precision", common.precision_name, {"fp32", "tf32", "bf16", "fp64"}, "of the computation");
  options.integer("num_threads", common.num_threads, {.minimum = 1, .maximum = 4096}, "threads of the CPU",
                  "OMP_NUM_THREADS, else all cores");
  options.seed("seed", common.seed, "where all random numbers begin");
  options.boolean("json", common.json, "prints one JSON document on standard output, nothing else");
  options.boolean("quiet", common.quiet, "prints no progress and no reports, only results and warnings");
  options.boolean("verbose", common.verbose, "tells more on standard error");
  options.config_file();
}

void apply_common_options(const CommonOptions& common) {
  check_device(common.device_name);
  check_precision(common.precision_name, common.device());
  backend_of(common.device());  // says what is wrong with a device that is not there
  if (common.num_threads) omp_set_num_threads(static_cast<int>(*common.num_threads));
}

}  // namespace normtune
