#pragma once

#include "tests/cuda/device_testing.h"

/// Calls of attention, forward and backward, for the tests of its kernels.
namespace normtune::test {

struct AttentionSetting {
  int64_t num_heads, head_size;
  double probability;
  PhiloxKey key;
  bool fused;          // query, key and value are columns of one matrix
  int64_t margin = 0;  // columns before them in that matrix
  DType dtype = DType::float32;

  int64_t hidden_size() const { return num_heads * head_size; }
  int64_t fused_size() const { return margin + 3 * hidden_size(); }
};

/// Random query, key, value (or three times the fused matrix), grad_context, query_cu_seqlens, cu_seqlens,
/// example_ids, positions. Query rows are all tokens, or the first of each sequence alone.
std::vector<Tensor> attention_inputs(CaseRandom& random, const Tensor& cu_seqlens, bool first_rows_only,
                                     const AttentionSetting& setting);

/// Context, log_sum_exp + 10, the gradients of query, key and value, and what the matrix of the fused ones
/// has in its margin.
std::vector<Tensor> attention_results(const AttentionSetting& setting, const std::vector<Tensor>& inputs);

/// Checks a case with such inputs and results.
void check_attention(CaseRandom& random, const CheckCase& check, const Tensor& cu_seqlens,
                     bool first_rows_only, const AttentionSetting& setting, const Tolerance& tolerance = {});

}  // namespace normtune::test
