#pragma once

#include "tensor/cpu/gemm.h"

namespace normtune::bf16 {

/// What gemm() computes, of factors rounded to bfloat16 (to nearest, ties to even); sums are float32. Each
/// element of c has the same bits for any number of threads and whatever the other rows and columns are, but
/// not the same with each instruction set. One without instructions for bfloat16 multiplies the rounded
/// factors by normtune::gemm().
void gemm(const Gemm<float>& args);

/// b as gemm() packs it for itself; see normtune::pack_factor().
Tensor pack_factor(const Gemm<float>& args);

}  // namespace normtune::bf16
