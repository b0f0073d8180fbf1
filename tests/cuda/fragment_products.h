#pragma once

#include "tensor/tensor.h"

namespace normtune::test {

/// fragment_products_kernel (tests/cuda/fragment_products.cuh), compiled by nvcc, with a warp for each pair
/// x[i], y[i] of [warps, 16, 16] bfloat16 tensors on a CUDA device. Returns [warps, 3, 16, 16].
Tensor fragment_products_on_device(const Tensor& x, const Tensor& y);

}  // namespace normtune::test
