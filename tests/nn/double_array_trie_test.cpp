#include "nn/double_array_trie.h"

#include <boost/test/unit_test.hpp>
#include <map>
#include <string>

#include "tests/nn/tokenizer_oracle.h"

using namespace normtune;
using namespace normtune::testing;

namespace {

using Entries = std::vector<std::pair<std::string_view, int32_t>>;

DoubleArrayTrie make_trie(const std::map<std::string, int32_t>& ids) {
  return DoubleArrayTrie(Entries(ids.begin(), ids.end()));
}

/// A text of up to `max_length` bytes out of `alphabet_size` values, so that prefixes repeat.
std::string random_bytes(SplitMix64& random, uint64_t max_length, uint64_t alphabet_size) {
  std::string text;
  for (uint64_t left = random.below(max_length + 1); left > 0; --left) {
    text +=
        static_cast<char>(random.below(alphabet_size) * 85);  // 0, 85, 170, 255: all parts of the byte range
  }
  return text;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(double_array_trie)

BOOST_AUTO_TEST_CASE(finds_the_longest_of_random_keys) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    BOOST_TEST_CONTEXT("seed " << seed) {
      SplitMix64 random(seed);
      std::map<std::string, int32_t> ids;
      for (int32_t id = 0; id < 300; ++id) {
        const std::string key = random_bytes(random, 8, 4);
        if (!key.empty()) ids.emplace(key, id);
      }
      const DoubleArrayTrie trie = make_trie(ids);
      for (int i = 0; i < 500; ++i) {
        const std::string text = random_bytes(random, 12, 4);
        DoubleArrayTrie::Match expected{DoubleArrayTrie::no_id, 0};
        for (size_t length = 1; length <= text.size(); ++length) {
          const auto found = ids.find(text.substr(0, length));
          if (found != ids.end()) expected = {found->second, length};
        }
        const DoubleArrayTrie::Match match = trie.longest_match(text);
        BOOST_TEST(match.id == expected.id);
        BOOST_TEST(match.length == expected.length);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(searches_below_a_node) {
  const DoubleArrayTrie trie = make_trie({{"##a", 1}, {"##ab", 2}, {"a", 3}, {"##", 4}});
  const DoubleArrayTrie::Node start = trie.find("##");
  BOOST_TEST(trie.longest_match("abc", start).id == 2);
  BOOST_TEST(trie.longest_match("b", start).id == DoubleArrayTrie::no_id);  // not the key "##" itself
  BOOST_TEST(trie.find("x") == DoubleArrayTrie::no_node);
}

BOOST_AUTO_TEST_CASE(an_empty_trie_finds_nothing) {
  BOOST_TEST(DoubleArrayTrie().longest_match("a").id == DoubleArrayTrie::no_id);
  BOOST_TEST(DoubleArrayTrie().find("a") == DoubleArrayTrie::no_node);
}

BOOST_AUTO_TEST_CASE(a_very_long_key_is_no_trouble) {
  const std::string key(1'000'000, 'k');
  const DoubleArrayTrie trie = make_trie({{key, 7}});
  BOOST_TEST(trie.longest_match(key + "x").length == key.size());
}

BOOST_AUTO_TEST_SUITE_END()
