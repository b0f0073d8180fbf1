#include "tests/cuda/fragment_products.h"

#include "cuda/arguments.h"
#include "cuda/runtime.h"
#include "tests/cuda/fragment_products.cuh"

namespace normtune::test {

Tensor fragment_products_on_device(const Tensor& x, const Tensor& y) {
  const Tensor products = Tensor::empty({x.size(0), 3, 16, 16}, DType::float32, x.device());
  const cuda::Grid grid = cuda::fragment_products_grid(static_cast<int>(x.size(0)));
  x.backend().synchronize();  // the kernel runs on another stream
  cuda::fragment_products_kernel<<<1, static_cast<unsigned>(grid.threads),
                                   static_cast<size_t>(grid.shared_bytes)>>>(
      x.data<bfloat16>(), y.data<bfloat16>(), cuda::floats(products));
  cuda::check_cuda(cudaGetLastError(), "a kernel's launch");
  cuda::check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  return products;
}

}  // namespace normtune::test
