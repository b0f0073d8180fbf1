// Compiled once for each instruction set, with NORMTUNE_ISA naming the namespace.
//
// Only headers without inline functions of their own that survive as symbols may be included here: the linker
// keeps one copy of an inline function, and if that came from the AVX-512 build of this file, the program
// would crash on a machine without AVX-512. So: the C library's mathematics, fixed-width integers, and our
// own code below, which lives in the namespace of the instruction set.
#include "tensor/cpu/vector/loops.h"

#include <math.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "tensor/cpu/vector/instruction_sets.h"

#define NORMTUNE_INLINE static inline __attribute__((always_inline))

namespace normtune::vector::NORMTUNE_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif
template <typename T>
constexpr int64_t lanes = vector_bytes / static_cast<int64_t>(sizeof(T));

#include "tensor/formulas/math.h"
//
#include "tensor/cpu/vector/transpose.h"
//
#include "tensor/formulas/activations.h"
#include "tensor/formulas/layer_norm.h"
#include "tensor/formulas/optimizer.h"
//
#include "tensor/cpu/vector/activations.h"
#include "tensor/cpu/vector/dropout.h"
#include "tensor/cpu/vector/elementwise.h"
#include "tensor/cpu/vector/optimizer.h"
#include "tensor/cpu/vector/product.h"
#include "tensor/cpu/vector/roof.h"
#include "tensor/cpu/vector/rows.h"

template <typename Function, typename T>
constexpr void set_activation(Loops<T>& table, int which) {
  table.activation_forward[which] = activation_forward<Function, T>;
  table.activation_backward[which] = activation_backward<Function, T>;
  table.activation_both[which] = activation_both<Function, T>;
  table.activation_with_derivative[which] = activation_with_derivative<Function, T>;
  table.activation_with_derivative_byte[which] = activation_with_derivative_byte<Function, T>;
}

template <typename T>
constexpr Loops<T> make_table() {
  Loops<T> table{};
  table.add = add<T>;
  table.multiply = multiply<T>;
  table.scale = scale<T>;
  table.add_scaled = add_scaled<T>;
  table.add_squares = add_squares<T>;
  set_activation<Relu>(table, 0);
  set_activation<Gelu>(table, 1);
  set_activation<GeluTanh>(table, 2);
  set_activation<Tanh>(table, 3);
  set_activation<Silu>(table, 4);
  table.multiply_by_byte = multiply_by_byte<T>;
  table.dropout = dropout<T>;
  table.dropout_both = dropout_both<T>;
  table.softmax = softmax<T>;
  table.exp_shifted = exp_shifted<T>;
  table.softmax_backward = softmax_backward<T>;
  table.layer_norm = layer_norm<T>;
  table.layer_norm_backward = layer_norm_backward<T>;
  table.sum = sum<T>;
  table.sum_of_squares = sum_of_squares<T>;
  table.adamw = adamw<T>;
  table.sgd = sgd<T>;
  table.multiply_adds = multiply_adds<T>;
  table.tiling = {tile_rows, 3 * lanes<T>, lanes<T>, pack_panels<T>, pack_tiles<T>, multiply_panels<T>};
  return table;
}

}  // namespace

extern constinit const Loops<float> float_loops = make_table<float>();
extern constinit const Loops<double> double_loops = make_table<double>();

}  // namespace normtune::vector::NORMTUNE_ISA
