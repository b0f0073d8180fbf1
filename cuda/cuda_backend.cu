#include "cuda/cuda_backend.h"

#include <algorithm>

#include "cuda/kernel_backend.cuh"
#include "cuda/matrix_products.h"
#include "cuda/runtime.h"
#include "cuda/stream_allocator.h"

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
    const dim3 blocks(static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.blocks_y));
    kernel<<<blocks, static_cast<unsigned>(grid.threads), static_cast<size_t>(grid.shared_bytes), on>>>(
        static_cast<Parameters>(args)...);
    check_cuda(cudaGetLastError(), "a kernel's launch");
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
  StreamAllocator allocator_;

  explicit Foundation(int device_index) : stream_(device_index), allocator_(stream_) {}
};

class CudaBackend final : private Foundation, public KernelBackend<StreamLauncher> {
 public:
  explicit CudaBackend(int device_index)
      : Foundation(device_index),
        KernelBackend({.device = stream_.device(), .stream = &stream_}),
        products_(stream_, allocator_) {}

  std::string name() const override { return "cuda"; }
  Allocator& allocator() override { return allocator_; }
  void synchronize() override { stream_.synchronize(); }

  void copy_from_host(void* device_destination, const void* host_source, size_t bytes) override {
    copy_bytes(device_destination, host_source, bytes, cudaMemcpyHostToDevice);
    stream_.synchronize();  // the caller may free or change the source
  }
  void copy_to_host(void* host_destination, const void* device_source, size_t bytes) override {
    copy_bytes(host_destination, device_source, bytes, cudaMemcpyDeviceToHost);
    stream_.synchronize();
  }
  void copy(void* destination, const void* source, size_t bytes) override {
    copy_bytes(destination, source, bytes, cudaMemcpyDeviceToDevice);
  }

  void matmul(const MatMul& args) override {
    Product product{.m = args.c.rows,
                    .n = args.c.cols,
                    .k = args.transpose_a ? args.a.rows : args.a.cols,
                    .a = {floats(args.a), args.a.ld, args.transpose_a},
                    .b = {floats(args.b), args.b.ld, args.transpose_b},
                    .c = {floats(args.c), args.c.ld},
                    .accumulate = args.accumulate,
                    .precision = product_precision_};
    if (product.m == 0 || product.n == 0) return;
    const bool fuses_bias =
        args.bias && product.k > 0 && !args.accumulate && MatrixProducts::takes_bias(floats(*args.bias));
    if (fuses_bias) product.bias = floats(*args.bias);
    if (product.k > 0 && product_precision_ == ProductPrecision::bf16) {
      multiply_rounded(product, args);
    } else if (product.k > 0) {
      products_.multiply(product);
    } else if (!args.accumulate) {
      clear_matrix(launch_, args.c);
    }
    if (args.bias && !fuses_bias) cuda::add_bias(launch_, args.c, *args.bias, args.c);
  }

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
    if (product.k > 0) return products_.multiply(product);
    clear_matrix(launch_, args.c);
  }

  MachineRoof measure_roof(DType dtype) override;

 private:
  void copy_bytes(void* destination, const void* source, size_t bytes, cudaMemcpyKind kind) {
    if (bytes == 0) return;
    check_cuda(cudaMemcpyAsync(destination, source, bytes, kind, stream_.use()), "cudaMemcpyAsync");
  }

  void multiply_rounded(Product product, const MatMul& args) {
    const RoundedMatrix a = round_to_bfloat16(launch_, args.a), b = rounded_right_factor(args.b);
    product.a.data = a.data();
    product.a.ld = a.ld;
    product.b.data = b.data();
    product.b.ld = b.ld;
    products_.multiply(product);
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

  MatrixProducts products_;
};

MachineRoof CudaBackend::measure_roof(DType dtype) {
  require_float32(dtype);
  constexpr int64_t size = 4096;
  const Tensor a = Tensor::full({size, size}, 0.5, dtype, stream_.device());
  const Tensor b = Tensor::full({size, size}, 0.25, dtype, stream_.device());
  const Tensor c = Tensor::empty_like(a);
  const double operations = 2.0 * size * size * size;
  const double product_seconds = best_seconds([&] { matmul({.a = a, .b = b, .c = c}); });
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
