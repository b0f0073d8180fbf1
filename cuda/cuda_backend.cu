#include "cuda/cuda_backend.h"

#include <algorithm>
#include <stdexcept>
#include <string_view>

#include "cuda/graph.h"
#include "cuda/kernel_backend.cuh"
#include "cuda/late_copies.h"
#include "cuda/matrix_products.h"
#include "cuda/pinned_blocks.h"
#include "cuda/runtime.h"
#include "cuda/side_stream.h"
#include "cuda/staging_ring.h"
#include "cuda/stream_allocator.h"
#include "cuda/work_beside.h"

namespace normtune::cuda {

namespace {

/// Enqueues kernels on a stream (see cuda/grid.h).
struct StreamLauncher {
  Device device;
  const Stream* stream;

  template <typename... Parameters, typename... Args>
  void operator()(void (*kernel)(Parameters...), const Grid& grid, const Args&... args) const {
    if (grid.blocks == 0 || grid.blocks_y == 0) return;
    check(grid.blocks <= 0x7FFFFFFF && grid.blocks_y <= 65535 && grid.shared_bytes <= max_shared_bytes,
          "cuda: a grid of {} x {} blocks with {} bytes of shared memory", grid.blocks, grid.blocks_y,
          grid.shared_bytes);
    const cudaStream_t on = stream->use();
    constexpr int64_t without_asking = 40 * 1024;  // of 48 KB, which include what kernels declare as static
    if (grid.shared_bytes > without_asking) {
      check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(grid.shared_bytes)),
                 "cudaFuncSetAttribute");
    }
    cudaLaunchConfig_t launch{};
    launch.gridDim = dim3(static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.blocks_y));
    launch.blockDim = dim3(static_cast<unsigned>(grid.threads));
    launch.dynamicSmemBytes = static_cast<size_t>(grid.shared_bytes);
    launch.stream = on;
    check_cuda(cudaLaunchKernelEx(&launch, kernel, static_cast<Parameters>(args)...), "a kernel's launch");
  }
};

