#include <cublasLt.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "tests/cuda/stand_in/capture.h"
#include "tests/cuda/stand_in/column_major_product.h"
#include "tests/cuda/stand_in/machine.h"

// The functions of cuBLASLt that the backend uses. An algorithm remembers what it was chosen for, and a
// product checks that this is what it is used for.

using namespace normtune::stand_in;

struct cublasLtContext {
  int device;
};

namespace {

struct Preference {
  uint64_t workspace_bytes = 0;
  uint32_t reduction_schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
  uint32_t alignments[4] = {256, 256, 256, 256};  // of A, B, C, D
};

/// What an algorithm was chosen for.
struct Choice {
  ProductDescription description;
  MatrixLayout a, b, c, d;
  Preference preference;
  uint64_t bias_alignment, workspace_bytes;
};

std::map<uint64_t, Choice>& choices() {
  static auto& choices = *new std::map<uint64_t, Choice>;
  return choices;
}

// The handles' own types are blocks of bytes.
template <typename Own, typename Handle>
Own& own(Handle handle) {
  return *reinterpret_cast<Own*>(handle);
}
MatrixLayout& layout_of(cublasLtMatrixLayout_t handle) {
  return own<MatrixLayout>(handle);
}

template <typename T>
cublasStatus_t set(T& attribute, const void* value, size_t bytes) {
  if (value == nullptr || bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&attribute, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

/// Of the table of types in cublasLtMatmul's documentation, the rows that are here.
bool has_types(const ProductDescription& description, const MatrixLayout& a, const MatrixLayout& b,
               const MatrixLayout& c, const MatrixLayout& d) {
  if (description.scale_type != CUDA_R_32F || a.type != b.type || c.type != d.type) return false;
  if (a.type == CUDA_R_32F) {
    return d.type == CUDA_R_32F && (description.compute_type == CUBLAS_COMPUTE_32F ||
                                    description.compute_type == CUBLAS_COMPUTE_32F_FAST_TF32);
  }
  return a.type == CUDA_R_16BF && (d.type == CUDA_R_16BF || d.type == CUDA_R_32F) &&
         description.compute_type == CUBLAS_COMPUTE_32F;
}

/// The real heuristic is said (by PyTorch) to refuse a bias beside factors of one row or column.
bool refuses_bias(const ProductDescription& description, const MatrixLayout& a, const MatrixLayout& b) {
  return description.epilogue == CUBLASLT_EPILOGUE_BIAS &&
         std::min({a.rows, a.columns, b.rows, b.columns}) == 1;
}

/// A split sum has a part for each half of k.
uint64_t workspace_for(const ProductDescription& description, const MatrixLayout& a, const MatrixLayout& d,
                       const Preference& preference) {
  const uint64_t k = description.transpose_a == CUBLAS_OP_N ? a.columns : a.rows;
  const uint64_t bytes = k < 32 ? 0 : 2 * d.rows * d.columns * sizeof(float);
  const bool splits = (preference.reduction_schemes & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) != 0;
  return splits && bytes <= preference.workspace_bytes ? bytes : 0;
}

bool is_aligned(const void* pointer, uint64_t alignment) {
  return reinterpret_cast<uintptr_t>(pointer) % alignment == 0;
}

uint64_t alignment_of(const void* pointer) {
  uint64_t alignment = 256;
  while (!is_aligned(pointer, alignment)) alignment /= 2;
  return alignment;
}

/// What a real device would read wrongly, or not at all.
void check_use(const Choice& choice, const ProductDescription& description, const Operands& operands,
               const void* workspace, size_t workspace_bytes) {
  const uint32_t(&alignments)[4] = choice.preference.alignments;
  if (!is_aligned(operands.a, alignments[0]) || !is_aligned(operands.b, alignments[1]) ||
      !is_aligned(operands.c, alignments[2]) || !is_aligned(operands.d, alignments[3])) {
    misuse("an operand of a product that is not aligned as was promised to the heuristic");
  }
  const bool has_bias = description.epilogue == CUBLASLT_EPILOGUE_BIAS;
  if (has_bias && !is_aligned(description.bias, choice.bias_alignment)) {
    misuse("a bias that is not aligned as the one shown to the heuristic");
  }
  if (workspace_bytes < choice.workspace_bytes) misuse("a workspace that is too small for the algorithm");
  if (workspace_bytes > 0 && !is_aligned(workspace, 16)) misuse("a workspace that is not aligned");
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  return call_of_cublas("cublasLtCreate", [&] {
    *handle = new cublasLtContext{current_device()};
    return CUBLAS_STATUS_SUCCESS;
  });
}

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    default:
      return "another status";
  }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t ld) {
  return call_of_cublas("cublasLtMatrixLayoutCreate", [&] {
    *layout = reinterpret_cast<cublasLtMatrixLayout_t>(
        new MatrixLayout{.type = type, .rows = rows, .columns = columns, .ld = ld});
    return CUBLAS_STATUS_SUCCESS;
  });
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete &layout_of(layout);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  return call_of_cublas("cublasLtMatrixLayoutSetAttribute", [&] {
    MatrixLayout& layout = layout_of(handle);
    switch (attribute) {
      case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
        return set(layout.batch, value, bytes);
      case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
        return set(layout.stride, value, bytes);
      default:
        misuse("an attribute of matrix layouts that it does not have");
    }
  });
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description, cublasComputeType_t compute_type,
                                        cudaDataType_t scale_type) {
  return call_of_cublas("cublasLtMatmulDescCreate", [&] {
    *description = reinterpret_cast<cublasLtMatmulDesc_t>(
        new ProductDescription{.compute_type = compute_type, .scale_type = scale_type});
    return CUBLAS_STATUS_SUCCESS;
  });
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
  delete &own<ProductDescription>(description);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              size_t bytes) {
  return call_of_cublas("cublasLtMatmulDescSetAttribute", [&] {
    auto& description = own<ProductDescription>(handle);
    switch (attribute) {
      case CUBLASLT_MATMUL_DESC_TRANSA:
        return set(description.transpose_a, value, bytes);
      case CUBLASLT_MATMUL_DESC_TRANSB:
        return set(description.transpose_b, value, bytes);
      case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return set(description.epilogue, value, bytes);
      case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return set(description.bias, value, bytes);
      default:
        misuse("an attribute of products that it does not have");
    }
  });
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return call_of_cublas("cublasLtMatmulPreferenceCreate", [&] {
    *preference = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
    return CUBLAS_STATUS_SUCCESS;
  });
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete &own<Preference>(preference);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  return call_of_cublas("cublasLtMatmulPreferenceSetAttribute", [&] {
    auto& preference = own<Preference>(handle);
    switch (attribute) {
      case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return set(preference.workspace_bytes, value, bytes);
      case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        return set(preference.reduction_schemes, value, bytes);
      case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
        return set(preference.alignments[0], value, bytes);
      case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
        return set(preference.alignments[1], value, bytes);
      case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
        return set(preference.alignments[2], value, bytes);
      case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        return set(preference.alignments[3], value, bytes);
      default:
        misuse("an attribute of preferences that it does not have");
    }
  });
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle,
                                              cublasLtMatmulDesc_t description_handle,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference_handle, int most,
                                              cublasLtMatmulHeuristicResult_t* results, int* count) {
  return call_of_cublas("cublasLtMatmulAlgoGetHeuristic", [&] {
    *count = 0;
    if (handle == nullptr || most < 1) return CUBLAS_STATUS_INVALID_VALUE;
    if (is_any_capture_under_way()) counts().first_uses.note_in_capture();
    const auto& description = own<ProductDescription>(description_handle);
    const auto& preference = own<Preference>(preference_handle);
    if (!fits(description, layout_of(a), layout_of(b), layout_of(c), layout_of(d)) ||
        refuses_bias(description, layout_of(a), layout_of(b))) {
      return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (!has_types(description, layout_of(a), layout_of(b), layout_of(c), layout_of(d))) {
      return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    if (!machine().has_algorithms) return CUBLAS_STATUS_SUCCESS;
    const uint64_t bias_alignment = description.bias == nullptr ? 1 : alignment_of(description.bias);
    if (description.bias != nullptr && bias_alignment < 16) return CUBLAS_STATUS_NOT_SUPPORTED;
    const uint64_t workspace_bytes = workspace_for(description, layout_of(a), layout_of(d), preference);
    const uint64_t number = choices().size() + 1;
    choices()[number] = {description,  layout_of(a), layout_of(b),   layout_of(c),
                         layout_of(d), preference,   bias_alignment, workspace_bytes};
    results[0] = {};
    results[0].algo.data[0] = number;
    results[0].workspaceSize = workspace_bytes;
    results[0].state = CUBLAS_STATUS_SUCCESS;
    *count = 1;
    return CUBLAS_STATUS_SUCCESS;
  });
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t description_handle,
                              const void* alpha, const void* a, cublasLtMatrixLayout_t a_layout,
                              const void* b, cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace, size_t workspace_bytes,
                              cudaStream_t stream) {
  return call_of_cublas("cublasLtMatmul", [&] {
    if (handle == nullptr || handle->device != current_device() || stream == nullptr ||
        algorithm == nullptr) {
      misuse("a product without a handle of the current device, a stream or an algorithm");
    }
    const auto& description = own<ProductDescription>(description_handle);
    const auto choice = choices().find(algorithm->data[0]);
    if (choice == choices().end()) return CUBLAS_STATUS_INVALID_VALUE;
    const Choice& chosen = choice->second;
    const Operands operands{a, b, c, d};
    if (!chosen.description.is_same_kind(description) || chosen.a != layout_of(a_layout) ||
        chosen.b != layout_of(b_layout) || chosen.c != layout_of(c_layout) ||
        chosen.d != layout_of(d_layout)) {
      misuse("an algorithm for a product for which it was not chosen");
    }
    check_use(chosen, description, operands, workspace, workspace_bytes);
    const ProductScales scales{*static_cast<const float*>(alpha), *static_cast<const float*>(beta)};
    return enqueue_product({description, chosen.a, chosen.b, chosen.c, chosen.d}, operands, scales,
                           {workspace, chosen.workspace_bytes}, *stream);
  });
}

}  // extern "C"
