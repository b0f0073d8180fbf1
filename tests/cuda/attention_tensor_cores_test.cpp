#include <array>

#include "tests/cuda/attention_cases.h"

using namespace normtune;
using namespace normtune::test;

/// Attention of tensors in bfloat16. u = 2^-8 is the largest relative error of a rounded number; over random
/// ones the mean of its square is about u^2 / 6.
BOOST_AUTO_TEST_SUITE(attention_tensor_cores)

namespace {

/// Against the CPU, which widens the same tensors, computes in float32 and rounds the results. The device
/// rounds probabilities and grad_scores besides: of each result two roundings on the device and one on the
/// CPU, an NMSE of about 3 u^2 / 6 = 7.6e-6, and more for sums alone that cancel: 2 u^2 = 3e-5 is allowed.
/// log_sum_exp is as exact as in float32.
constexpr Tolerance near_the_cpu{.bfloat16 = 3e-5};

AttentionSetting random_setting(CaseRandom& random, bool fused) {
  static constexpr int64_t head_sizes[] = {16, 32, 48, 64, 64, 80, 96, 112, 128};
  return {.num_heads = random.integer(1, 3),
          .head_size = head_sizes[random.integer(0, std::size(head_sizes) - 1)],
          .probability = random.coin() ? 0.1 : 0.0,
          .key = dropout_key(random.bits(), 4, 5),
          .fused = fused,
          .margin = random.coin() ? random.integer(1, 8) : 0,
          .dtype = DType::bfloat16};
}

}  // namespace

BOOST_AUTO_TEST_CASE(short_sequences) {
  for_generated_cases("short sequences on tensor cores", 40, [](CaseRandom& random, const CheckCase& check) {
    const int64_t longest = std::array{1, 3, 20, 20}[random.integer(0, 3)];
    const Tensor cu_seqlens = random.cu_seqlens(random.integer(1, 4), 1, longest);
    check_attention(random, check, cu_seqlens, false, random_setting(random, random.coin()), near_the_cpu);
  });
}

/// Sequences of several tiles, some exactly filled, and empty ones.
BOOST_AUTO_TEST_CASE(several_tiles) {
  for_generated_cases("several tiles on tensor cores", 20, [](CaseRandom& random, const CheckCase& check) {
    static constexpr int32_t lengths[] = {0, 1, 15, 16, 17, 63, 64, 65, 129, 150};
    std::vector<int32_t> bounds{0, 7};
    for (int64_t s = random.integer(1, 2); s >= 0; --s)
      bounds.push_back(bounds.back() + lengths[random.integer(0, std::size(lengths) - 1)]);
    const Tensor cu_seqlens = Tensor::from_values({static_cast<int64_t>(bounds.size())}, bounds);
    check_attention(random, check, cu_seqlens, false, random_setting(random, random.coin()), near_the_cpu);
  });
}

/// Of 512 tokens backward remembers what dropout keeps, of more it draws that twice.
BOOST_AUTO_TEST_CASE(long_sequences) {
  for_generated_cases("long sequences on tensor cores", 1, [](CaseRandom& random, const CheckCase& check) {
    for (const int32_t length : {512, 577}) {
      const Tensor cu_seqlens = Tensor::from_values({3}, std::vector<int32_t>{0, 3, 3 + length});
      check_attention(random, check, cu_seqlens, false,
                      {.num_heads = 1,
                       .head_size = 32,
                       .probability = 0.1,
                       .key = dropout_key(random.bits(), 4, 5),
                       .fused = true,
                       .margin = 0,
                       .dtype = DType::bfloat16},
                      near_the_cpu);
    }
  });
}

BOOST_AUTO_TEST_CASE(queries_of_first_rows_alone) {
  for_generated_cases("first rows on tensor cores", 20, [](CaseRandom& random, const CheckCase& check) {
    const Tensor cu_seqlens = random.cu_seqlens(random.integer(1, 5), 1, random.coin() ? 20 : 140);
    check_attention(random, check, cu_seqlens, true, random_setting(random, false), near_the_cpu);
  });
}

