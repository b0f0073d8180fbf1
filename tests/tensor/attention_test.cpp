#include <cmath>
#include <optional>

#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(attention)

namespace {

/// Packed sequences of given lengths, with one query row for each token or for the first tokens only.
struct Sample {
  int64_t num_heads, head_size;
  std::vector<int32_t> query_cu_seqlens{0}, cu_seqlens{0};
  Tensor query, key, value, grad_context;
  DropoutMask mask;

  Sample(const std::vector<int32_t>& query_lengths, const std::vector<int32_t>& lengths, int64_t heads,
         int64_t size, DType dtype, double probability, double scale = 2)
      : num_heads(heads), head_size(size) {
    std::vector<int64_t> example_ids;
    std::vector<int32_t> positions;
    for (size_t s = 0; s < lengths.size(); ++s) {
      query_cu_seqlens.push_back(query_cu_seqlens.back() + query_lengths[s]);
      cu_seqlens.push_back(cu_seqlens.back() + lengths[s]);
      for (int32_t i = 0; i < query_lengths[s]; ++i) {
        example_ids.push_back(static_cast<int64_t>(100 + s));
        positions.push_back(i);
      }
    }
    query = random_tensor({query_cu_seqlens.back(), heads * size}, dtype, 1, scale);
    key = random_tensor({cu_seqlens.back(), heads * size}, dtype, 2, scale);
    value = random_tensor({cu_seqlens.back(), heads * size}, dtype, 3);
    grad_context = random_tensor(query.shape(), dtype, 4);
    mask = {.probability = probability,
            .key = dropout_key(5, 6, 7),
            .example_ids = indices64(example_ids),
            .positions = indices(positions)};
  }
  Sample(const std::vector<int32_t>& lengths, int64_t heads, int64_t size, DType dtype,
         double probability = 0, double scale = 2)
      : Sample(lengths, lengths, heads, size, dtype, probability, scale) {}

  int64_t hidden_size() const { return num_heads * head_size; }
};

struct Forward {
  Tensor context, log_sum_exp;
};

Forward run_forward(const Sample& sample) {
  Forward result{Tensor::empty_like(sample.query),
                 Tensor::empty({sample.query.size(0), sample.num_heads}, sample.query.dtype())};
  cpu().attention_forward({.query = sample.query,
                           .key = sample.key,
                           .value = sample.value,
                           .query_cu_seqlens = indices(sample.query_cu_seqlens),
                           .cu_seqlens = indices(sample.cu_seqlens),
                           .num_heads = sample.num_heads,
                           .mask = sample.mask,
                           .context = result.context,
                           .log_sum_exp = &result.log_sum_exp});
  return result;
}

struct Backward {
  Tensor query, key, value;
};

Backward run_backward(const Sample& sample, const Tensor& log_sum_exp) {
  Backward result{Tensor::empty_like(sample.query), Tensor::empty_like(sample.key),
                  Tensor::empty_like(sample.value)};
  cpu().attention_backward({.query = sample.query,
                            .key = sample.key,
                            .value = sample.value,
                            .query_cu_seqlens = indices(sample.query_cu_seqlens),
                            .cu_seqlens = indices(sample.cu_seqlens),
                            .num_heads = sample.num_heads,
                            .mask = sample.mask,
                            .log_sum_exp = log_sum_exp,
                            .grad_context = sample.grad_context,
                            .grad_query = result.query,
                            .grad_key = result.key,
                            .grad_value = result.value});
  return result;
}

struct Reference {
  std::vector<double> context, log_sum_exp, grad_query, grad_key, grad_value;
};

/// Attention and its gradient of one query row by plain loops over keys and channels.
class ReferenceRow {
 public:
  ReferenceRow(const Sample& sample, Reference& result) : sample_(sample), result_(result) {}

