#include "experiments/dataset.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/link_folder.h"

using namespace normtune;

// The input is read as every layout of a GLUE folder: without header, with one and two texts, with scores,
// with rows that may be skipped, with labels and without.
int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const testing::LinkFolder folder;
  const testing::MemoryFile memory(bytes, size);
  for (const Task& task : glue_tasks()) {
    for (const TaskSplit& split : task.splits) {
      folder.link(split.files[0], memory.path());
      testing::read_or_refuse([&] { load_glue(task, folder.path(), split.name); });
    }
  }
  std::filesystem::remove(folder.path() / "MRPC/train.tsv");
  folder.link("MRPC/msr_paraphrase_train.txt", memory.path());
  folder.link("MRPC/dev_ids.tsv", memory.path());
  return testing::read_or_refuse([&] { load_glue(find_task("mrpc"), folder.path(), "train"); });
}
