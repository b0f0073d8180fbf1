#include "nn/pytorch_bin.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const normtune::testing::MemoryFile memory(bytes, size);
  return normtune::testing::read_or_refuse([&] { normtune::read_pytorch_bin(memory.path()); });
}