/// Times what is enqueued between two moments of a stream.
class Stopwatch {
 public:
  explicit Stopwatch(const Stream& stream) : stream_(stream) {
    check_cuda(cudaEventCreate(&begin_), "cudaEventCreate");
    check_cuda(cudaEventCreate(&end_), "cudaEventCreate");
    check_cuda(cudaEventRecord(begin_, stream_.use()), "cudaEventRecord");
  }
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  double seconds() {
    check_cuda(cudaEventRecord(end_, stream_.use()), "cudaEventRecord");
    check_cuda(cudaEventSynchronize(end_), "cudaEventSynchronize");
    float milliseconds = 0;
    check_cuda(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return milliseconds / 1e3;
  }

 private:
  const Stream& stream_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

/// What must be there before KernelBackend is.
struct Foundation {
  Stream stream_;
  Stream side_stream_;  // takes what the main one leaves free
  StreamAllocator allocator_;

  explicit Foundation(int device_index)
      : stream_(device_index, Priority::high),
        side_stream_(device_index, Priority::low),
        allocator_(stream_) {}
};

class CudaBackend final : private Foundation, public KernelBackend<StreamLauncher> {
 public:
  explicit CudaBackend(int device_index)
      : Foundation(device_index),
        KernelBackend({.device = stream_.device(), .stream = &stream_}),
        staging_(PinnedBlocks(stream_)),
        late_copies_(stream_),
        products_(stream_, allocator_),
        products_beside_(side_stream_, allocator_),
        work_beside_(SideStream(stream_, side_stream_, WorkBeside<SideStream>::most_pending)) {}

  std::string name() const override { return "cuda"; }
  Allocator& allocator() override { return allocator_; }
  void synchronize() override {
    check_not_capturing("waiting for the device");
    const uint64_t num_sent = staging_.num_sent();
    stream_.synchronize();
    staging_.note_done(num_sent);
    allocator_.report_failed_free();
  }

  void copy_from_host(void* device_destination, const void* host_source, size_t bytes) override {
    check_not_capturing("a copy from the host");
    constexpr size_t most_staged = size_t{1} << 20;
    if (bytes <= most_staged) return staging_.copy(device_destination, host_source, bytes);
    copy_bytes(device_destination, host_source, bytes, cudaMemcpyHostToDevice);
    synchronize();  // the caller may free or change the source
  }
  void copy_to_host(void* host_destination, const void* device_source, size_t bytes) override {
    check_not_capturing("a copy to the host");
    copy_bytes(host_destination, device_source, bytes, cudaMemcpyDeviceToHost);
    synchronize();
  }
  std::unique_ptr<LateCopy> copy_to_host_later(const void* device_source, size_t bytes) override {
    check_not_capturing("a copy to the host");
    return late_copies_.copy(device_source, bytes);
  }

  void matmul(const MatMul& args) override {
    const int64_t k = args.transpose_a ? args.a.rows : args.a.cols;
    if (args.c.rows == 0 || args.c.cols == 0) return;
    RoundedMatrix bias;  // as cuBLASLt adds it: in c's dtype
    if (args.bias && k > 0) bias.matrix = *args.bias;
    if (args.c.dtype == DType::bfloat16 && bias.matrix.data != nullptr) {
      bias = round_to_bfloat16(launch_, bias.matrix);
    }
    const bool fuses_bias = bias.matrix.data != nullptr && MatrixProducts::takes_bias(bias.matrix.data);
    bool has_bias = false;
    if (k > 0) {
      has_bias =
          products_.multiply(product_of(args, factors_of(args), fuses_bias ? bias.matrix.data : nullptr));
    } else if (!args.accumulate) {
      clear_matrix(launch_, args.c);
    }
    if (args.bias && !has_bias) cuda::add_bias(launch_, args.c, *args.bias, args.c);
  }

  void matmul_beside(const MatMul& args, std::vector<Tensor> factors) override {
    const int64_t k = args.transpose_a ? args.a.rows : args.a.cols;
    if (args.c.rows == 0 || args.c.cols == 0 || k == 0 || args.bias) return matmul(args);
    const Factors rounded = factors_of(args);  // by the main stream
    factors.insert(factors.end(), {rounded.a.memory, rounded.b.memory});
    work_beside_.run(std::move(factors), [&] { products_beside_.multiply(product_of(args, rounded)); });
  }
  void join_products() override { work_beside_.join(); }

  void batched_matmul(const BatchedMatMul& args) override {
    const int64_t a_rows = args.a.size(1), a_cols = args.a.size(2);
    const int64_t b_rows = args.b.size(1), b_cols = args.b.size(2), m = args.c.size(1), n = args.c.size(2);
    const Product product{.m = m,
                          .n = n,
                          .k = args.transpose_a ? a_rows : a_cols,
                          .a = {floats(args.a), a_cols, args.transpose_a, a_rows * a_cols},
                          .b = {floats(args.b), b_cols, args.transpose_b, b_rows * b_cols},
                          .c = {floats(args.c), n, false, m * n},
                          .batch = args.c.size(0)};
    if (args.c.numel() == 0) return;
    if (product.k > 0) {
      products_.multiply(product);
    } else {
      clear_matrix(launch_, args.c);
    }
  }

  bool can_capture() const override { return true; }
  bool takes_row_gradients() const override { return false; }
  std::unique_ptr<CapturedWork> capture(const std::function<void()>& work) override {
    const CaptureScope scope(*this);
    return std::make_unique<Graph>(stream_, work);
  }
  void rehearse(const std::function<void()>& work) override {
    const CaptureScope scope(*this);
    try {
      work();
    } catch (...) {
      join_products();  // what runs beside still reads its factors
      throw;
    }
    join_products();
  }

  MachineRoof measure_roof(DType dtype) override;

 private:
  /// While it lives, tensors are made in the memory of captured work, and the host takes no part.
  struct CaptureScope {
    CudaBackend& backend;
    explicit CaptureScope(CudaBackend& capturing) : backend(capturing) {
      backend.join_products();  // a capture cannot wait for what is no part of it
      backend.allocator_.begin_capture();
      backend.is_capturing_ = true;
      backend.products_.keep_plans(true);
    }
    ~CaptureScope() {
      backend.work_beside_.forget();
      backend.is_capturing_ = false;
      backend.products_.keep_plans(false);
      backend.allocator_.end_capture();
    }
    CaptureScope(const CaptureScope&) = delete;
    CaptureScope& operator=(const CaptureScope&) = delete;
  };

  void check_not_capturing(std::string_view call) const {
    if (is_capturing_) throw std::logic_error(fmt::format("cuda: {} in captured work", call));
  }

  void copy_bytes(void* destination, const void* source, size_t bytes, cudaMemcpyKind kind) {
    if (bytes == 0) return;
    check_cuda(cudaMemcpyAsync(destination, source, bytes, kind, stream_.use()), "cudaMemcpyAsync");
  }

  /// c (+)= op(a) op(b), with at least one element and term, plus a bias of c's dtype.
  Product product_of(const MatMul& args, const Factors& factors, const void* bias = nullptr) const {
    const MatrixRef &a = factors.a.matrix, &b = factors.b.matrix;
    return {.m = args.c.rows,
            .n = args.c.cols,
            .k = args.transpose_a ? args.a.rows : args.a.cols,
            .a = {a.data, a.ld, args.transpose_a},
            .b = {b.data, b.ld, args.transpose_b},
            .c = {args.c.data, args.c.ld},
            .accumulate = args.accumulate,
            .bias = bias,
            .factor_dtype = a.dtype,
            .result_dtype = args.c.dtype,
            .rounds_to_tf32 = product_precision_ == ProductPrecision::tf32};
  }

  template <typename Work>
  double best_seconds(const Work& work) {
    work();  // the first time pays for what is made once
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < 5; ++i) {
      Stopwatch stopwatch(stream_);
      work();
      best = std::min(best, stopwatch.seconds());
    }
    return best;
  }

  StagingRing<PinnedBlocks> staging_;
  LateCopies late_copies_;
  MatrixProducts products_, products_beside_;  // two at a time cannot share a workspace
  WorkBeside<SideStream> work_beside_;
  bool is_capturing_ = false;
};

/// A matrix of numbers that differ: multiplying zeros or equal numbers takes less power, and a card then runs
/// faster than it does in training.
Tensor random_matrix(int64_t size, DType dtype, Device device) {
  std::vector<float> values(static_cast<size_t>(size * size));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(static_cast<int32_t>(mix64(i) >> 32)) * 0x1p-31f;  // in [-1, 1)
  }
  return Tensor::from_values({size, size}, values, device).to(dtype);
}

MachineRoof CudaBackend::measure_roof(DType dtype) {
  require_float32(dtype);
  constexpr int64_t size = 4096;
  const Tensor a = random_matrix(size, activation_dtype(dtype), stream_.device());
  const Tensor b = a.clone(), c = Tensor::empty_like(a);
  const double operations = 2.0 * size * size * size;
  const double product_seconds = best_seconds([&] { matmul({.a = a, .b = b, .transpose_b = true, .c = c}); });
  const Tensor source = Tensor::full({int64_t{64} << 20}, 1.0, DType::float32, stream_.device());
  const Tensor destination = Tensor::empty_like(source);
  const double copy_seconds = best_seconds([&] { destination.backend().scale(source, 1, destination); });
  return {.gflops = operations / product_seconds / 1e9,
          .gbs = 2 * static_cast<double>(source.nbytes()) / copy_seconds / 1e9};
}

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(int device_index) {
  return std::make_unique<CudaBackend>(device_index);
}

}  // namespace normtune::cuda
