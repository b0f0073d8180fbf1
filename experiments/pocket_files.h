#pragma once

#include <cstdint>
#include <filesystem>

#include "experiments/pocket_tasks.h"

namespace normtune {

struct PocketFilesOptions {
  uint64_t seed = 42;
  std::filesystem::path output_dir;
  int64_t corpus_pairs = 100'000;
  PocketRows rows = {};
};

/// Writes `corpus.txt` (two sentences that belong together on two lines, then an empty line) and `glue/`
/// with the five tasks in GLUE's layout: train.tsv, dev.tsv, test.tsv (without labels) and test_labelled.tsv
/// (the same rows with them), and `glue/row_counts.tsv`. Equal options give equal bytes on every machine.
/// Throws Error(write).
void write_pocket_files(const PocketFilesOptions& options);

}  // namespace normtune
