#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tensor/adamw_factors.h"
#include "tensor/allocator.h"
#include "tensor/philox.h"
#include "tensor/tensor.h"

namespace normtune {

/// Element-wise functions of one argument.
enum class Activation { relu, gelu, gelu_tanh, tanh, silu };

/// Which elements a dropout zeroes. Element (row, channel) is kept if word `channel % 4` of
/// philox4x32({example_ids[row], positions[row], channel / 4, head}, key) reaches the threshold; `head` is 0
/// but in attention, where `channel` is the key's position. Kept elements are scaled by 1 / (1 -
/// probability). So a mask depends on the example and the place alone: not on packing, fusion, threads or
/// device.
struct DropoutMask {
  double probability = 0;
  PhiloxKey key;
  Tensor example_ids;  // [num_rows] int64, the example's index in its data set
  Tensor positions;    // [num_rows] int32, the token's position in its sequence
  /// In captured work (Backend::capture), where each replay has another key: the place of its two words, [1]
  /// int64, read in place of `key`. Undefined elsewhere.
  Tensor key_on_device;

  bool active() const { return probability > 0; }
};

/// What a product of float32 matrices rounds its factors to; sums are float32 always.
enum class ProductPrecision {
  float32,  ///< nothing
  tf32,     ///< 11 bits of significand, by the tensor cores of CUDA devices
  bf16,     ///< bfloat16: 8 bits of significand
};

/// Backend::derivative_dtype() on every device.
constexpr DType derivative_dtype(DType activations, ProductPrecision products) {
  const bool is_rounded = activations == DType::float32 && products == ProductPrecision::bf16;
  return is_rounded || activations == DType::bfloat16 ? DType::uint8 : activations;
}

/// What a device can do at best.
struct MachineRoof {
  double gflops = 0;  ///< multiply-adds on registers, 2 operations each
  double gbs = 0;     ///< bytes read and written by a copy much larger than the caches
};

/// A copy on the host that a device makes when its turn comes (Backend::copy_to_host_later).
class LateCopy {
 public:
  virtual ~LateCopy() = default;
  /// Whether wait() would not wait.
  virtual bool is_there() = 0;
  /// The bytes, which live as long as this object.
  virtual const std::byte* wait() = 0;
};

/// Work that a device knows by heart (Backend::capture).
class CapturedWork {
 public:
  virtual ~CapturedWork() = default;
  /// Enqueues it, at the cost of one launch.
  virtual void replay() = 0;
};

/// Every kernel that a device must provide: the one page to read, and the one page to extend. A device that
/// lacks a kernel does not compile. Shapes stand behind each argument; all tensors of a call share device and
/// floating dtype unless said otherwise. Outputs are allocated by the caller and fully overwritten, except
/// with `accumulate`. Callers (autograd/) check shapes; kernels may rely on them. float32; float64 on the
/// CPU.
///
/// Where it says [bf16] the activations of a call, and their gradients, may also be bfloat16. Arithmetic is
/// float32 then, and results are rounded at the end. What belongs to parameters (weights, biases and their
/// gradients) and statistics (rstd, log_sum_exp) stay float32.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;
  virtual Allocator& allocator() = 0;
  /// Waits until everything enqueued is done.
  virtual void synchronize() = 0;

  // ---- Data movement
  // --------------------------------------------------------------------------------------------
  /// The source may be freed or changed afterwards. Small arrays, those of a batch, do not make the host
  /// wait.
  virtual void copy_from_host(void* device_destination, const void* host_source, size_t bytes) = 0;
  /// Waits until everything enqueued is done, this copy included.
  virtual void copy_to_host(void* host_destination, const void* device_source, size_t bytes) = 0;
  /// The source may be freed or changed afterwards. Nobody waits before the copy is asked for.
  virtual std::unique_ptr<LateCopy> copy_to_host_later(const void* device_source, size_t bytes) = 0;
  virtual void copy(void* destination, const void* source, size_t bytes) = 0;  // on this device
  virtual void fill(const Tensor& output, double value) = 0;                   // any dtype
  /// Converts between floating dtypes, element by element; matrices of equal size.
  virtual void convert(const MatrixRef& input, const MatrixRef& output) = 0;
  /// output[i, :] = input[i, :] for matrices of equal size and different row distance, of any dtype.
  virtual void copy_matrix(const MatrixRef& input, const MatrixRef& output) = 0;

