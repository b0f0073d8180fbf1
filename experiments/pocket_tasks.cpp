#include "experiments/pocket_tasks.h"

#include <algorithm>
#include <set>
#include <utility>

#include "experiments/data_order.h"
#include "experiments/pocket_evaluation.h"
#include "experiments/pocket_inference.h"
#include "tensor/error.h"

namespace normtune {

namespace pocket {
namespace {

/// Acceptability. A fault is drawn for each row, together with a sentence that has a place for it, and is
/// committed in the unacceptable rows alone: so the words of both classes are equally frequent.
Example acceptability(PocketRandom& random, Vocabulary vocabulary, int32_t label) {
  constexpr std::array faults = {Fault::agreement, Fault::verb_form, Fault::subject_determiner,
                                 Fault::object_determiner};
  const Fault fault = faults[static_cast<size_t>(random.weighted({55, 15, 15, 15}))];
  for (;;) {
    Event event = draw_event(random, vocabulary);
    const bool may_be_held_out = vocabulary != Vocabulary::labelled;
    if (may_be_held_out && event.modifier && random.chance(50)) {
      event.modifier = draw_relative_clause(random, vocabulary);
    }
    const Construction construction = draw_construction(random, vocabulary);
    if (!can_have(fault, event, construction)) continue;
    const bool acceptable = label == 1;
    return {.sentence1 = event_sentence(event, construction, acceptable ? Fault::none : fault),
            .label = label};
  }
}

Example sentiment(PocketRandom& random, Vocabulary vocabulary, int32_t label) {
  return {.sentence1 = evaluation_sentence(draw_evaluation(random, vocabulary, label == 1, 50)),
          .label = label};
}

/// The slots in which a paraphrase takes another word: each with the same chance, at least one.
std::vector<Slot> draw_slots(PocketRandom& random) {
  std::vector<Slot> slots;
  while (slots.empty()) {
    for (const Slot slot : all_slots) {
      if (random.chance(60)) slots.push_back(slot);
    }
  }
  return slots;
}

/// Lets the event have happened or not.
void draw_past(PocketRandom& random, Event& event) {
  event.tense = random.chance(50) ? Tense::past : Tense::negated_past;
}

void deny(Event& event) {
  event.tense = event.tense == Tense::past ? Tense::negated_past : Tense::past;
}

/// Paraphrase. Both classes replace equally many words; where the meaning changes, one of the two sentences
/// is negated, one of the new words has another sense, or the roles are swapped.
Example paraphrase(PocketRandom& random, Vocabulary vocabulary, int32_t label) {
  enum { negation, sense, roles };
  const int difference = random.weighted({45, 40, 15});
  Event first = difference == roles ? draw_animate_event(random, vocabulary) : draw_event(random, vocabulary);
  if (difference == negation) draw_past(random, first);
  Event second = first;
  const std::vector<Slot> slots = draw_slots(random);
  const int changed = random.below(static_cast<int>(slots.size()));
  for (const Slot slot : slots) use_synonym(second, slot);
  if (label == 0) {
    if (difference == negation) deny(second);
    if (difference == sense) change_sense(random, vocabulary, second, slots[static_cast<size_t>(changed)]);
    if (difference == roles) swap_roles(second);
  }
  std::string text = event_sentence(first, draw_construction(random, vocabulary));
  return {.sentence1 = std::move(text),
          .sentence2 = event_sentence(second, draw_construction(random, vocabulary)),
          .label = label};
}

/// Similarity: of the four slots a number drawn from 0 to 4 keep their sense, most of them in another word.
/// In every fourth pair one sentence is negated and the other is not.
Example graded_similarity(PocketRandom& random, Vocabulary vocabulary) {
  Event first = draw_event(random, vocabulary);
  draw_past(random, first);
  Event second = first;
  if (random.chance(30)) deny(second);
  int kept = random.below(static_cast<int>(all_slots.size()) + 1);
  int left = static_cast<int>(all_slots.size());
  for (const Slot slot : all_slots) {
    if (random.below(left--) < kept) {
      --kept;
      if (random.chance(75)) use_synonym(second, slot);
    } else if (random.chance(50)) {
      change_sense(random, vocabulary, second, slot);
    } else {
      change_category(random, vocabulary, second, slot);
    }
  }
  std::string text = event_sentence(first, draw_construction(random, vocabulary));
  return {.sentence1 = std::move(text),
          .sentence2 = event_sentence(second, draw_construction(random, vocabulary)),
          .target = similarity(first, second)};
}

Example entailment(PocketRandom& random, Vocabulary vocabulary, int32_t label) {
  const Inference inference = draw_inference(random, vocabulary, label == 0);
  return {.sentence1 = quantified_text(inference.premise),
          .sentence2 = quantified_text(inference.hypothesis),
          .label = label};
}

bool is_noun_slot(const Event& event, Slot slot) {
  return slot == Slot::subject || slot == Slot::object || (slot == Slot::detail && event.modifier);
}

}  // namespace

double similarity(const Event& first, const Event& second) {
  Event a = first, b = second;
  double sum = 0;
  for (const Slot slot : all_slots) {
    const Lexeme x = lexeme_at(a, slot), y = lexeme_at(b, slot);
    if (x.sense == y.sense) {
      sum += 1;
    } else if (is_noun_slot(a, slot) && category_of(x) == category_of(y)) {
      sum += 0.5;
    }
  }
  const bool contradict = (first.tense == Tense::negated_past) != (second.tense == Tense::negated_past);
  return (contradict ? 0.5 : 1.0) * 5 * sum / static_cast<double>(all_slots.size());
}

Example draw_row(PocketRandom& random, const std::string& task_name, Vocabulary vocabulary, int32_t label) {
  if (task_name == "cola") return acceptability(random, vocabulary, label);
  if (task_name == "sst2") return sentiment(random, vocabulary, label);
  if (task_name == "mrpc") return paraphrase(random, vocabulary, label);
  if (task_name == "stsb") return graded_similarity(random, vocabulary);
  check(task_name == "rte", "pocket: expected a task of {}, found {}", fmt::join(pocket_task_names(), ", "),
        task_name);
  return entailment(random, vocabulary, label);
}

}  // namespace pocket

namespace {

using pocket::Vocabulary;
using TextSet = std::set<std::pair<std::string, std::string>>;

struct SplitPlan {
  const char* name;
  Vocabulary vocabulary;
  int64_t rows;
};

/// The class of a task's n-th row. F1, the score of mrpc, looks at the positive class alone: were that half
/// of the rows, a constant answer would reach 0.67.
int32_t label_of_row(const Task& task, size_t row) {
  if (task.name == "mrpc") return row % 5 < 2 ? 1 : 0;
  return static_cast<int32_t>(row % 2);
}

/// Draws rows until enough new ones are there, the classes taking turns, and shuffles them.
Dataset draw_split(const Task& task, const SplitPlan& plan, uint64_t seed, uint64_t stream, TextSet& seen) {
  Dataset dataset{
      .task = task.name, .split = plan.name, .label_names = task.label_names, .regression = task.regression};
  std::vector<Example> drawn;
  PocketRandom random({seed, stream});
  while (static_cast<int64_t>(drawn.size()) < plan.rows) {
    Example row = pocket::draw_row(random, task.name, plan.vocabulary, label_of_row(task, drawn.size()));
    if (seen.emplace(row.sentence1, row.sentence2.value_or("")).second) drawn.push_back(std::move(row));
  }
  for (const int64_t i : epoch_order(plan.rows, seed, static_cast<int64_t>(stream), true)) {
    dataset.examples.push_back(std::move(drawn[static_cast<size_t>(i)]));
    dataset.examples.back().idx = static_cast<int64_t>(dataset.examples.size()) - 1;
  }
  return dataset;
}

}  // namespace

const std::vector<std::string>& pocket_task_names() {
  static const std::vector<std::string> names = {"cola", "sst2", "mrpc", "stsb", "rte"};
  return names;
}

std::vector<Dataset> draw_pocket_task(const std::string& task_name, uint64_t seed, const PocketRows& rows) {
  const std::array plans = {SplitPlan{"train", Vocabulary::labelled, rows.train},
                            SplitPlan{"dev", Vocabulary::held_out, rows.dev},
                            SplitPlan{"test_labelled", Vocabulary::held_out, rows.test}};
  const auto& names = pocket_task_names();
  const auto task_index =
      static_cast<uint64_t>(std::find(names.begin(), names.end(), task_name) - names.begin());
  const Task& task = find_task(task_name);
  std::vector<Dataset> splits;
  TextSet seen;
  for (const SplitPlan& plan : plans) {
    constexpr uint64_t first_task_stream = 16;  // below: the streams of the corpora
    const uint64_t stream = first_task_stream + task_index * plans.size() + splits.size();
    splits.push_back(draw_split(task, plan, seed, stream, seen));
  }
  return splits;
}

}  // namespace normtune
