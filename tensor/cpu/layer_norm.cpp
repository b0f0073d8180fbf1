#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/dropout_rows.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/vector/dispatch.h"
#include "tensor/widened.h"

namespace normtune {
namespace {

template <typename T>
const T* data_or_null(const Tensor* tensor) {
  return tensor == nullptr ? nullptr : tensor->data<T>();
}

/// Where row `row` of a tensor begins; null stays null.
template <typename T>
T* row_or_null(T* data, int64_t row, int64_t columns) {
  return data == nullptr ? nullptr : data + row * columns;
}

/// What the two forward kernels end with, from a LayerNormForward or an EmbeddingsLayerNorm.
template <typename T>
class LayerNormRows {
 public:
  template <typename Args>
  explicit LayerNormRows(const Args& args)
      : hidden_size_(args.weight.numel()),
        weight_(args.weight.template data<T>()),
        bias_(args.bias.template data<T>()),
        eps_(args.eps),
        output_(args.output.template data<T>()),
        normalized_(const_cast<T*>(data_or_null<T>(args.normalized))),
        rstd_(const_cast<T*>(data_or_null<T>(args.rstd))) {}

  /// Where a row's result goes; may hold its sum until then.
  T* output(int64_t row) const { return output_ + row * hidden_size_; }
  void normalize(int64_t row, const T* sum) const {
    const T rstd = vector::loops<T>().layer_norm(
        sum, weight_, bias_, eps_, row_or_null(normalized_, row, hidden_size_), output(row), hidden_size_);
    if (rstd_ != nullptr) rstd_[row] = rstd;
  }

 private:
  int64_t hidden_size_;
  const T *weight_, *bias_;
  double eps_;
  T *output_, *normalized_, *rstd_;
};

template <typename T>
void forward_rows(const Backend::LayerNormForward& args) {
  const int64_t hidden_size = args.weight.numel();
  const T *input = args.input.data<T>(), *residual = data_or_null<T>(args.residual);
  const LayerNormRows<T> rows(args);
  const DropoutRows mask(args.mask);
  const auto& loops = vector::loops<T>();
  parallel_rows(args.input.numel() / hidden_size, hidden_size, [&](int64_t row) {
    const T* sum = input + row * hidden_size;
    T* out = rows.output(row);
    if (mask.active()) {
      loops.dropout(sum, mask.row(row), out, hidden_size);
      sum = out;
    }
    if (residual != nullptr) {
      loops.add(sum, residual + row * hidden_size, out, hidden_size);
      sum = out;
    }
    rows.normalize(row, sum);
  });
}

template <typename T>
void embeddings_rows(const Backend::EmbeddingsLayerNorm& args) {
  const int64_t hidden_size = args.weight.numel();
  const LayerNormRows<T> rows(args);
  const DropoutRows mask(args.mask);
  const auto& loops = vector::loops<T>();
  parallel_rows(args.output.size(0), hidden_size, [&](int64_t row) {
    const auto row_of = [&](const Backend::EmbeddingsLayerNorm::Table& table) {
      return table.rows.data<T>() + table.ids.data<int32_t>()[row] * hidden_size;
    };
    T* out = rows.output(row);
    loops.add(row_of(args.tables[0]), row_of(args.tables[1]), out, hidden_size);
    loops.add(out, row_of(args.tables[2]), out, hidden_size);
    rows.normalize(row, out);
    if (mask.active()) loops.dropout(out, mask.row(row), out, hidden_size);
  });
}

template <typename T>
class LayerNormBackwardRows {
 public:
  explicit LayerNormBackwardRows(const Backend::LayerNormBackward& args)
      : hidden_size_(args.weight.numel()),
        grad_output_(args.grad_output.data<T>()),
        normalized_(args.normalized.data<T>()),
        rstd_(args.rstd.data<T>()),
        weight_(args.weight.data<T>()),
        mask_(args.mask),
        grad_input_(const_cast<T*>(data_or_null<T>(args.grad_input))),
        grad_residual_(const_cast<T*>(data_or_null<T>(args.grad_residual))) {}

  /// Writes the gradients of one row and adds to the column sums (either may be null).
  void row(int64_t row, T* grad_weight, T* grad_bias) const {
    const int64_t at = row * hidden_size_;
    T* grad_input = row_or_null(grad_input_, row, hidden_size_);
    T* grad_residual = row_or_null(grad_residual_, row, hidden_size_);
    T* grad_sum = grad_residual != nullptr ? grad_residual : grad_input;
    loops_.layer_norm_backward(grad_output_ + at, normalized_ + at, rstd_[row], weight_, grad_sum,
                               grad_weight, grad_bias, hidden_size_);
    if (grad_input == nullptr) return;
    if (mask_.active()) {
      loops_.dropout(grad_sum, mask_.row(row), grad_input, hidden_size_);
    } else if (grad_input != grad_sum) {
      std::copy(grad_sum, grad_sum + hidden_size_, grad_input);
    }
  }

