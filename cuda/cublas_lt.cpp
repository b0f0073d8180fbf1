#include "cuda/cublas_lt.h"

#include <dlfcn.h>

#include "cuda/runtime.h"
#include "tensor/error.h"

namespace normtune::cuda {

namespace {

/// Where the loader finds it, else where it was when this was built.
void* open_library() {
  const std::string name = fmt::format("libcublasLt.so.{}", CUBLAS_VER_MAJOR);
  if (void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
  const std::string beside_toolkit = fmt::format("{}/{}", NORMTUNE_CUDA_LIBRARIES, name);
  if (void* library = dlopen(beside_toolkit.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
  fail(ErrorKind::usage,
       "--device cuda: {} cannot be loaded; install cuBLAS of CUDA {}, or add its folder to LD_LIBRARY_PATH",
       name, CUBLAS_VER_MAJOR);
}

template <typename Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) fail(ErrorKind::usage, "--device cuda: libcublasLt lacks {}", name);
}

CublasLt load() {
  void* library = open_library();
  CublasLt functions{};
  find(library, "cublasLtCreate", functions.create);
  find(library, "cublasLtGetStatusString", functions.status_string);
  find(library, "cublasLtMatmul", functions.matmul);
  find(library, "cublasLtMatmulAlgoGetHeuristic", functions.get_heuristic);
  find(library, "cublasLtMatmulDescCreate", functions.desc_create);
  find(library, "cublasLtMatmulDescDestroy", functions.desc_destroy);
  find(library, "cublasLtMatmulDescSetAttribute", functions.desc_set);
  find(library, "cublasLtMatrixLayoutCreate", functions.layout_create);
  find(library, "cublasLtMatrixLayoutDestroy", functions.layout_destroy);
  find(library, "cublasLtMatrixLayoutSetAttribute", functions.layout_set);
  find(library, "cublasLtMatmulPreferenceCreate", functions.preference_create);
  find(library, "cublasLtMatmulPreferenceDestroy", functions.preference_destroy);
  find(library, "cublasLtMatmulPreferenceSetAttribute", functions.preference_set);
  return functions;
}

}  // namespace

const CublasLt& cublas_lt() {
  static const CublasLt functions = load();
  return functions;
}

void check_cublas(cublasStatus_t status, std::string_view call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  if (status == CUBLAS_STATUS_ALLOC_FAILED) fail_for_memory(call);
  fail(ErrorKind::internal, "cuBLASLt: {} failed: {}", call, cublas_lt().status_string(status));
}

}  // namespace normtune::cuda
