#include "experiments/pocket_random.h"

namespace normtune {

PocketRandom::PocketRandom(std::initializer_list<uint64_t> address) {
  uint64_t mixed = 0x506F636B6574;  // "Pocket": streams of other uses have other keys
  for (const uint64_t part : address) mixed = mix64(mixed ^ part);
  key_ = {static_cast<uint32_t>(mixed), static_cast<uint32_t>(mixed >> 32)};
}

int PocketRandom::below(int bound) {
  const uint64_t block = drawn_ / 4;
  if (drawn_ % 4 == 0) {
    words_ = philox4x32({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), 0, 0}, key_);
  }
  const uint64_t word = words_[drawn_++ % 4];
  // The high half of word * bound; its bias, below bound / 2^32, is far smaller than any sample could show.
  return static_cast<int>((word * static_cast<uint64_t>(bound)) >> 32);
}

int PocketRandom::weighted(std::initializer_list<int> weights) {
  int sum = 0;
  for (const int weight : weights) sum += weight;
  int rest = below(sum);
  int index = 0;
  for (const int weight : weights) {
    if (rest < weight) break;
    rest -= weight;
    ++index;
  }
  return index;
}

}  // namespace normtune