  /// Copies with permuted dimensions: output dimension i is input dimension order[i].
  struct Permute {
    const Tensor& input;
    const Tensor& output;
    std::vector<int> order;
  };
  virtual void permute(const Permute& args) = 0;

  /// output[i, :] = input[index[i], :], of any dtype.
  struct GatherRows {
    const Tensor& input;   // [num_input_rows, columns]
    const Tensor& index;   // [num_rows] int32, each in [0, num_input_rows)
    const Tensor& output;  // [num_rows, columns]
  };
  virtual void gather_rows(const GatherRows& args) = 0;

  /// grad_input[index[i], :] += grad_output[i, :], in the order of i for each row (deterministic). grad_input
  /// is zeroed first. Rows with index == skip_index contribute nothing (the padding row of an embedding; -1:
  /// none). [bf16]
  struct ScatterAddRows {
    const Tensor& grad_output;  // [num_rows, columns]
    const Tensor& index;        // [num_rows] int32
    const Tensor& grad_input;   // [num_input_rows, columns]
    int64_t skip_index = -1;
  };
  virtual void scatter_add_rows(const ScatterAddRows& args) = 0;

  // ---- Element-wise
  // ---------------------------------------------------------------------------------------------
  virtual void add(const Tensor& a, const Tensor& b, const Tensor& output) = 0;  // [bf16]
  virtual void multiply(const Tensor& a, const Tensor& b, const Tensor& output) = 0;
  /// output = factor * input; output may be input. [bf16]
  virtual void scale(const Tensor& input, double factor, const Tensor& output) = 0;
  /// The same with a factor on the device, which the host need not know. Not [bf16].
  virtual void scale_by(const Tensor& input, const Tensor& factor /* [] */, const Tensor& output) = 0;
  /// output += factor * input [bf16]
  virtual void add_scaled(const Tensor& input, double factor, const MatrixRef& output) = 0;
  /// output[i, :] = input[i, :] + bias, bias [1, columns]; output may be input. [bf16]
  virtual void add_bias(const MatrixRef& input, const MatrixRef& bias, const MatrixRef& output) = 0;
  /// output = activation(input); output may be input. [bf16]
  virtual void activation_forward(Activation activation, const Tensor& input, const Tensor& output) = 0;
  /// grad_input = grad_output * activation'(input), and on the way what else the caller wants. [bf16]
  struct ActivationBackward {
    Activation activation;
    const Tensor& input;
    const Tensor& grad_output;
    const Tensor& grad_input;             // may be grad_output
    const Tensor* column_sums = nullptr;  // [columns] of grad_input
    const Tensor* output = nullptr;       // activation(input); may be input
  };
  virtual void activation_backward(const ActivationBackward& args) = 0;
  /// output = activation(input) and derivative = activation'(input): for a backward that does not ask for the
  /// activation again. output may be input; derivative is of derivative_dtype() of their dtype. [bf16]
  virtual void activation_with_derivative(Activation activation, const Tensor& input, const Tensor& output,
                                          const Tensor& derivative) = 0;
  /// grad_input = grad_output * derivative, and the sums of its columns if they are wanted. [bf16]
  struct DerivativeBackward {
    const Tensor& derivative;
    const Tensor& grad_output;
    const Tensor& grad_input;             // may be grad_output
    const Tensor* column_sums = nullptr;  // [columns] of grad_input
  };
  virtual void derivative_backward(const DerivativeBackward& args) = 0;
  /// Applies a mask to a matrix [num_rows, columns]; its own backward. output may be input. [bf16]
  virtual void dropout(const Tensor& input, const DropoutMask& mask, const Tensor& output) = 0;

