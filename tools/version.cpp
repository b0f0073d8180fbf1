#include "tools/version.h"

#include <fmt/format.h>
#include <omp.h>
#include <openssl/crypto.h>
#include <toml++/toml.h>
#include <utf8proc.h>
#include <zip.h>

#include <CLI/Version.hpp>
#include <nlohmann/json.hpp>

#include "tensor/cpu/vector/dispatch.h"
#include "tensor/devices.h"

namespace normtune {

namespace {

std::string build_line() {
  std::string build = NORMTUNE_BUILD_TYPE;
#ifdef __SANITIZE_ADDRESS__
  build += " with sanitizers";
#endif
#ifdef __clang__
  const std::string compiler = fmt::format("clang {}", __clang_version__);
#else
  const std::string compiler = fmt::format("g++ {}", __VERSION__);
#endif
  return fmt::format("{}, {}, C++{}", build, compiler, __cplusplus / 100 % 100);
}

std::string library_line() {
  const std::string fmt_version =
      fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100);
  const std::string json_version = fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR,
                                               NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH);
  const std::string toml_version = fmt::format("{}.{}.{}", TOML_LIB_MAJOR, TOML_LIB_MINOR, TOML_LIB_PATCH);
  return fmt::format("OpenMP {}, fmt {}, nlohmann-json {}, CLI11 {}, toml++ {}, utf8proc {}, libzip {}, {}",
                     _OPENMP, fmt_version, json_version, CLI11_VERSION, toml_version, utf8proc_version(),
                     zip_libzip_version(), OpenSSL_version(OPENSSL_VERSION));
}

}  // namespace

std::string version_line() {
  return fmt::format("normtune {}", NORMTUNE_VERSION);
}

std::string version_text() {
  return fmt::format("{}\nbuild: {}\nlibraries: {}\ninstruction set: {}\ndevices: cpu ({} threads); {}\n",
                     version_line(), build_line(), library_line(), cpu_instruction_set(),
                     omp_get_max_threads(), describe_cuda_devices());
}

}  // namespace normtune
