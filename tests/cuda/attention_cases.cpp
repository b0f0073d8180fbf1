#include "tests/cuda/attention_cases.h"

namespace normtune::test {

namespace {

MatrixRef part(const AttentionSetting& setting, const Tensor& tensor, int index) {
  if (!setting.fused) return tensor;
  const int64_t begin = setting.margin + index * setting.hidden_size();
  return MatrixRef(tensor).columns(begin, begin + setting.hidden_size());
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
  return {context, shifted, grad_query, grad_key, grad_value};
}

}  // namespace normtune::test