  // ---- Matrix products and sums
  // ---------------------------------------------------------------------------------
  /// c = op(a) op(b), or c += ... with accumulate; op transposes if asked. After op: a [m, k], b [k, n], c
  /// [m, n]. A bias [1, n], if there is one, is added to each row at the end, as add_bias() would. The bits
  /// of c do not depend on the number of threads. [bf16]: each of a, b and c may be bfloat16; a factor that
  /// is float32 beside one that is not is rounded.
  struct MatMul {
    MatrixRef a;
    bool transpose_a = false;
    MatrixRef b;
    bool transpose_b = false;
    MatrixRef c;
    bool accumulate = false;
    std::optional<MatrixRef> bias = std::nullopt;
  };
  virtual void matmul(const MatMul& args) = 0;
  /// matmul() of a result that is needed late, the gradient of a weight: the device may compute it beside all
  /// that follows, until join_products(). Until then c must live, and nobody may read or write it, nor write
  /// to the factors. `factors` are the tensors in which a and b lie; their memory is kept as long as it is
  /// read.
  virtual void matmul_beside(const MatMul& args, std::vector<Tensor> factors) = 0;
  /// What follows comes after all products of matmul_beside().
  virtual void join_products() = 0;
  /// Allows matmul() to keep a factor b, for products with this transpose_b, in the form that it multiplies
  /// by: packed once instead of in every product. The bits of the products are the same. As long
  /// as the returned object lives, the matrix must live too, its elements must not change, and it takes
  /// memory of about the matrix's size. Null where that would not help. The form is that of the precision set
  /// when it was made.
  virtual std::shared_ptr<const void> hold_constant(const MatrixRef& b, bool transpose_b) = 0;
  /// How matmul() multiplies float32 from now on. Throws Error(usage) if the device cannot.
  virtual void set_product_precision(ProductPrecision precision) = 0;
  /// What activations of a model of this dtype are best kept in, with the precision set: bfloat16, or the
  /// dtype itself.
  virtual DType activation_dtype(DType dtype) const = 0;
  /// What the derivatives of an activation function are kept in beside activations of this dtype, with the
  /// precision set: bytes (tensor/formulas/activations.h) beside bfloat16 and products of it, or the dtype
  /// itself.
  virtual DType derivative_dtype(DType dtype) const = 0;

  /// One product for each leading index.
  struct BatchedMatMul {
    const Tensor& a;  // [batch, m, k], or [batch, k, m] with transpose_a
    bool transpose_a = false;
    const Tensor& b;  // [batch, k, n], or [batch, n, k] with transpose_b
    bool transpose_b = false;
    const Tensor& c;  // [batch, m, n]
  };
  virtual void batched_matmul(const BatchedMatMul& args) = 0;

  /// output[j] = sum over i of input[i, j], in a fixed order: the gradient of a bias, or of several that lie
  /// side by side. [bf16]
  struct ColumnSums {
    MatrixRef input;              // [num_rows, columns]
    std::vector<Tensor> outputs;  // vectors that have `columns` elements together
  };
  virtual void column_sums(const ColumnSums& args) = 0;

  /// output = sum of all elements, in a fixed order.
  virtual void sum(const Tensor& input, const Tensor& output /* [] */) = 0;

  // ---- Squared gradients of single examples
  // --------------------------------------------------------------------
  // Example e owns the rows [cu_seqlens[e], cu_seqlens[e + 1]) of a batch. Each kernel here does for every
  // example alone what a kernel above does for the whole batch, and adds up the squares of the results.
  // cu_seqlens: [batch + 1] int32. Sums have a fixed order. The first two are [bf16].

  /// output[j] = sum over e of (sum over the rows i of e of input[i, j] * factor[i, j])^2: of a bias, or with
  /// `factor` of a LayerNorm's gain.
  struct SquaredColumnSums {
    MatrixRef input;       // [num_rows, columns]
    const Tensor* factor;  // [num_rows, columns], or null for 1
    const Tensor& cu_seqlens;
    const Tensor& output;  // [columns]
  };
  virtual void squared_column_sums(const SquaredColumnSums& args) = 0;

  /// output = sum over e of (a_e^T b_e)^2, a_e and b_e being the rows of e: of a linear layer's weight. Where
  /// every example has one row that is (a * a)^T (b * b), a single product.
  struct SquaredProducts {
    MatrixRef a;  // [num_rows, m]
    MatrixRef b;  // [num_rows, n]
    const Tensor& cu_seqlens;
    const Tensor& output;  // [m, n]
  };
  virtual void squared_products(const SquaredProducts& args) = 0;

