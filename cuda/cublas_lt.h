#pragma once

#include <cublasLt.h>

#include <string_view>

namespace normtune::cuda {

/// The functions of cuBLASLt in use, found when the first CUDA device is: the library has half a gigabyte,
/// which programs that stay on the CPU need neither load nor have.
struct CublasLt {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtGetStatusString) status_string;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulAlgoGetHeuristic) get_heuristic;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
};

/// Throws Error(usage) if the library cannot be loaded.
const CublasLt& cublas_lt();

/// Throws Error(internal) unless `status` is success; names the call and cuBLASLt's reason.
void check_cublas(cublasStatus_t status, std::string_view call);

}  // namespace normtune::cuda
