#include "cuda/matrix_products.h"

#include <algorithm>

#include "tensor/error.h"

// cuBLASLt counts columns first. A row-major matrix is its own transpose there, so that
//   c = op(a) op(b)   is asked for as   c^T = op(b)^T op(a)^T
// with b as the first operand, a as the second, and the same transpositions. A bias, which c has for each of
// its columns, is one for each row of c^T, as cuBLASLt has it.

namespace normtune::cuda {

namespace {

constexpr size_t workspace_bytes = size_t{32} << 20;
/// Packed batches bring ever new numbers of rows: beyond so many shapes those of evaluations are forgotten.
constexpr size_t most_plans = 4096;

/// The largest power of two, up to 256, that divides the address.
uint32_t alignment_of(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer) | 256u;
  return static_cast<uint32_t>(address & (~address + 1));
}

class Layout {
 public:
  /// Of a row-major matrix [rows, columns].
  Layout(cudaDataType_t type, int64_t rows, int64_t columns, const Product::Operand& operand, int64_t batch) {
    const CublasLt& lt = cublas_lt();
    check_cublas(lt.layout_create(&layout_, type, static_cast<uint64_t>(columns), static_cast<uint64_t>(rows),
                                  operand.ld),
                 "cublasLtMatrixLayoutCreate");
    const auto count = static_cast<int32_t>(batch);
    check_cublas(lt.layout_set(layout_, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count)),
                 "cublasLtMatrixLayoutSetAttribute");
    check_cublas(lt.layout_set(layout_, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &operand.stride,
                               sizeof(operand.stride)),
                 "cublasLtMatrixLayoutSetAttribute");
  }
  ~Layout() { cublas_lt().layout_destroy(layout_); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;

  cublasLtMatrixLayout_t get() const { return layout_; }

 private:
  cublasLtMatrixLayout_t layout_ = nullptr;
};

class Description {
 public:
  explicit Description(const Product& product) {
    // CUBLAS_COMPUTE_32F never takes TF32.
    const cublasComputeType_t type =
        product.rounds_to_tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    check_cublas(cublas_lt().desc_create(&description_, type, CUDA_R_32F), "cublasLtMatmulDescCreate");
    set(CUBLASLT_MATMUL_DESC_TRANSA, product.b.transpose ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, product.a.transpose ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (product.bias == nullptr) return;
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set_bias(product.bias);
  }
  ~Description() { cublas_lt().desc_destroy(description_); }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;

  cublasLtMatmulDesc_t get() const { return description_; }
  /// The bias of the products enqueued from now on.
  void set_bias(const void* bias) { set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias); }

 private:
  template <typename T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check_cublas(cublas_lt().desc_set(description_, attribute, &value, sizeof(value)),
                 "cublasLtMatmulDescSetAttribute");
  }

  cublasLtMatmulDesc_t description_ = nullptr;
};

cudaDataType_t cuda_type(DType dtype) {
  return dtype == DType::bfloat16 ? CUDA_R_16BF : CUDA_R_32F;
}

/// For a message.
std::string description_of(const Product& p) {
  const auto operand = [](const Product::Operand& matrix) {
    return fmt::format("{}ld {} at a multiple of {}", matrix.transpose ? "transposed, " : "", matrix.ld,
                       alignment_of(matrix.data));
  };
  return fmt::format("{} products [{}, {}] x [{}, {}] of {} to {}{} (a: {}; b: {}; c: {}), bias {}", p.batch,
                     p.m, p.k, p.k, p.n, to_string(p.factor_dtype), to_string(p.result_dtype),
                     p.rounds_to_tf32 ? " in tf32" : "", operand(p.a), operand(p.b), operand(p.c),
                     p.bias == nullptr ? "none" : fmt::format("at a multiple of {}", alignment_of(p.bias)));
}

class Preference {
 public:
  Preference() {
    check_cublas(cublas_lt().preference_create(&preference_), "cublasLtMatmulPreferenceCreate");
  }
  ~Preference() { cublas_lt().preference_destroy(preference_); }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;

  template <typename T>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
    check_cublas(cublas_lt().preference_set(preference_, attribute, &value, sizeof(value)),
                 "cublasLtMatmulPreferenceSetAttribute");
  }
  cublasLtMatmulPreference_t get() const { return preference_; }

 private:
  cublasLtMatmulPreference_t preference_ = nullptr;
};

}  // namespace

struct MatrixProducts::Plan {
  Description description;
  Layout first, second, result;
  cublasLtMatmulAlgo_t algorithm{};