  /// grad_input[v, :] = sum over e of (sum of the rows grad_output[i, :] of e with index[i] == v)^2: of an
  /// embedding table. Rows with index == skip_index contribute nothing.
  struct SquaredScatterAddRows {
    const Tensor& grad_output;  // [num_rows, columns]
    const Tensor& index;        // [num_rows] int32
    const Tensor& cu_seqlens;
    const Tensor& grad_input;  // [num_input_rows, columns]
    int64_t skip_index = -1;
  };
  virtual void squared_scatter_add_rows(const SquaredScatterAddRows& args) = 0;

  // ---- Rows
  // -----------------------------------------------------------------------------------------------------
  virtual void softmax_forward(const Tensor& input, const Tensor& output) = 0;  // over the last dimension
  virtual void softmax_backward(const Tensor& output, const Tensor& grad_output,
                                const Tensor& grad_input) = 0;

  /// Normalizes each row (layer_norm, and with `residual` and `dropout` the fused end of a BERT block):
  ///   sum = dropout(input) + residual;  output = normalized * weight + bias,
  ///   normalized = (sum - mean(sum)) * rstd,  rstd = 1 / sqrt(variance(sum) + eps), biased variance.
  /// Statistics are taken in two passes over values from which the row's first element is subtracted, so that
  /// a large common offset does no harm. [bf16]
  struct LayerNormForward {
    const Tensor& input;      // [num_rows, hidden_size]
    const Tensor* residual;   // [num_rows, hidden_size] or null
    const DropoutMask& mask;  // of input; inactive for plain layer_norm
    const Tensor& weight;     // [hidden_size]
    const Tensor& bias;       // [hidden_size]
    double eps;
    const Tensor& output;      // [num_rows, hidden_size]
    const Tensor* normalized;  // [num_rows, hidden_size], or null if backward will not come
    const Tensor* rstd;        // [num_rows], or null
  };
  virtual void layer_norm_forward(const LayerNormForward& args) = 0;

  /// The embedding block of BERT, for the rows of a batch:
  ///   sum = sum over tables t of rows_t[ids_t];  output = dropout(normalized * weight + bias)
  /// with normalized and rstd as in LayerNormForward.
  struct EmbeddingsLayerNorm {
    static constexpr int num_tables = 3;
    struct Table {
      const Tensor& rows;  // [table_rows, hidden_size]
      const Tensor& ids;   // [num_rows] int32, each in [0, table_rows)
    };
    using Tables = std::array<Table, num_tables>;
    const Tables& tables;
    const DropoutMask& mask;  // of output
    const Tensor& weight;     // [hidden_size]
    const Tensor& bias;       // [hidden_size]
    double eps;
    const Tensor& output;      // [num_rows, hidden_size]
    const Tensor* normalized;  // [num_rows, hidden_size], or null if backward will not come
    const Tensor* rstd;        // [num_rows], or null
  };
  virtual void embeddings_layer_norm(const EmbeddingsLayerNorm& args) = 0;

  /// With g = grad_output * weight and n = normalized, per row:
  ///   grad_sum = rstd * (g - mean(g) - n * mean(g * n));  grad_residual = grad_sum;  grad_input =
  ///   dropout(grad_sum) grad_weight = sum over rows of grad_output * n;     grad_bias = sum over rows of
  ///   grad_output
  /// One pass over the rows; the column sums go through fixed blocks of rows. Null outputs are not computed.
  /// [bf16]
  struct LayerNormBackward {
    const Tensor& grad_output;  // [num_rows, hidden_size]
    const Tensor& normalized;   // [num_rows, hidden_size]
    const Tensor& rstd;         // [num_rows]
    const Tensor& weight;       // [hidden_size]
    const DropoutMask& mask;
    const Tensor* grad_input;  // [num_rows, hidden_size]; may be grad_output
    const Tensor*
        grad_residual;          // [num_rows, hidden_size]; may be grad_output if grad_input is another tensor
    const Tensor* grad_weight;  // [hidden_size]
    const Tensor* grad_bias;    // [hidden_size]
    const Tensor* column_sums;  // [hidden_size] of grad_input, which is wanted then
  };
  virtual void layer_norm_backward(const LayerNormBackward& args) = 0;

