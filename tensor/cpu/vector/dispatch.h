#pragma once

#include <string>
#include <vector>

#include "tensor/cpu/vector/loops.h"

namespace normtune {

/// The instruction set that the CPU kernels use: "avx512", "avx2" or "baseline". It is the best one of this
/// machine, or the one that the environment variable NORMTUNE_CPU_ISA names.
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
}  // namespace normtune
