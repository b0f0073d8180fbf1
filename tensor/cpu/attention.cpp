#include <omp.h>

#include <algorithm>
#include <cmath>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/dropout_rows.h"
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/task_grid.h"
#include "tensor/cpu/vector/dispatch.h"
#include "tensor/widened.h"

// Letters: d = size of a head, S = keys of the sequence, Q = query rows of a block.

namespace normtune {
namespace {

/// Query rows that are worked on at a time: the scores of a block fit the second-level cache.
int64_t query_block_rows(int64_t num_keys) {
  return std::clamp<int64_t>(65536 / std::max<int64_t>(num_keys, 1), 16, 128);
}

/// Elements of the largest block [Q, S].
int64_t largest_block(const int32_t* query_cu_seqlens, const int32_t* cu_seqlens, int64_t batch) {
  int64_t largest = 0;
  for (int64_t s = 0; s < batch; ++s) {
    const int64_t num_keys = cu_seqlens[s + 1] - cu_seqlens[s];
    const int64_t num_queries = query_cu_seqlens[s + 1] - query_cu_seqlens[s];
    largest = std::max(largest, std::min(query_block_rows(num_keys), num_queries) * num_keys);
  }
  return largest;
}

/// A head's columns of some rows of a matrix.
template <typename T>
struct HeadRows {
  T* data;
  int64_t ld;
};

template <typename T>
HeadRows<T> head_rows(const MatrixRef& matrix, int64_t row, int64_t head, int64_t head_size) {
  return {matrix.as<T>() + row * matrix.ld + head * head_size, matrix.ld};
}

/// The place of one (sequence, head) pair in the packed matrices.
struct Pair {
  int64_t head, key_begin, num_keys, query_begin, query_end;
};

/// Calls body(pair, scratch of this thread) for each (sequence, head) pair.
template <typename T, typename Args, typename Body>
void for_each_pair(const Args& args, int64_t scratch_blocks, const Body& body) {
  const int32_t* query_cu_seqlens = args.query_cu_seqlens.template data<int32_t>();
  const int32_t* cu_seqlens = args.cu_seqlens.template data<int32_t>();
  const int64_t batch = args.cu_seqlens.numel() - 1;
  const int64_t block_elements = largest_block(query_cu_seqlens, cu_seqlens, batch);
  const Tensor scratch =
      Tensor::empty({omp_get_max_threads(), scratch_blocks, block_elements}, dtype_of<T>());
  TaskGrid pairs(batch, args.num_heads, omp_get_max_threads());
#pragma omp parallel
  {
    const int64_t thread = omp_get_thread_num();
    while (const auto pair = pairs.next(thread)) {
      const int64_t s = pair->row;
      body(Pair{.head = pair->column,
                .key_begin = cu_seqlens[s],
                .num_keys = cu_seqlens[s + 1] - cu_seqlens[s],
                .query_begin = query_cu_seqlens[s],
                .query_end = query_cu_seqlens[s + 1]},
           scratch.data<T>() + thread * scratch_blocks * block_elements, block_elements);
    }
  }
}

/// c [m, n] = a [m, k] b^T, b [n, k]
template <typename T>
void multiply_nt(HeadRows<T> a, HeadRows<T> b, HeadRows<T> c, int64_t m, int64_t n, int64_t k) {
  gemm_in_thread(Gemm<T>{.m = m,
                         .n = n,
                         .k = k,
                         .a = a.data,
                         .lda = a.ld,
                         .transpose_a = false,
                         .b = b.data,
                         .ldb = b.ld,
                         .transpose_b = true,
                         .c = c.data,
                         .ldc = c.ld,
                         .accumulate = false});
}

/// c [m, n] = a [m, k] b [k, n]
template <typename T>
void multiply_nn(HeadRows<T> a, HeadRows<T> b, HeadRows<T> c, int64_t m, int64_t n, int64_t k) {
  gemm_in_thread(Gemm<T>{.m = m,
                         .n = n,
                         .k = k,
                         .a = a.data,
                         .lda = a.ld,
                         .transpose_a = false,
                         .b = b.data,
                         .ldb = b.ld,
                         .transpose_b = false,
                         .c = c.data,
                         .ldc = c.ld,
                         .accumulate = false});
}

/// c [m, n] (+)= a^T b, a [k, m], b [k, n]
template <typename T>
void multiply_tn(HeadRows<T> a, HeadRows<T> b, HeadRows<T> c, int64_t m, int64_t n, int64_t k,
                 bool accumulate) {
  gemm_in_thread(Gemm<T>{.m = m,
                         .n = n,
                         .k = k,
                         .a = a.data,
                         .lda = a.ld,
                         .transpose_a = true,
                         .b = b.data,
                         .ldb = b.ld,
                         .transpose_b = false,
                         .c = c.data,
                         .ldc = c.ld,
                         .accumulate = accumulate});
}

template <typename T>
void forward_pair(const Backend::AttentionForward& args, const Pair& pair, T* scratch) {
  const int64_t d = args.query.cols / args.num_heads, num_keys = pair.num_keys;
  const auto factor = static_cast<T>(1 / std::sqrt(static_cast<double>(d)));
  const DropoutRows mask(args.mask);
  const auto& loops = vector::loops<T>();
  const HeadRows<T> probs{scratch, num_keys};
  const auto key = head_rows<T>(args.key, pair.key_begin, pair.head, d);
  const auto value = head_rows<T>(args.value, pair.key_begin, pair.head, d);
  const int64_t step = query_block_rows(num_keys);
  for (int64_t begin = pair.query_begin; begin < pair.query_end; begin += step) {
    const int64_t rows = std::min(step, pair.query_end - begin);
    multiply_nt(head_rows<T>(args.query, begin, pair.head, d), key, probs, rows, num_keys, d);
    for (int64_t i = 0; i < rows && num_keys > 0; ++i) {
      T* row = scratch + i * num_keys;
      const vector::LogSumExp log_sum_exp = loops.softmax(row, factor, row, num_keys);
      if (args.log_sum_exp != nullptr) {
        args.log_sum_exp->data<T>()[(begin + i) * args.num_heads + pair.head] =
            static_cast<T>(log_sum_exp.max + log_sum_exp.log_sum);
      }
      if (mask.active()) loops.dropout(row, mask.row(begin + i, pair.head), row, num_keys);
    }
    multiply_nn(probs, value, head_rows<T>(args.context, begin, pair.head, d), rows, d, num_keys);
  }
}

template <typename T>
void backward_pair(const Backend::AttentionBackward& args, const Pair& pair, T* scratch,
                   int64_t block_elements) {
  const int64_t d = args.query.cols / args.num_heads, num_keys = pair.num_keys;
  const auto factor = static_cast<T>(1 / std::sqrt(static_cast<double>(d)));
  const DropoutRows mask(args.mask);
  const auto& loops = vector::loops<T>();
  const HeadRows<T> probs{scratch, num_keys}, dropped{scratch + block_elements, num_keys},
      grad_probs{scratch + 2 * block_elements, num_keys};
  const auto at = [&](const MatrixRef& matrix, int64_t row) {
    return head_rows<T>(matrix, row, pair.head, d);
  };
  const auto key = at(args.key, pair.key_begin), value = at(args.value, pair.key_begin);
  const auto grad_key = at(args.grad_key, pair.key_begin), grad_value = at(args.grad_value, pair.key_begin);
  const T* log_sum_exp = args.log_sum_exp.data<T>();
  const int64_t step = query_block_rows(num_keys);
  bool accumulate = false;
  for (int64_t begin = pair.query_begin; begin < pair.query_end; begin += step, accumulate = true) {
    const int64_t rows = std::min(step, pair.query_end - begin);
    const auto query = at(args.query, begin), grad_context = at(args.grad_context, begin);
    multiply_nt(query, key, probs, rows, num_keys, d);
    multiply_nt(grad_context, value, grad_probs, rows, num_keys, d);
    for (int64_t i = 0; i < rows; ++i) {
      T *p = probs.data + i * num_keys, *dp = grad_probs.data + i * num_keys,
        *kept = dropped.data + i * num_keys;
      loops.exp_shifted(p, factor, log_sum_exp[(begin + i) * args.num_heads + pair.head], p, num_keys);
      if (mask.active()) {
        loops.dropout_both(p, dp, mask.row(begin + i, pair.head), kept, dp, num_keys);
      }
      loops.softmax_backward(p, dp, factor, dp, num_keys);
    }
    multiply_tn(mask.active() ? dropped : probs, grad_context, grad_value, num_keys, d, rows, accumulate);
    multiply_nn(grad_probs, key, at(args.grad_query, begin), rows, d, num_keys);
    multiply_tn(grad_probs, query, grad_key, num_keys, d, rows, accumulate);
  }
  if (accumulate) return;
  // No query asked this sequence.
  multiply_tn(probs, key, grad_key, num_keys, d, 0, false);
  multiply_tn(probs, value, grad_value, num_keys, d, 0, false);
}

}  // namespace

void CpuBackend::attention_forward(const AttentionForward& args) {
  if (args.query.dtype == DType::bfloat16) return attention_forward_in_float32(args);
  dispatch_floating(args.query.dtype, [&]<typename T>() {
    for_each_pair<T>(args, 1,
                     [&](const Pair& pair, T* scratch, int64_t) { forward_pair<T>(args, pair, scratch); });
  });
}

void CpuBackend::attention_backward(const AttentionBackward& args) {
  if (args.query.dtype == DType::bfloat16) return attention_backward_in_float32(args);
  dispatch_floating(args.query.dtype, [&]<typename T>() {
    for_each_pair<T>(args, 3, [&](const Pair& pair, T* scratch, int64_t block_elements) {
      backward_pair<T>(args, pair, scratch, block_elements);
    });
  });
}

}  // namespace normtune
