#pragma once

#include "tensor/cpu/vector/loops.h"

/// One pair of tables for each instruction set that loops.cpp is compiled for.
namespace normtune::vector {

namespace baseline {
extern const Loops<float> float_loops;
extern const Loops<double> double_loops;
}  // namespace baseline

namespace avx2 {
extern const Loops<float> float_loops;
extern const Loops<double> double_loops;
}  // namespace avx2

namespace avx512 {
extern const Loops<float> float_loops;
extern const Loops<double> double_loops;
}  // namespace avx512

}  // namespace normtune::vector
