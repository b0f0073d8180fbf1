#include "tests/cuda/device_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(attention)

namespace {

using Inputs = const std::vector<Tensor>&;

struct Setting {
  int64_t num_heads, head_size;
  double probability;
  PhiloxKey key;
  bool fused;  // query, key and value are columns of one matrix

  int64_t hidden_size() const { return num_heads * head_size; }
};

MatrixRef part(const Setting& setting, const Tensor& tensor, int index) {
  return setting.fused
             ? MatrixRef(tensor).columns(index * setting.hidden_size(), (index + 1) * setting.hidden_size())
             : MatrixRef(tensor);
}

/// Inputs: query, key, value (or three times the fused matrix), grad_context, query_cu_seqlens, cu_seqlens,
/// example_ids, positions. Results: context and the three gradients.
std::vector<Tensor> forward_and_backward(const Setting& setting, Inputs in) {
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
  const Tensor grad_query = Tensor::zeros(in[0].shape(), DType::float32, context.device());
  const Tensor grad_key = setting.fused ? grad_query : Tensor::empty_like(in[1]);
  const Tensor grad_value = setting.fused ? grad_query : Tensor::empty_like(in[2]);
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

/// Query rows are all tokens, or the first of each sequence alone.
void check_sequences(CaseRandom& random, const CheckCase& check, const Tensor& cu_seqlens,
                     bool first_rows_only, const Setting& setting) {
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
    inputs.assign(3, random.floats({total, 3 * hidden_size}, scale));
  } else {
    inputs = {random.floats({num_queries, hidden_size}, scale), random.floats({total, hidden_size}, scale),
              random.floats({total, hidden_size}, scale)};
  }
  inputs.push_back(random.floats({num_queries, hidden_size}));
  inputs.push_back(Tensor::from_values({cu_seqlens.numel()}, query_bounds));
  inputs.push_back(cu_seqlens);
  inputs.push_back(Tensor::from_values({num_queries}, example_ids));
  inputs.push_back(Tensor::from_values({num_queries}, positions));
  check(inputs, [setting](Inputs in) { return forward_and_backward(setting, in); });
}

Setting random_setting(CaseRandom& random, int64_t largest_head, bool fused) {
  return {.num_heads = random.integer(1, 3),
          .head_size = random.size(largest_head),
          .probability = random.coin() ? 0.1 : 0.0,
          .key = dropout_key(random.bits(), 4, 5),
          .fused = fused};
}

}  // namespace

BOOST_AUTO_TEST_CASE(short_sequences) {
  for_generated_cases("short sequences", 250, [](CaseRandom& random, const CheckCase& check) {
    const Tensor cu_seqlens = random.cu_seqlens(random.integer(1, 4), 1, 12);
    check_sequences(random, check, cu_seqlens, false, random_setting(random, 24, random.coin()));
  });
}

/// The heads of BERT-base; on the emulator three of them and shorter sequences.
BOOST_AUTO_TEST_CASE(heads_of_bert) {
  for_generated_cases("heads of BERT", 1, [](CaseRandom& random, const CheckCase& check) {
    Setting setting = random_setting(random, 1, true);
    setting.num_heads = is_emulated() ? 3 : 12;
    setting.head_size = 64;
    setting.probability = 0.1;
    check_sequences(random, check, random.cu_seqlens(4, 1, is_emulated() ? 40 : 128), false, setting);
  });
}

BOOST_AUTO_TEST_CASE(queries_of_first_rows_alone) {
  for_generated_cases("first rows", 120, [](CaseRandom& random, const CheckCase& check) {
    const Tensor cu_seqlens = random.cu_seqlens(random.integer(1, 5), 1, random.coin() ? 10 : 70);
    check_sequences(random, check, cu_seqlens, true, random_setting(random, 20, false));
  });
}

/// Sequences of several tiles, some exactly filled, and empty ones.
BOOST_AUTO_TEST_CASE(several_tiles) {
  for_generated_cases("several tiles", 60, [](CaseRandom& random, const CheckCase& check) {
    static constexpr int32_t lengths[] = {0, 1, 31, 32, 33, 64, 65, 70};
    std::vector<int32_t> bounds{0};
    for (int64_t s = random.integer(1, 2); s >= 0; --s)
      bounds.push_back(bounds.back() + lengths[random.integer(0, 7)]);
    if (bounds.back() == 0) return;
    const auto count = static_cast<int64_t>(bounds.size());
    check_sequences(random, check, Tensor::from_values({count}, bounds), false,
                    random_setting(random, 16, random.coin()));
  });
}

/// Heads so large that tiles have fewer rows than a warp has lanes.
BOOST_AUTO_TEST_CASE(large_heads) {
  for_generated_cases("large heads", 12, [](CaseRandom& random, const CheckCase& check) {
    const int64_t head_sizes[] = {64, 96, 128, 257, 600, 1030};
    Setting setting = random_setting(random, 1, false);
    setting.num_heads = 1;
    setting.head_size = head_sizes[random.integer(0, 5)];
    check_sequences(random, check, random.cu_seqlens(1, 1, 40), false, setting);
  });
}

BOOST_AUTO_TEST_CASE(no_sequences) {
  if (!device_at_hand()) return;
  for_generated_cases("no sequences", 1, [](CaseRandom& random, const CheckCase& check) {
    check_sequences(random, check, Tensor::from_values({1}, std::vector<int32_t>{0}), false,
                    random_setting(random, 8, false));
  });
}

BOOST_AUTO_TEST_SUITE_END()
