#include <cublasLt.h>
#include <dlfcn.h>

#include <cstring>
#include <string>

#include "tests/cuda/stand_in/machine.h"

// The program is linked with --wrap: what it asks of dlopen and dlsym comes here. cuBLASLt is found beside
// the toolkit, and nowhere else.

namespace {

struct Function {
  const char* name;
  void* address;
};

template <typename T>
void* address_of(T* function) {
  return reinterpret_cast<void*>(function);
}

const Function functions[] = {
    {"cublasLtCreate", address_of(cublasLtCreate)},
    {"cublasLtGetStatusString", address_of(cublasLtGetStatusString)},
    {"cublasLtMatmul", address_of(cublasLtMatmul)},
    {"cublasLtMatmulAlgoGetHeuristic", address_of(cublasLtMatmulAlgoGetHeuristic)},
    {"cublasLtMatmulDescCreate", address_of(cublasLtMatmulDescCreate)},
    {"cublasLtMatmulDescDestroy", address_of(cublasLtMatmulDescDestroy)},
    {"cublasLtMatmulDescSetAttribute", address_of(cublasLtMatmulDescSetAttribute)},
    {"cublasLtMatrixLayoutCreate", address_of(cublasLtMatrixLayoutCreate)},
    {"cublasLtMatrixLayoutDestroy", address_of(cublasLtMatrixLayoutDestroy)},
    {"cublasLtMatrixLayoutSetAttribute", address_of(cublasLtMatrixLayoutSetAttribute)},
    {"cublasLtMatmulPreferenceCreate", address_of(cublasLtMatmulPreferenceCreate)},
    {"cublasLtMatmulPreferenceDestroy", address_of(cublasLtMatmulPreferenceDestroy)},
    {"cublasLtMatmulPreferenceSetAttribute", address_of(cublasLtMatmulPreferenceSetAttribute)},
};

/// What dlopen returns for cuBLASLt.
int library;

}  // namespace

extern "C" {

void* __wrap_dlopen(const char* name, int) {
  const std::string wanted = name, expected = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
  if (wanted == expected) return nullptr;
  if (!wanted.ends_with("/" + expected)) normtune::stand_in::misuse("dlopen of " + wanted);
  return &library;
}

void* __wrap_dlsym(void* handle, const char* name) {
  if (handle != &library) normtune::stand_in::misuse("dlsym of another library");
  for (const Function& function : functions) {
    if (std::strcmp(function.name, name) == 0) return function.address;
  }
  return nullptr;
}

}  // extern "C"