  void run(int64_t row, int64_t head, int64_t key_begin, int64_t key_end) {
    const size_t keys = static_cast<size_t>(key_end - key_begin);
    const double factor = 1 / std::sqrt(static_cast<double>(sample_.head_size));
    std::vector<double> probs(keys), kept(keys), grad_probs(keys);
    double max = -1e300, total = 0, dot = 0;
    for (size_t j = 0; j < keys; ++j) {
      for (int64_t c = 0; c < sample_.head_size; ++c) {
        probs[j] += factor * query[at(row, head, c)] * key[at(key_begin, head, c, j)];
      }
      max = std::max(max, probs[j]);
    }
    for (double& p : probs) total += p = std::exp(p - max);
    result_.log_sum_exp[static_cast<size_t>(row * sample_.num_heads + head)] = max + std::log(total);
    for (size_t j = 0; j < keys; ++j) {
      probs[j] /= total;
      kept[j] = dropout_factor(sample_.mask, row, static_cast<int64_t>(j), static_cast<uint32_t>(head));
      for (int64_t c = 0; c < sample_.head_size; ++c) {
        const double v = value[at(key_begin, head, c, j)], g = grad_context[at(row, head, c)];
        result_.context[at(row, head, c)] += probs[j] * kept[j] * v;
        result_.grad_value[at(key_begin, head, c, j)] += probs[j] * kept[j] * g;
        grad_probs[j] += kept[j] * g * v;
      }
      dot += probs[j] * grad_probs[j];
    }
    for (size_t j = 0; j < keys; ++j) {
      const double grad_score = probs[j] * (grad_probs[j] - dot) * factor;
      for (int64_t c = 0; c < sample_.head_size; ++c) {
        result_.grad_query[at(row, head, c)] += grad_score * key[at(key_begin, head, c, j)];
        result_.grad_key[at(key_begin, head, c, j)] += grad_score * query[at(row, head, c)];
      }
    }
  }

 private:
  size_t at(int64_t row, int64_t head, int64_t channel, size_t offset = 0) const {
    return (static_cast<size_t>(row) + offset) * static_cast<size_t>(sample_.hidden_size()) +
           static_cast<size_t>(head * sample_.head_size + channel);
  }

  const Sample& sample_;
  Reference& result_;
  std::vector<double> query = values_of(sample_.query), key = values_of(sample_.key),
                      value = values_of(sample_.value), grad_context = values_of(sample_.grad_context);
};

Reference reference(const Sample& sample) {
  Reference result;
  result.context.assign(static_cast<size_t>(sample.query.numel()), 0);
  result.log_sum_exp.assign(static_cast<size_t>(sample.query.size(0) * sample.num_heads), 0);
  result.grad_query = result.context;
  result.grad_key.assign(static_cast<size_t>(sample.key.numel()), 0);
  result.grad_value = result.grad_key;
  ReferenceRow row_of(sample, result);
  for (size_t s = 0; s + 1 < sample.cu_seqlens.size(); ++s) {
    for (int64_t row = sample.query_cu_seqlens[s]; row < sample.query_cu_seqlens[s + 1]; ++row) {
      for (int64_t head = 0; head < sample.num_heads; ++head) {
        row_of.run(row, head, sample.cu_seqlens[s], sample.cu_seqlens[s + 1]);
      }
    }
  }
  return result;
}

void check_sample(const Sample& sample, const Tolerance& tolerance = reduction) {
  const double bound = tolerance.of(sample.query.dtype());
  const Reference expected = reference(sample);
  const Forward forward = run_forward(sample);
  BOOST_CHECK(largest_error(values_of(forward.context), expected.context) <= bound);
  BOOST_CHECK(largest_error(values_of(forward.log_sum_exp), expected.log_sum_exp) <= bound);
  const Backward backward = run_backward(sample, forward.log_sum_exp);
  BOOST_CHECK(largest_error(values_of(backward.query), expected.grad_query) <= bound);
  BOOST_CHECK(largest_error(values_of(backward.key), expected.grad_key) <= bound);
  BOOST_CHECK(largest_error(values_of(backward.value), expected.grad_value) <= bound);
}

}  // namespace

BOOST_AUTO_TEST_CASE(sequences_of_any_length) {
  for_each_setting([](DType dtype) {
    for (const double probability : {0.0, 0.3}) {
      check_sample({{1}, 1, 4, dtype, probability});
      check_sample({{3, 1, 17, 2}, 2, 12, dtype, probability});
      check_sample({{5, 40}, 3, 33, dtype, probability});
      check_sample({{65}, 2, 64, dtype, probability});
      check_sample({{2, 0, 3}, 2, 5, dtype, probability});
    }
  });
}

/// More query rows than one block has (128, and fewer for many keys).
BOOST_AUTO_TEST_CASE(several_blocks_of_query_rows) {
  for_each_setting([](DType dtype) {
    check_sample({{300}, 1, 8, dtype, 0.1});
    check_sample({{129, 3}, 2, 12, dtype, 0.1});
    check_sample({{40}, {5000}, 1, 3, dtype, 0.1});
  });
}

BOOST_AUTO_TEST_CASE(only_the_first_row_of_each_sequence_asks) {
  for_each_setting([](DType dtype) {
    check_sample({{1, 1, 1}, {7, 1, 33}, 2, 12, dtype, 0.2});
    check_sample({{1, 0, 2}, {7, 4, 33}, 2, 12, dtype, 0.2});  // nobody asks the second one
  });
}