  explicit Plan(const Product& p)
      : description(p),
        first(cuda_type(p.factor_dtype), p.b.transpose ? p.n : p.k, p.b.transpose ? p.k : p.n, p.b, p.batch),
        second(cuda_type(p.factor_dtype), p.a.transpose ? p.k : p.m, p.a.transpose ? p.m : p.k, p.a, p.batch),
        result(cuda_type(p.result_dtype), p.m, p.n, p.c, p.batch) {}
};

MatrixProducts::MatrixProducts(const Stream& stream, Allocator& allocator)
    : stream_(stream), workspace_(allocator.allocate(workspace_bytes)) {
  stream_.use();
  check_cublas(cublas_lt().create(&handle_), "cublasLtCreate");
}

MatrixProducts::~MatrixProducts() = default;  // handle and workspace end with the process, as backends do

MatrixProducts::Key MatrixProducts::key_of(const Product& p) {
  return {p.m,
          p.n,
          p.k,
          p.batch,
          p.a.ld,
          p.b.ld,
          p.c.ld,
          p.a.transpose,
          p.b.transpose,
          p.a.stride,
          p.b.stride,
          p.c.stride,
          alignment_of(p.a.data),
          alignment_of(p.b.data),
          alignment_of(p.c.data),
          p.bias == nullptr ? 0 : alignment_of(p.bias),
          static_cast<int64_t>(p.factor_dtype),
          static_cast<int64_t>(p.result_dtype),
          p.rounds_to_tf32};
}

/// False if there is none.
bool MatrixProducts::choose_algorithm(const Product& product, Plan& plan) const {
  Preference preference;
  preference.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
  // Partial sums go through the workspace and are added in a fixed order, or there are none.
  preference.set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                 static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(product.b.data));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(product.a.data));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(product.c.data));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(product.c.data));
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status =
      cublas_lt().get_heuristic(handle_, plan.description.get(), plan.first.get(), plan.second.get(),
                                plan.result.get(), plan.result.get(), preference.get(), 1, &found, &count);
  // Some versions call a bias beside factors of one row or column an invalid value.
  const bool is_refused = status == CUBLAS_STATUS_NOT_SUPPORTED ||
                          (product.bias != nullptr && status == CUBLAS_STATUS_INVALID_VALUE);
  if (is_refused) return false;
  check_cublas(status, "cublasLtMatmulAlgoGetHeuristic");
  if (count == 0 || found.state != CUBLAS_STATUS_SUCCESS) return false;
  plan.algorithm = found.algo;
  return true;
}

/// Null for a product with a bias that cuBLASLt cannot add.
std::unique_ptr<MatrixProducts::Plan> MatrixProducts::make_plan(const Product& product) const {
  auto plan = std::make_unique<Plan>(product);
  if (choose_algorithm(product, *plan)) return plan;
  if (product.bias != nullptr) return nullptr;
  fail(ErrorKind::internal, "cuBLASLt: no algorithm for {}", description_of(product));
}

/// Null as above.
MatrixProducts::Plan* MatrixProducts::plan_for(const Product& product) {
  const Key key = key_of(product);
  auto found = plans_.find(key);
  if (found == plans_.end()) {
    if (plans_.size() >= most_plans)
      std::erase_if(plans_, [](const auto& known) { return !known.second.is_kept; });
    found = plans_.emplace(key, KnownPlan{make_plan(product)}).first;
  }
  found->second.is_kept |= keeps_plans_;
  return found->second.plan.get();
}

bool MatrixProducts::multiply(const Product& product) {
  stream_.use();
  if (Plan* plan = plan_for(product)) {
    if (product.bias != nullptr) plan->description.set_bias(product.bias);
    enqueue(product, *plan);
    return product.bias != nullptr;
  }
  Product without_bias = product;
  without_bias.bias = nullptr;
  enqueue(without_bias, *plan_for(without_bias));
  return false;
}

void MatrixProducts::enqueue(const Product& product, const Plan& plan) const {
  const float alpha = 1, beta = product.accumulate ? 1 : 0;
  const cublasStatus_t status = cublas_lt().matmul(
      handle_, plan.description.get(), &alpha, product.b.data, plan.first.get(), product.a.data,
      plan.second.get(), &beta, product.c.data, plan.result.get(), product.c.data, plan.result.get(),
      &plan.algorithm, workspace_, workspace_bytes, stream_.use());
  if (status != CUBLAS_STATUS_SUCCESS) check_cublas(status, "cublasLtMatmul of " + description_of(product));
}

}  // namespace normtune::cuda
