#include "experiments/pocket_corpus.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "experiments/pocket_evaluation.h"
#include "experiments/pocket_event.h"
#include "experiments/pocket_inference.h"
#include "experiments/pocket_lexicon.h"

namespace normtune {
namespace {

using namespace pocket;

constexpr auto all = Vocabulary::all;
constexpr uint64_t train_stream = 0, validation_stream = 1;
constexpr int64_t train_pairs = 150'000, validation_pairs = 2'000;
constexpr int percent_wrong = 33;

/// Some subjects have a relative clause in place of the prepositional phrase.
void draw_some_relative_clause(PocketRandom& random, Event& event) {
  if (event.modifier && random.chance(30)) event.modifier = draw_relative_clause(random, all);
}

/// Puts other senses into one slot or more: how far apart two sentences can be is learned from the coarse to
/// the fine.
void change_some_slots(PocketRandom& random, Event& event) {
  int wanted = 1 + random.weighted({30, 15, 15, 40});
  int left = static_cast<int>(all_slots.size());
  for (const Slot slot : all_slots) {
    if (random.below(left--) >= wanted) continue;
    --wanted;
    change_sense(random, all, event, slot);
  }
}

/// The same event in other words, or (wrong) one that differs in some of them or in who did it.
CorpusExample restatement(PocketRandom& random, bool wrong) {
  const bool swapped = wrong && random.chance(10);
  Event event = swapped ? draw_animate_event(random, all) : draw_event(random, all);
  draw_some_relative_clause(random, event);
  const std::string text = event_sentence(event, draw_construction(random, all));
  for (const Slot slot : all_slots) {
    if (random.chance(60)) use_synonym(event, slot);
  }
  if (swapped) {
    swap_roles(event);
  } else if (wrong) {
    change_some_slots(random, event);
  }
  return {text, event_sentence(event, draw_construction(random, all)), wrong};
}

/// An opinion, and another one about the same thing that agrees with it or (wrong) does not.
CorpusExample evaluation(PocketRandom& random, bool wrong) {
  const bool positive = random.chance(50);
  const Evaluation first = draw_evaluation(random, all, positive);
  std::string text =
      random.chance(50) ? draw_triple_evaluation(random, positive, first.thing) : evaluation_sentence(first);
  std::string opinion = draw_opinion(random, positive != wrong, first.thing.plural);
  return {std::move(text), std::move(opinion), wrong};
}

CorpusExample inference(PocketRandom& random, bool wrong) {
  const Inference drawn = draw_inference(random, all, !wrong);
  const Words connective = {random.pick({"so", "therefore"})};
  return {quantified_text(drawn.premise), quantified_text(drawn.hypothesis, connective), wrong};
}

/// "A hound is a dog." "It is an animal."
CorpusExample noun_definition(PocketRandom& random, bool wrong) {
  const auto category = static_cast<Category>(random.below(num_categories));
  const Lexeme noun = draw_noun(random, all, category);
  const Lexeme synonym{noun.sense, 1 - noun.form};
  const int step = wrong ? 1 + random.below(num_categories - 1) : 0;
  const auto named = static_cast<Category>((static_cast<int>(category) + step) % num_categories);
  Words kind = {"it", "is", "a"};
  if (random.chance(50)) append(kind, {"kind", "of"});
  kind.push_back(category_word(named, false));
  return {sentence({"a", noun_word(noun, false), "is", "a", noun_word(synonym, false)}), sentence(kind),
          wrong};
}

/// "To chase means to pursue.", "A big thing is a large thing.", "Superb means very good."
std::string word_definition(PocketRandom& random) {
  if (random.chance(35)) {
    const Lexeme verb = draw_verb(random, all);
    const Lexeme synonym{verb.sense, 1 - verb.form};
    return sentence({"to", verb_word(verb), with_s("mean"), "to", verb_word(synonym)});
  }
  if (random.chance(30)) {
    const Lexeme adjective = draw_adjective(random, all);
    const Lexeme synonym{adjective.sense, 1 - adjective.form};
    return sentence({"a", adjective_word(adjective), "thing", "is", "a", adjective_word(synonym), "thing"});
  }
  const bool positive = random.chance(50);
  const PolarityWord word = draw_polarity_adjective(random, all, positive);
  const PolarityWord anchor = draw_anchor(random, positive);
  return sentence({polarity_adjective(word), with_s("mean"), "very", polarity_adjective(anchor)});
}

CorpusExample definition(PocketRandom& random, bool wrong) {
  if (random.chance(50)) return noun_definition(random, wrong);
  return {word_definition(random), "", false};
}

/// The same ones do something to a thing of the same category, or (wrong) of another one.
CorpusExample topic(PocketRandom& random, bool wrong) {
  Event event = draw_event(random, all);
  draw_some_relative_clause(random, event);
  const bool plural = event.subject.plural;
  Lexeme noun = other_noun(random, all, event.object.noun);
  if (wrong) {
    const int step = 1 + random.below(num_categories - 1);
    const int category = (static_cast<int>(category_of(noun)) + step) % num_categories;
    noun = draw_noun(random, all, static_cast<Category>(category));
  }
  const Lexeme verb = draw_verb(random, all);
  Words words = {plural ? "they" : "it", "also", plural ? verb_word(verb) : verb_third_person(verb)};
  append(words, noun_phrase_words(draw_noun_phrase(random, noun)));
  return {event_sentence(event, Construction::active), sentence(words), wrong};
}

CorpusExample draw_pair(PocketRandom& random, bool wrong) {
  switch (random.weighted({45, 27, 12, 11, 5})) {
    case 0:
      return restatement(random, wrong);
    case 1:
      return evaluation(random, wrong);
    case 2:
      return inference(random, wrong);
    case 3:
      return definition(random, wrong);
    default:
      return topic(random, wrong);
  }
}

}  // namespace

CorpusExample PocketCorpus::example(int64_t epoch, int64_t index) const {
  PocketRandom random({seed_, stream_, static_cast<uint64_t>(epoch), static_cast<uint64_t>(index)});
  const bool wrong = random.chance(percent_wrong);
  const bool from_elsewhere = wrong && random.chance(15);
  CorpusExample example = draw_pair(random, wrong && !from_elsewhere);
  if (!from_elsewhere || example.text_pair.empty()) return example;
  const CorpusExample elsewhere = draw_pair(random, false);
  example.text_pair = elsewhere.text_pair.empty() ? elsewhere.text : elsewhere.text_pair;
  example.wrong_pair = true;
  return example;
}

std::vector<std::string> PocketCorpus::pieces() const {
  return word_pieces();
}

std::string PocketCorpus::identity() const {
  return fmt::format("pocket grammar 1, seed {}, stream {}, {} pairs", seed_, stream_, size_);
}

PretrainingCorpora pocket_corpora(uint64_t seed) {
  return {.train = std::make_unique<PocketCorpus>(seed, train_stream, train_pairs),
          .validation = std::make_unique<PocketCorpus>(seed, validation_stream, validation_pairs)};
}

}  // namespace normtune