  // ---- Packed attention
  // -----------------------------------------------------------------------------------------
  /// Scaled dot-product attention, sequence by sequence and head by head. Sequence s owns the rows
  /// [cu_seqlens[s], cu_seqlens[s + 1]) of key and value and the rows [query_cu_seqlens[s],
  /// query_cu_seqlens[s + 1]) of query (the same ones in self-attention; one row each where only [CLS] asks).
  /// With d = hidden_size / num_heads:
  ///   probs = softmax(query key^T / sqrt(d));  context = dropout(probs) value
  /// Works through blocks of query rows; no S x S tensor reaches memory. [bf16]
  struct AttentionForward {
    MatrixRef query;                 // [num_queries, hidden_size]
    MatrixRef key;                   // [total_tokens, hidden_size]
    MatrixRef value;                 // [total_tokens, hidden_size]
    const Tensor& query_cu_seqlens;  // [batch + 1] int32
    const Tensor& cu_seqlens;        // [batch + 1] int32
    int64_t num_heads;
    const DropoutMask& mask;    // example_ids, positions: [num_queries], of the query rows
    const Tensor& context;      // [num_queries, hidden_size]
    const Tensor* log_sum_exp;  // [num_queries, num_heads] of the scaled scores, or null
  };
  virtual void attention_forward(const AttentionForward& args) = 0;

  /// Recomputes probs from query, key and log_sum_exp. With dP = dropout(grad_context value^T):
  ///   grad_scores = probs * (dP - rowsum(probs * dP)) / sqrt(d)
  ///   grad_query = grad_scores key;  grad_key = grad_scores^T query;  grad_value = dropout(probs)^T
  ///   grad_context [bf16]
  struct AttentionBackward {
    MatrixRef query, key, value;
    const Tensor& query_cu_seqlens;
    const Tensor& cu_seqlens;
    int64_t num_heads;
    const DropoutMask& mask;
    const Tensor& log_sum_exp;   // [num_queries, num_heads]
    const Tensor& grad_context;  // [num_queries, hidden_size]
    MatrixRef grad_query;        // [num_queries, hidden_size]
    MatrixRef grad_key;          // [total_tokens, hidden_size]
    MatrixRef grad_value;        // [total_tokens, hidden_size]
  };
  virtual void attention_backward(const AttentionBackward& args) = 0;

  // ---- Losses
  // ---------------------------------------------------------------------------------------------------
  /// loss = sum over rows with label >= 0 of -log softmax(logits)[label] * scale. Rows with label -1 are left
  /// out. Also writes grad_logits = (softmax(logits) - onehot(label)) * scale, zero for rows left out.
  struct CrossEntropy {
    const Tensor& logits;  // [num_rows, num_classes]
    const Tensor& labels;  // [num_rows] int32, -1 or in [0, num_classes)
    double scale;
    const Tensor& loss;         // []
    const Tensor* grad_logits;  // [num_rows, num_classes] or null
  };
  virtual void cross_entropy(const CrossEntropy& args) = 0;

  /// loss = sum of (predictions - targets)^2 * scale;  grad_predictions = 2 (predictions - targets) * scale
  struct SquaredError {
    const Tensor& predictions;  // [num_rows]
    const Tensor& targets;      // [num_rows]
    double scale;
    const Tensor& loss;              // []
    const Tensor* grad_predictions;  // [num_rows] or null
  };
  virtual void squared_error(const SquaredError& args) = 0;

  // ---- Optimisers and norms
  // -------------------------------------------------------------------------------------
  // Each call takes all tensors at once: where a launch or waiting for the device is dear, it is paid once.
  // With `indices`, parameter and gradient are whole tensors of which only the listed elements count. What an
  // update writes to shares no memory. `gradient_scale` [] float64, on the device, multiplies the gradients;
  // where it is not finite nothing is written.

  // What changes from update to update lies on the device too, where captured work finds it.

  // In place of all elements `gradient` may have some rows of a matrix, [k, columns] of those in
  // gradient_rows: the gradient of the other rows is zero. `rounded`, if not null, is bfloat16 and of the
  // parameter's shape: the parameter rounded, which the update keeps so.

  /// Whether gradients of some rows are there. Where the host must not wait to know their number they are
  /// not.
  virtual bool takes_row_gradients() const = 0;

