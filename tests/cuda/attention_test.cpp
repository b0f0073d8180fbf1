#include "tests/cuda/attention_cases.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(attention)

namespace {

/// Often the size of BERT's heads.
int64_t random_head_size(CaseRandom& random, int64_t largest) {
  if (random.integer(0, 3) > 0) return random.size(largest);
  return random.coin() ? 32 : 64;
}

AttentionSetting random_setting(CaseRandom& random, int64_t largest_head, bool fused) {
  return {.num_heads = random.integer(1, 3),
          .head_size = random_head_size(random, largest_head),
          .probability = random.coin() ? 0.1 : 0.0,
          .key = dropout_key(random.bits(), 4, 5),
          .fused = fused};
}

}  // namespace

BOOST_AUTO_TEST_CASE(short_sequences) {
  for_generated_cases("short sequences", 250, [](CaseRandom& random, const CheckCase& check) {
    const Tensor cu_seqlens = random.cu_seqlens(random.integer(1, 4), 1, random.integer(0, 3) == 0 ? 1 : 12);
    check_attention(random, check, cu_seqlens, false, random_setting(random, 24, random.coin()));
  });
}

/// The heads of BERT-base; on the emulator three of them and shorter sequences.
BOOST_AUTO_TEST_CASE(heads_of_bert) {
  for_generated_cases("heads of BERT", 1, [](CaseRandom& random, const CheckCase& check) {
    AttentionSetting setting = random_setting(random, 1, true);
    setting.num_heads = is_emulated() ? 3 : 12;
    setting.head_size = 64;
    setting.probability = 0.1;
    check_attention(random, check, random.cu_seqlens(4, 1, is_emulated() ? 40 : 128), false, setting);
  });
}

BOOST_AUTO_TEST_CASE(queries_of_first_rows_alone) {
  for_generated_cases("first rows", 120, [](CaseRandom& random, const CheckCase& check) {
    const Tensor cu_seqlens = random.cu_seqlens(random.integer(1, 5), 1, random.coin() ? 10 : 70);
    check_attention(random, check, cu_seqlens, true, random_setting(random, 20, false));
  });
}

/// Sequences of several tiles, some exactly filled, and empty ones.
BOOST_AUTO_TEST_CASE(several_tiles) {
  for_generated_cases("several tiles", 60, [](CaseRandom& random, const CheckCase& check) {
    static constexpr int32_t lengths[] = {0, 1, 31, 32, 33, 64, 65, 70};
    std::vector<int32_t> bounds{0};
    for (int64_t s = random.integer(1, 2); s >= 0; --s)
      bounds.push_back(bounds.back() + lengths[random.integer(0, 7)]);
    const auto count = static_cast<int64_t>(bounds.size());
    check_attention(random, check, Tensor::from_values({count}, bounds), false,
                    random_setting(random, 16, random.coin()));
  });
}

/// Heads so large that tiles have fewer rows than a warp has lanes.
BOOST_AUTO_TEST_CASE(large_heads) {
  for_generated_cases("large heads", 12, [](CaseRandom& random, const CheckCase& check) {
    const int64_t head_sizes[] = {64, 96, 128, 257, 600, 1030};
    AttentionSetting setting = random_setting(random, 1, false);
    setting.num_heads = 1;
    setting.head_size = head_sizes[random.integer(0, 5)];
    check_attention(random, check, random.cu_seqlens(1, 1, 40), false, setting);
  });
}

BOOST_AUTO_TEST_CASE(no_sequences) {
  if (!device_at_hand()) return;
  for_generated_cases("no sequences", 1, [](CaseRandom& random, const CheckCase& check) {
    check_attention(random, check, Tensor::from_values({1}, std::vector<int32_t>{0}), false,
                    random_setting(random, 8, false));
  });
}

BOOST_AUTO_TEST_SUITE_END()