BOOST_AUTO_TEST_CASE(steep_and_equal_scores) {
  for_each_setting([](DType dtype) {
    // Scores of +-1e4: one key takes all. In float the scores themselves are good to 1e-3 only.
    const Sample steep({9, 4}, 1, 16, dtype, 0, 100);
    const Forward forward = run_forward(steep);
    for (const double x : values_of(forward.context)) BOOST_TEST(std::isfinite(x));
    const Backward backward = run_backward(steep, forward.log_sum_exp);
    for (const Tensor& gradient : {backward.query, backward.key, backward.value}) {
      for (const double x : values_of(gradient)) BOOST_TEST(std::isfinite(x));
    }
    if (dtype == DType::float64) check_sample(steep, {1e-9, 0});
    check_sample({{9, 4}, 2, 8, dtype, 0, 0});  // all scores are 0
  });
}

/// Query, key and value as thirds of one product, gradients likewise.
BOOST_AUTO_TEST_CASE(reads_and_writes_parts_of_a_fused_matrix) {
  for_each_setting([](DType dtype) {
    const Sample sample({6, 11}, 2, 12, dtype, 0.2);
    const int64_t rows = 17, hidden_size = 24;
    const Tensor fused = Tensor::empty({rows, 3 * hidden_size}, dtype),
                 grad_fused = Tensor::empty_like(fused);
    const auto third = [&](const Tensor& tensor, int64_t i) {
      return MatrixRef(tensor).columns(i * hidden_size, (i + 1) * hidden_size);
    };
    cpu().copy_matrix(sample.query, third(fused, 0));
    cpu().copy_matrix(sample.key, third(fused, 1));
    cpu().copy_matrix(sample.value, third(fused, 2));
    const Tensor cu_seqlens = indices(sample.cu_seqlens), context = Tensor::empty_like(sample.query);
    cpu().attention_forward({.query = third(fused, 0),
                             .key = third(fused, 1),
                             .value = third(fused, 2),
                             .query_cu_seqlens = cu_seqlens,
                             .cu_seqlens = cu_seqlens,
                             .num_heads = 2,
                             .mask = sample.mask,
                             .context = context,
                             .log_sum_exp = nullptr});
    const Forward forward = run_forward(sample);
    BOOST_TEST(equal_bits(context, forward.context));
    cpu().attention_backward({.query = third(fused, 0),
                              .key = third(fused, 1),
                              .value = third(fused, 2),
                              .query_cu_seqlens = cu_seqlens,
                              .cu_seqlens = cu_seqlens,
                              .num_heads = 2,
                              .mask = sample.mask,
                              .log_sum_exp = forward.log_sum_exp,
                              .grad_context = sample.grad_context,
                              .grad_query = third(grad_fused, 0),
                              .grad_key = third(grad_fused, 1),
                              .grad_value = third(grad_fused, 2)});
    const Backward backward = run_backward(sample, forward.log_sum_exp);
    BOOST_TEST(values_of(third(grad_fused, 0)) == values_of(backward.query));
    BOOST_TEST(values_of(third(grad_fused, 1)) == values_of(backward.key));
    BOOST_TEST(values_of(third(grad_fused, 2)) == values_of(backward.value));
  });
}

/// A sequence has the same bits alone and among others.
BOOST_AUTO_TEST_CASE(packing_changes_nothing) {
  for_each_setting([](DType dtype) {
    const Sample all({30, 7, 129}, 2, 12, dtype, 0.2);
    const Forward together = run_forward(all);
    for (size_t s = 0; s < 3; ++s) {
      const int32_t begin = all.cu_seqlens[s], end = all.cu_seqlens[s + 1];
      Sample one({end - begin}, 2, 12, dtype);
      one.query = all.query.slice(begin, end);
      one.key = all.key.slice(begin, end);
      one.value = all.value.slice(begin, end);
      one.mask = all.mask;
      one.mask.example_ids = all.mask.example_ids.slice(begin, end);
      one.mask.positions = all.mask.positions.slice(begin, end);
      BOOST_TEST(equal_bits(run_forward(one).context, together.context.slice(begin, end)));
    }
  });
}

BOOST_AUTO_TEST_CASE(a_repeated_step_asks_the_system_for_nothing) {
  const Sample sample({30, 7, 129}, 4, 12, DType::float32, 0.2);
  const auto step = [&] { run_backward(sample, run_forward(sample).log_sum_exp); };
  step();
  const AllocatorStats before = cpu().allocator().stats();
  for (int i = 0; i < 3; ++i) step();
  BOOST_TEST(cpu().allocator().stats().system_allocations == before.system_allocations);
  BOOST_TEST(cpu().allocator().stats().in_use == before.in_use);
}

BOOST_AUTO_TEST_SUITE_END()
