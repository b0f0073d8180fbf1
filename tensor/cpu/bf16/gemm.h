#pragma once

#include "tensor/cpu/gemm.h"

namespace normtune::bf16 {

/// What gemm() computes, of factors rounded to bfloat16 (to nearest, ties to even); sums are float32. Each
/// element of c has the same bits for any number of threads and whatever the other rows and columns are, but
/// not the same on machines with AMX and without: there the rounded factors go through gemm().
void gemm(const Gemm<float>& args);

/// Whether the processor has AMX and the system lets this process use it.
bool has_tiles();

/// The same without AMX, on any machine.
void gemm_of_rounded(const Gemm<float>& args);

}  // namespace normtune::bf16
