#include "tests/cuda/attention_cases.h"

namespace normtune::test {

namespace {

MatrixRef part(const AttentionSetting& setting, const Tensor& tensor, int index) {
  if (!setting.fused) return tensor;
  const int64_t begin = setting.margin + index * setting.hidden_size();
  return MatrixRef(tensor).columns(begin, begin + setting.hidden_size());
}

Tensor copy_of_part(const AttentionSetting& setting, const Tensor& tensor, int index) {
  const MatrixRef columns = part(setting, tensor, index);
  const Tensor copy = Tensor::empty({columns.rows, columns.cols}, tensor.dtype(), tensor.device());
  copy.backend().copy_matrix(columns, copy);
  return copy;
}

/// Zeros, as long as nobody writes there.
Tensor copy_of_margin(const AttentionSetting& setting, const Tensor& fused) {
  const Tensor copy = Tensor::empty({fused.size(0), setting.margin}, fused.dtype(), fused.device());
  copy.backend().copy_matrix(MatrixRef(fused).columns(0, setting.margin), copy);
  return copy;
}

/// The gradients of query and key, dS K and dS^T Q, are made of dS = P (dP - rowsum(P dP)), a difference that
/// is small where one probability is almost 1, and for a token alone nothing but rounding errors. What stands
/// for them are the same products of P dP.
Comparison of_attention(const std::vector<Tensor>& in, const Tolerance& tolerance) {
  const double query = root_mean_square(in[0]), key = root_mean_square(in[1]),
               value = root_mean_square(in[2]), grad_context = root_mean_square(in[3]);
  return [=](const std::vector<Tensor>& found, const std::vector<Tensor>& expected) {
    std::vector<double> least_sizes(expected.size());
    least_sizes[2] = root_mean_square(expected[0]) * grad_context * key;
    least_sizes[3] = root_mean_square(expected[4]) * value * query;
    for (size_t i = 0; i < expected.size(); ++i) {
      Tolerance of_result = tolerance;
      of_result.least_size = least_sizes[i];
      BOOST_TEST_CONTEXT("result " << i) check_near(found[i], expected[i], of_result);
    }
  };
}

}  // namespace

std::vector<Tensor> attention_inputs(CaseRandom& random, const Tensor& cu_seqlens, bool first_rows_only,
                                     const AttentionSetting& setting) {
  const std::vector<int32_t> bounds = cu_seqlens.to_vector<int32_t>();
  const int64_t total = bounds.back(), hidden_size = setting.hidden_size();
  std::vector<int32_t> query_bounds = bounds, positions;
  std::vector<int64_t> example_ids;
  for (size_t s = 0; s + 1 < bounds.size(); ++s) {
    if (first_rows_only) query_bounds[s + 1] = query_bounds[s] + 1;
    for (int32_t i = 0; i < query_bounds[s + 1] - query_bounds[s]; ++i) {
      example_ids.push_back(random.integer(0, 1000));
      positions.push_back(i);
    }
  }
  const auto num_queries = static_cast<int64_t>(positions.size());
  const double scale = random.integer(0, 5) == 0 ? 3 : 1;
  std::vector<Tensor> inputs;
  if (setting.fused) {
    inputs.assign(3, random.floats({total, setting.fused_size()}, scale));
  } else {
    inputs = {random.floats({num_queries, hidden_size}, scale), random.floats({total, hidden_size}, scale),
              random.floats({total, hidden_size}, scale)};
  }
  inputs.push_back(random.floats({num_queries, hidden_size}));
  for (Tensor& input : inputs) input = input.to(setting.dtype);
  inputs.push_back(Tensor::from_values({cu_seqlens.numel()}, query_bounds));
  inputs.push_back(cu_seqlens);
  inputs.push_back(Tensor::from_values({num_queries}, example_ids));
  inputs.push_back(Tensor::from_values({num_queries}, positions));
  return inputs;
}

std::vector<Tensor> attention_results(const AttentionSetting& setting, const std::vector<Tensor>& in) {
  const int64_t num_queries = in[3].size(0);
  const DropoutMask mask{setting.probability, setting.key, in[6], in[7]};
  const Tensor context = Tensor::empty_like(in[3]);
  const Tensor log_sum_exp =
      Tensor::empty({num_queries, setting.num_heads}, DType::float32, context.device());
  context.backend().attention_forward({.query = part(setting, in[0], 0),
                                       .key = part(setting, in[1], 1),
                                       .value = part(setting, in[2], 2),
                                       .query_cu_seqlens = in[4],
                                       .cu_seqlens = in[5],
                                       .num_heads = setting.num_heads,
                                       .mask = mask,
                                       .context = context,
                                       .log_sum_exp = &log_sum_exp});
  const auto zeros_like = [](const Tensor& tensor) {
    return Tensor::zeros(tensor.shape(), tensor.dtype(), tensor.device());
  };
  const Tensor grad_query = zeros_like(in[0]);
  const Tensor grad_key = setting.fused ? grad_query : zeros_like(in[1]);
  const Tensor grad_value = setting.fused ? grad_query : zeros_like(in[2]);
  context.backend().attention_backward({.query = part(setting, in[0], 0),
                                        .key = part(setting, in[1], 1),
                                        .value = part(setting, in[2], 2),
                                        .query_cu_seqlens = in[4],
                                        .cu_seqlens = in[5],
                                        .num_heads = setting.num_heads,
                                        .mask = mask,
                                        .log_sum_exp = log_sum_exp,
                                        .grad_context = in[3],
                                        .grad_query = part(setting, grad_query, 0),
                                        .grad_key = part(setting, grad_key, 1),
                                        .grad_value = part(setting, grad_value, 2)});
  // A logarithm near 0 has no relative precision: compared 10 above it.
  const Tensor shifted = Tensor::full(log_sum_exp.shape(), 10, DType::float32, context.device());
  context.backend().add(shifted, log_sum_exp, shifted);
  std::vector<Tensor> results{context, shifted, copy_of_part(setting, grad_query, 0),
                              copy_of_part(setting, grad_key, 1), copy_of_part(setting, grad_value, 2)};
  if (setting.margin > 0 && setting.fused) results.push_back(copy_of_margin(setting, grad_query));
  return results;
}

void check_attention(CaseRandom& random, const CheckCase& check, const Tensor& cu_seqlens,
                     bool first_rows_only, const AttentionSetting& setting, const Tolerance& tolerance) {
  const std::vector<Tensor> inputs = attention_inputs(random, cu_seqlens, first_rows_only, setting);
  check(
      inputs, [setting](const std::vector<Tensor>& in) { return attention_results(setting, in); },
      of_attention(inputs, tolerance));
}

}  // namespace normtune::test
