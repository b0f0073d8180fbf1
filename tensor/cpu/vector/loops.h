#pragma once

#include <cstdint>

#include "tensor/adamw_factors.h"
#include "tensor/philox.h"

/// The inner loops of the CPU backend: plain C++ over contiguous elements, compiled once for each instruction
/// set.
namespace normtune::vector {

/// Which elements of one row a dropout keeps: those whose word of philox4x32({example_id, position, channel /
/// 4, head}, key) reaches the threshold. Kept elements are multiplied by `scale`.
struct DropoutRow {
  PhiloxKey key;
  uint32_t example_id = 0, position = 0, head = 0;
  uint32_t threshold = 0;
  double scale = 1;
};

/// log(sum of exp(x_i)) = max + log_sum, kept apart so that a large maximum costs no digits.
struct LogSumExp {
  double max, log_sum;
};

/// The number of functions in normtune::Activation, in the order of its values.
constexpr int num_activations = 5;

/// c [m, n] (+)= a [m, k] b [k, n], b cut into panels by pack_panels. Row i of a begins at
/// (i / rows) * tile_step + (i % rows) * row_step with the tiling's rows, its elements are k_step apart.
template <typename T>
struct PanelProduct {
  const T* a;
  int64_t tile_step, row_step, k_step;
  const T* panels;
  int64_t m, k, n;
  T* c;
  int64_t ldc;
  bool accumulate;
};

/// The way in which products are cut into tiles of c, each of which stays in the registers while it is
/// summed.
template <typename T>
struct Tiling {
  int64_t rows, columns;  // of a tile of the widest panel
  int64_t lanes;          // elements of a vector
  /// Cuts b [k, n] into panels, each [k, its columns] and contiguous; the last one is filled up with zeros. A
  /// panel is three vectors wide, because its tiles load least for each multiply-add; where one vector would
  /// be left over, the last two panels are two vectors wide. Element (l, j) of b lies at l * k_step + j *
  /// column_step, one of the steps being 1.
  void (*pack_panels)(const T* b, int64_t k_step, int64_t column_step, int64_t k, int64_t n, T* packed);
  /// Cuts a transposed [k, m], rows k_step apart, into tiles of `rows` columns, each [k, rows] and
  /// contiguous; the last one is filled up with zeros.
  void (*pack_tiles)(const T* a, int64_t k_step, int64_t k, int64_t m, T* packed);
  void (*multiply_panels)(const PanelProduct<T>& args);
};

template <typename T>
struct Loops {
  void (*add)(const T* a, const T* b, T* output, int64_t n);
  void (*multiply)(const T* a, const T* b, T* output, int64_t n);
  void (*scale)(const T* input, T factor, T* output, int64_t n);
  void (*add_scaled)(const T* input, T factor, T* output, int64_t n);  // output += factor * input
  void (*add_squares)(const T* input, T* output, int64_t n);           // output += input^2

  void (*activation_forward[num_activations])(const T* input, T* output, int64_t n);
  void (*activation_backward[num_activations])(const T* input, const T* grad_output, T* grad_input,
                                               int64_t n);
  void (*activation_both[num_activations])(const T* input, const T* grad_output, T* output, T* grad_input,
                                           int64_t n);
  void (*activation_with_derivative[num_activations])(const T* input, T* output, T* derivative, int64_t n);
  void (*activation_with_derivative_byte[num_activations])(const T* input, T* output, uint8_t* derivative,
                                                           int64_t n);
  /// grad_input = grad_output * the derivatives in these bytes
  void (*multiply_by_byte)(const T* grad_output, const uint8_t* derivative, T* grad_input, int64_t n);

  void (*dropout)(const T* input, const DropoutRow& mask, T* output, int64_t n);  // channels [0, n) of a row
  /// Of two arrays with one mask, which is the larger part of the work.
  void (*dropout_both)(const T* first, const T* second, const DropoutRow& mask, T* first_output,
                       T* second_output, int64_t n);

  /// output = softmax(factor * input)
  LogSumExp (*softmax)(const T* input, T factor, T* output, int64_t n);
  /// output = exp(factor * input - shift)
  void (*exp_shifted)(const T* input, T factor, T shift, T* output, int64_t n);
  /// grad_input = factor * probs * (grad_output - sum of probs * grad_output)
  void (*softmax_backward)(const T* probs, const T* grad_output, T factor, T* grad_input, int64_t n);

  /// Returns rstd. `sum` may be `output`; `normalized` may be null.
  T(*layer_norm)
  (const T* sum, const T* weight, const T* bias, double eps, T* normalized, T* output, int64_t n);
  /// grad_sum, and += to the column sums; each of the three may be null. grad_sum may be grad_output.
  void (*layer_norm_backward)(const T* grad_output, const T* normalized, T rstd, const T* weight, T* grad_sum,
                              T* grad_weight, T* grad_bias, int64_t n);

  double (*sum)(const T* input, int64_t n);
  double (*sum_of_squares)(const T* input, int64_t n);

  void (*adamw)(T* parameter, const T* gradient, T* first_moment, T* second_moment,
                const AdamWFactors& factors, T gradient_scale, int64_t n);
  /// parameter -= lr * (gradient_scale * gradient + weight_decay * parameter)
  void (*sgd)(T* parameter, const T* gradient, T lr, T weight_decay, T gradient_scale, int64_t n);

  Tiling<T> tiling;

  /// Multiply-adds on registers alone; returns their number of floating-point operations.
  double (*multiply_adds)(int64_t iterations);
};

}  // namespace normtune::vector