 private:
  int64_t hidden_size_;
  const T *grad_output_, *normalized_, *rstd_, *weight_;
  DropoutRows mask_;
  T *grad_input_, *grad_residual_;
  const vector::Loops<T>& loops_ = vector::loops<T>();
};

template <typename T>
void backward_rows(const Backend::LayerNormBackward& args) {
  const int64_t hidden_size = args.weight.numel();
  const int64_t num_rows = args.grad_output.numel() / hidden_size;
  const int64_t num_blocks = num_partial_sums(num_rows);
  const LayerNormBackwardRows<T> rows(args);
  // One partial sum for each block of rows: [num_blocks, hidden_size]
  const auto make_partial = [&](const Tensor* wanted) {
    return wanted == nullptr ? Tensor() : Tensor::zeros({num_blocks, hidden_size}, wanted->dtype());
  };
  const Tensor partial_weight = make_partial(args.grad_weight), partial_bias = make_partial(args.grad_bias);
  parallel_pieces(num_rows, rows_per_partial_sum, [&](int64_t begin, int64_t end) {
    const auto sums = [&](const Tensor& partial) {
      return partial.defined() ? partial.data<T>() + begin / rows_per_partial_sum * hidden_size : nullptr;
    };
    for (int64_t row = begin; row < end; ++row) rows.row(row, sums(partial_weight), sums(partial_bias));
  });
  if (args.grad_weight != nullptr) {
    sum_partial_rows(partial_weight.data<T>(), num_blocks, hidden_size, args.grad_weight->data<T>());
  }
  if (args.grad_bias != nullptr) {
    sum_partial_rows(partial_bias.data<T>(), num_blocks, hidden_size, args.grad_bias->data<T>());
  }
}

/// A float32 tensor for a result in bfloat16; undefined where none is wanted.
Tensor wide_result(const Tensor* result) {
  return result == nullptr ? Tensor() : Tensor::empty(result->shape(), DType::float32);
}

const Tensor* address_or_null(const Tensor& tensor) {
  return tensor.defined() ? &tensor : nullptr;
}

void round_if_wanted(const Tensor& values, const Tensor* result) {
  if (result != nullptr) round_into(values, *result);
}

void forward_in_float32(CpuBackend& backend, const Backend::LayerNormForward& args) {
  const Tensor residual = args.residual == nullptr ? Tensor() : widened(*args.residual);
  const Tensor output = widened(args.input), normalized = wide_result(args.normalized);
  backend.layer_norm_forward({.input = output,
                              .residual = address_or_null(residual),
                              .mask = args.mask,
                              .weight = args.weight,
                              .bias = args.bias,
                              .eps = args.eps,
                              .output = output,
                              .normalized = address_or_null(normalized),
                              .rstd = args.rstd});
  round_into(output, args.output);
  round_if_wanted(normalized, args.normalized);
}

void backward_in_float32(CpuBackend& backend, const Backend::LayerNormBackward& args) {
  const Tensor grad_input = wide_result(args.grad_input), grad_residual = wide_result(args.grad_residual);
  backend.layer_norm_backward({.grad_output = widened(args.grad_output),
                               .normalized = widened(args.normalized),
                               .rstd = args.rstd,
                               .weight = args.weight,
                               .mask = args.mask,
                               .grad_input = address_or_null(grad_input),
                               .grad_residual = address_or_null(grad_residual),
                               .grad_weight = args.grad_weight,
                               .grad_bias = args.grad_bias,
                               .column_sums = args.column_sums});
  round_if_wanted(grad_input, args.grad_input);
  round_if_wanted(grad_residual, args.grad_residual);
}

}  // namespace

void CpuBackend::layer_norm_forward(const LayerNormForward& args) {
  if (args.input.dtype() == DType::bfloat16) return forward_in_float32(*this, args);
  dispatch_floating(args.input.dtype(), [&]<typename T>() { forward_rows<T>(args); });
}

void CpuBackend::embeddings_layer_norm(const EmbeddingsLayerNorm& args) {
  dispatch_floating(args.output.dtype(), [&]<typename T>() { embeddings_rows<T>(args); });
}

void CpuBackend::layer_norm_backward(const LayerNormBackward& args) {
  if (args.grad_output.dtype() == DType::bfloat16) return backward_in_float32(*this, args);
  dispatch_floating(args.grad_output.dtype(), [&]<typename T>() { backward_rows<T>(args); });
  if (args.grad_input == nullptr || args.column_sums == nullptr) return;
  column_sums({.input = *args.grad_input, .outputs = {*args.column_sums}});
}

}  // namespace normtune
