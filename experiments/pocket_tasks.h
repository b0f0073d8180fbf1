#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/dataset.h"
#include "experiments/pocket_event.h"

namespace normtune {

/// Rows of each split of each of pocket's tasks.
struct PocketRows {
  int64_t train = 3000, dev = 500, test = 1000;
};

/// cola, sst2, mrpc, stsb and rte: pocket's tasks are GLUE's, in its file layout, with sentences of the
/// grammar.
const std::vector<std::string>& pocket_task_names();

/// The splits train, dev and test_labelled of a task, in this order. Every label follows from the derivation
/// of its sentences. Classes are equally frequent, but two in five pairs of mrpc are paraphrases: a constant
/// answer has an F1 of 0.57. No pair of texts occurs twice in all the splits, and dev and test hold content
/// words and constructions that no training row has.
std::vector<Dataset> draw_pocket_task(const std::string& task_name, uint64_t seed,
                                      const PocketRows& rows = {});

namespace pocket {

/// How much two events say the same, from 0 to 5: the mean over the four slots of 1 for the same sense, 0.5
/// for nouns of one category, else 0; half of it if one says that something happened and the other that it
/// did not.
double similarity(const Event& first, const Event& second);

/// One row of a task. `label` is the class that the row shall have; the similarity task takes no notice.
Example draw_row(PocketRandom& random, const std::string& task_name, Vocabulary vocabulary, int32_t label);

}  // namespace pocket

}  // namespace normtune
