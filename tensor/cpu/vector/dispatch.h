#pragma once

#include <string>
#include <vector>

#include "tensor/cpu/vector/loops.h"

namespace normtune {

/// The instruction set that the CPU kernels use: "amx", "avx512_bf16", "avx512", "avx2" or "baseline". It is
/// the best one of this machine, or the one that the environment variable NORMTUNE_CPU_ISA names. The first
/// three differ in products of bfloat16 alone.
std::string cpu_instruction_set();

/// Those that this machine can run, the best one first.
std::vector<std::string> supported_cpu_instruction_sets();

/// Uses another one from now on. Throws Error(usage) if the machine lacks it. Not while kernels are running.
void set_cpu_instruction_set(const std::string& name);

namespace vector {

/// The inner loops of the instruction set in use.
template <typename T>
const Loops<T>& loops();
template <>
const Loops<float>& loops<float>();
template <>
const Loops<double>& loops<double>();

}  // namespace vector

namespace bf16 {

struct Instructions;

/// Those of the instruction set in use for products of bfloat16; null if it has none.
const Instructions* instructions();

}  // namespace bf16
}  // namespace normtune