  /// One AdamW update in one pass. AdamWFactors says what it does to an element.
  struct AdamWTensor {
    const Tensor& parameter;
    const Tensor& gradient;      // same shape as parameter, or see above
    const Tensor& first_moment;  // parameter.numel(), or indices->numel() (one entry for each index)
    const Tensor& second_moment;
    const Tensor* indices;  // [k] int64, sorted, or null for all elements
    const Tensor& factors;  // a row of to_tensor()
    const Tensor* rounded = nullptr;
    const Tensor* gradient_rows = nullptr;  // [k] int32, ascending
    /// With gradient_rows: [num_rows] int32, not 0 for each row that has moments; the update adds its own.
    const Tensor* rows_with_moments = nullptr;
  };
  struct AdamWStep {
    std::vector<AdamWTensor> tensors;
    Tensor gradient_scale;
  };
  virtual void adamw_step(const AdamWStep& args) = 0;

  /// parameter -= lr * (gradient_scale * gradient + weight_decay * parameter)
  struct SgdTensor {
    const Tensor& parameter;
    const Tensor& gradient;
    const Tensor* indices;
    double weight_decay;
    const Tensor* rounded = nullptr;
    const Tensor* gradient_rows = nullptr;
  };
  struct SgdStep {
    std::vector<SgdTensor> tensors;
    Tensor lr;  // [] float64, on the device
    Tensor gradient_scale;
  };
  virtual void sgd_step(const SgdStep& args) = 0;

  /// output[i] = sum of squares of input i in double precision and a fixed order, over `indices` or
  /// everywhere. Not finite if an element is not finite.
  struct NormInput {
    const Tensor& tensor;
    const Tensor* indices = nullptr;
  };
  virtual void squared_norms(const std::vector<NormInput>& inputs,
                             const Tensor& output /* [number of inputs] float64 */) = 0;
  /// The same on the host, which waits for them.
  std::vector<double> squared_norms(const std::vector<NormInput>& inputs);

  /// The gradient_scale of an update that is clipped as by PyTorch's clip_grad_norm_,
  ///   min(1, max_norm / (norm + 1e-6)),  norm^2 = sum of squared_norms,
  /// or 1 if max_norm is 0; NaN if the norm or a loss is not finite.
  struct ClippingFactor {
    const Tensor& squared_norms;  // [number of gradients] float64
    const Tensor& losses;         // [number of batches]
    double max_norm;
    const Tensor& factor;  // [] float64
  };
  virtual void clipping_factor(const ClippingFactor& args) = 0;

  /// How far elements moved, piece by piece of `piece` elements (a row of a matrix, say; the last may be
  /// shorter), in double precision and a fixed order.
  struct SumChanges {
    const Tensor& before;
    const Tensor& after;  // like before
    int64_t piece;
    const Tensor& sums;       // [pieces, ChangeTerms::num_results] float64
    const Tensor* change;     // [elements] float32: |after - before|, or null
    const Tensor* histogram;  // [MagnitudeBins::count] int64, to which is added; or null
  };
  virtual void sum_changes(const SumChanges& args) = 0;

  // ---- Captured work
  // ---------------------------------------------------------------------------------------------
  /// Whether a launch is so dear that capture() is there.
  virtual bool can_capture() const = 0;
  /// Notes what `work` enqueues, kernels with their arguments, without doing it. `work` cannot copy from or
  /// to the host. Tensors from outside that it uses must outlive the result, and a replay takes the values
  /// that they have by then. A tensor that it makes and does not give back holds its values from a replay to
  /// the next one, of this or other captured work.
  virtual std::unique_ptr<CapturedWork> capture(const std::function<void()>& work) = 0;
  /// Does `work` as a replay of it would: under the rules of capture(), its tensors where those of captured
  /// work lie. Then a capture of the same work uses nothing for the first time, for which a device may have
  /// to load kernels or to choose algorithms: not every one can do that in a capture. What `work` has left
  /// must be given back before it is captured.
  virtual void rehearse(const std::function<void()>& work) = 0;

  // ---- The device itself ----------------------------------------------------------------------------
  /// Measures what the device can do at best, with the threads in use; takes about a second.
  virtual MachineRoof measure_roof(DType dtype) = 0;
};

/// As adamw_step takes them, a row each: [n, 7] float64 in the order of the members; on the host.
Tensor to_tensor(const std::vector<AdamWFactors>& factors);

/// The backend of a device. Throws Error(usage) if this build or machine has none.
Backend& backend_of(Device device);

}  // namespace normtune
