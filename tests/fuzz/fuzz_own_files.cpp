#include "experiments/dataset.h"
#include "experiments/trainer_state.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/link_folder.h"

using namespace normtune;

// The input is read as a user's CSV and JSON Lines file, with labels of its own and with those of a task.
int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const testing::LinkFolder folder;
  const testing::MemoryFile memory(bytes, size);
  for (const char* name : {"own.csv", "own.jsonl"}) {
    const std::filesystem::path file = folder.link(name, memory.path());
    testing::read_or_refuse([&] { load_own_file(file, "train", std::nullopt, true); });
    testing::read_or_refuse([&] { load_own_file(file, "test", LabelScheme{.names = {"0", "1"}}, false); });
    testing::read_or_refuse([&] { load_own_file(file, "dev", find_task("stsb"), false); });
  }
  return testing::read_or_refuse([&] { read_trainer_state(memory.path()); });
}
