#include "nn/safetensors.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const normtune::testing::MemoryFile memory(bytes, size);
  return normtune::testing::read_or_refuse([&] {
    const normtune::SafetensorsFile file(memory.path());
    for (const std::string& name : file.names()) {
      if (normtune::dtype_for(file.entry(name).type)) file.read(name);
    }
  });
}