BOOST_AUTO_TEST_CASE(no_sequences) {
  for_generated_cases("no sequences on tensor cores", 1, [](CaseRandom& random, const CheckCase& check) {
    check_attention(random, check, Tensor::from_values({1}, std::vector<int32_t>{0}), false,
                    random_setting(random, false), near_the_cpu);
  });
}

namespace {

/// Row `first + i` of each sequence has a one in channel i of every head, for i < head_size; all else is
/// zero.
Tensor ones_of_window(const AttentionSetting& setting, const std::vector<int32_t>& bounds, int64_t first) {
  std::vector<float> values(static_cast<size_t>(bounds.back() * setting.hidden_size()));
  for (size_t s = 0; s + 1 < bounds.size(); ++s) {
    const int64_t end = std::min<int64_t>(bounds[s] + first + setting.head_size, bounds[s + 1]);
    for (int64_t row = bounds[s] + first; row < end; ++row) {
      for (int64_t head = 0; head < setting.num_heads; ++head) {
        const int64_t channel = row - bounds[s] - first;
        values[static_cast<size_t>(row * setting.hidden_size() + head * setting.head_size + channel)] = 1;
      }
    }
  }
  return Tensor::from_values({bounds.back(), setting.hidden_size()}, values).to(setting.dtype);
}

std::vector<bool> zeros_of(const Tensor& tensor) {
  std::vector<bool> zeros;
  for (const float value : floats_of(tensor)) zeros.push_back(value == 0);
  return zeros;
}

}  // namespace

/// With value and grad_context ones of a window, context shows the probabilities of these keys and grad_value
/// those of these queries. They are zero where dropout fell on them, and nowhere else.
BOOST_AUTO_TEST_CASE(dropout_masks_are_the_cpus) {
  const Comparison same_zeros = [](const std::vector<Tensor>& found, const std::vector<Tensor>& expected) {
    for (const size_t of_probabilities : {0, 4}) {
      BOOST_CHECK(zeros_of(found[of_probabilities]) == zeros_of(expected[of_probabilities]));
    }
  };
  for_generated_cases("masks on tensor cores", 24, [&](CaseRandom& random, const CheckCase& check) {
    AttentionSetting setting = random_setting(random, false);
    setting.probability = 0.3;
    const std::vector<int32_t> bounds{0, 13, 13, 30, 30 + static_cast<int32_t>(random.integer(60, 140))};
    const Tensor cu_seqlens = Tensor::from_values({static_cast<int64_t>(bounds.size())}, bounds);
    std::vector<Tensor> inputs = attention_inputs(random, cu_seqlens, false, setting);
    const int64_t longest = bounds[4] - bounds[3];
    const int64_t first = setting.head_size * random.integer(0, (longest - 1) / setting.head_size);
    inputs[2] = inputs[3] = ones_of_window(setting, bounds, first);
    check(
        inputs, [setting](const std::vector<Tensor>& in) { return attention_results(setting, in); },
        same_zeros);
  });
}

/// Heads that tensor cores have no kernel for are computed in float32 and rounded.
BOOST_AUTO_TEST_CASE(other_heads_in_float32) {
  for_generated_cases("other heads", 12, [](CaseRandom& random, const CheckCase& check) {
    static constexpr int64_t head_sizes[] = {1, 8, 24, 40, 144};
    AttentionSetting setting = random_setting(random, random.coin());
    setting.head_size = head_sizes[random.integer(0, std::size(head_sizes) - 1)];
    check_attention(random, check, random.cu_seqlens(2, 1, 40), random.coin() && !setting.fused, setting);
  });
}

/// What is in float32 is computed in float32, whatever products round their factors to.
BOOST_AUTO_TEST_CASE(float32_stays_float32) {
  for_generated_cases("heads in float32", 4, [](CaseRandom& random, const CheckCase& check) {
    AttentionSetting setting = random_setting(random, random.coin());
    setting.dtype = DType::float32;
    check(attention_inputs(random, random.cu_seqlens(2, 1, 40), false, setting),
          [setting](const std::vector<Tensor>& in) {
            Backend& backend = in[0].backend();
            backend.set_product_precision(ProductPrecision::bf16);
            const std::vector<Tensor> results = attention_results(setting, in);
            backend.set_product_precision(ProductPrecision::float32);
            return results;
          });
  });
}

BOOST_AUTO_TEST_SUITE_END()
