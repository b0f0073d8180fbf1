#pragma once

#include "tensor/cpu/bf16/packed.h"
#include "tensor/cpu/gemm.h"

namespace normtune::bf16 {

/// What gemm() computes, of factors rounded to bfloat16 (to nearest, ties to even); sums are float32. Each
/// element of c has the same bits for any number of threads and whatever the other rows and columns are, but
/// not the same with each of the instructions.
void gemm(const Gemm<float>& args);

/// b as gemm() packs it for itself; see normtune::pack_factor().
Tensor pack_factor(const Gemm<float>& args);

/// The fastest instructions of this processor that the system lets this process use; null if it has none for
/// bfloat16.
const Instructions* fastest_instructions();
/// Whether the processor has AMX, and AVX-512 with bfloat16.
bool has_tiles();
bool has_pairs();

/// The product with one kind of instructions, which this processor must have.
void gemm_with(const Instructions& instructions, const Gemm<float>& args);
/// The same on any machine: the rounded factors go through normtune::gemm().
void gemm_of_rounded(const Gemm<float>& args);

}  // namespace normtune::bf16
