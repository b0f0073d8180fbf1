#include <omp.h>

#include <algorithm>
#include <chrono>

#include "tensor/cpu/bf16/packed.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/vector/dispatch.h"

namespace normtune {

namespace {

constexpr int repeats = 5;  // the best counts: everything that disturbs makes it slower

template <typename Work>
double seconds_of(const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Of a loop that returns its number of operations, in all threads.
template <typename Loop>
double best_gflops(const Loop& multiply_adds, int64_t iterations) {
  double best = 0;
  for (int i = 0; i < repeats; ++i) {
    double operations = 0;
    const double seconds = seconds_of([&] {
#pragma omp parallel reduction(+ : operations)
      operations += multiply_adds(iterations);
    });
    best = std::max(best, operations / seconds / 1e9);
  }
  return best;
}

double copy_gbs() {
  const Tensor source = Tensor::full({64 << 20}, 1.0, DType::float32);  // 256 MB
  const Tensor destination = Tensor::full(source.shape(), 0.0, DType::float32);
  const auto& loops = vector::loops<float>();
  double best = 0;
  for (int i = 0; i < repeats; ++i) {
    const double seconds = seconds_of([&] {
      parallel_pieces(source.numel(), elements_per_piece, [&](int64_t begin, int64_t end) {
        loops.scale(source.data<float>() + begin, 1, destination.data<float>() + begin, end - begin);
      });
    });
    best = std::max(best, 2 * static_cast<double>(source.nbytes()) / seconds / 1e9);
  }
  return best;
}

}  // namespace

MachineRoof CpuBackend::measure_roof(DType dtype) {
  const bf16::Instructions* bf16_instructions =
      dtype == DType::float32 && product_precision_ == ProductPrecision::bf16 ? bf16::instructions()
                                                                              : nullptr;
  const double gflops = bf16_instructions != nullptr
                            ? best_gflops(bf16_instructions->multiply_adds, 500'000)
                            : dispatch_floating(dtype, []<typename T>() {
                                return best_gflops(vector::loops<T>().multiply_adds, 5'000'000);
                              });
  return {.gflops = gflops, .gbs = copy_gbs()};
}

}  // namespace normtune
