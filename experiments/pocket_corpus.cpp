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
constexpr int64_t train_pairs = 480'000, primer_pairs = 130'000, validation_pairs = 2'000;

/// Some subjects have a relative clause in place of the prepositional phrase.
void draw_some_relative_clause(PocketRandom& random, Event& event) {
  if (event.modifier && random.chance(30)) event.modifier = draw_relative_clause(random, all);
}

/// Puts other senses into this many slots, some of another category too.
void change_slots(PocketRandom& random, Event& event, int wanted, int percent_category) {
  int left = static_cast<int>(all_slots.size());
  for (const Slot slot : all_slots) {
    if (random.below(left--) >= wanted) continue;
    --wanted;
    if (random.chance(percent_category)) {
      change_category(random, all, event, slot);
    } else {
      change_sense(random, all, event, slot);
    }
  }
}

/// The same event in other words, or (wrong) one that differs: in who did it and to whom, or in the senses of
/// one word to four.
CorpusExample restatement(PocketRandom& random, bool wrong) {
  const bool roles = wrong && random.chance(10);
  Event event = roles ? draw_animate_event(random, all) : draw_event(random, all);
  draw_some_relative_clause(random, event);
  std::string text = event_sentence(event, draw_construction(random, all));
  for (const Slot slot : all_slots) {
    if (random.chance(60)) use_synonym(event, slot);
  }
  if (roles) {
    swap_roles(event);
  } else if (wrong) {
    change_slots(random, event, 1 + random.weighted({35, 20, 15, 30}), 30);
  }
  return {std::move(text), event_sentence(event, draw_construction(random, all)), wrong};
}

/// A restatement that is right or wrong in all four words.
CorpusExample plain_restatement(PocketRandom& random, bool wrong) {
  Event event = draw_event(random, all);
  std::string text = event_sentence(event, draw_construction(random, all));
  for (const Slot slot : all_slots) {
    if (random.chance(50)) use_synonym(event, slot);
  }
  if (wrong) change_slots(random, event, static_cast<int>(all_slots.size()), 50);
  return {std::move(text), event_sentence(event, draw_construction(random, all)), wrong};
}

/// "They chase it." "They pursue it."
CorpusExample verb_restatement(PocketRandom& random, bool wrong) {
  const bool plural = random.chance(50);
  const auto text = [&](const Lexeme& verb) {
    return sentence(
        {plural ? "they" : "it", plural ? verb_word(verb) : verb_third_person(verb), plural ? "it" : "them"});
  };
  const Lexeme first = draw_verb(random, all);
  Lexeme second = first;
  if (random.chance(70)) second.form = 1 - second.form;
  if (wrong) second = other_verb(random, all, first);
  return {text(first), text(second), wrong};
}

/// Puts another sense into the adjective or the noun.
void change_phrase(PocketRandom& random, NounPhrase& phrase) {
  if (phrase.adjective && random.chance(50)) {
    phrase.adjective = other_adjective(random, all, *phrase.adjective);
  } else if (random.chance(50)) {
    phrase.noun = other_noun(random, all, phrase.noun);
  } else {
    const int step = 1 + random.below(num_categories - 1);
    const int category = (static_cast<int>(category_of(phrase.noun)) + step) % num_categories;
    phrase.noun = draw_noun(random, all, static_cast<Category>(category));
  }
}

/// "There is a big dog." "There is a large hound."
CorpusExample noun_restatement(PocketRandom& random, bool wrong) {
  const auto category = static_cast<Category>(random.below(num_categories));
  NounPhrase phrase = draw_noun_phrase(random, draw_noun(random, all, category));
  if (random.chance(50)) phrase.adjective = draw_adjective(random, all);
  const auto text = [&] {
    Words words = {"there", phrase.plural ? "are" : "is"};
    append(words, noun_phrase_words(phrase));
    return sentence(std::move(words));
  };
  std::string first = text();
  if (random.chance(70)) phrase.noun.form = 1 - phrase.noun.form;
  if (phrase.adjective && random.chance(70)) phrase.adjective->form = 1 - phrase.adjective->form;
  if (wrong) change_phrase(random, phrase);
  return {std::move(first), text(), wrong};
}

/// A restatement in which every content word counts, for there are only one or two.
CorpusExample short_restatement(PocketRandom& random, bool wrong) {
  return random.chance(35) ? verb_restatement(random, wrong) : noun_restatement(random, wrong);
}

/// An opinion, and another one about the same thing that agrees with it or (wrong) does not. The first says
/// it three times.
CorpusExample emphatic_evaluation(PocketRandom& random, bool wrong) {
  const bool positive = random.chance(50);
  const NounPhrase thing = draw_evaluation(random, all, positive, 0).thing;
  std::string text = draw_triple_evaluation(random, positive, thing);
  return {std::move(text), draw_opinion(random, positive != wrong, thing.plural), wrong};
}

/// The same, in any form without negation.
CorpusExample evaluation(PocketRandom& random, bool wrong) {
  if (random.chance(50)) return emphatic_evaluation(random, wrong);
  const bool positive = random.chance(50);
  const pocket::Evaluation first = draw_evaluation(random, all, positive, 0);
  return {evaluation_sentence(first), draw_opinion(random, positive != wrong, first.thing.plural), wrong};
}

/// An opinion that stands alone, half of them negated: how negations are put, but not what they do to an
/// opinion.
CorpusExample single_evaluation(PocketRandom& random) {
  return {evaluation_sentence(draw_evaluation(random, all, random.chance(50), 50)), "", false};
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

CorpusExample draw_pair(PocketRandom& random) {
  switch (random.weighted({50, 11, 18, 3, 11, 5, 2})) {
    case 0:
      return restatement(random, random.chance(50));
    case 1:
      return short_restatement(random, random.chance(50));
    case 2:
      return evaluation(random, random.chance(50));
    case 3:
      return single_evaluation(random);
    case 4:
      return inference(random, random.chance(33));
    case 5:
      return definition(random, random.chance(33));
    default:
      return topic(random, random.chance(33));
  }
}

/// Pairs that are easy to tell: with them a model learns to compare two sentences at all, in a fraction of
/// the steps that it takes among hard ones.
CorpusExample draw_primer_pair(PocketRandom& random) {
  const bool wrong = random.chance(50);
  switch (random.weighted({37, 38, 25})) {
    case 0:
      return plain_restatement(random, wrong);
    case 1:
      return short_restatement(random, wrong);
    default:
      return emphatic_evaluation(random, wrong);
  }
}

}  // namespace

CorpusExample PocketCorpus::example(int64_t epoch, int64_t index) const {
  PocketRandom random({seed_, stream_, static_cast<uint64_t>(epoch), static_cast<uint64_t>(index)});
  return epoch == 0 && index < primer_pairs_ ? draw_primer_pair(random) : draw_pair(random);
}

std::vector<std::string> PocketCorpus::pieces() const {
  return word_pieces();
}

std::string PocketCorpus::identity() const {
  return fmt::format("pocket grammar 3, seed {}, stream {}, {} pairs, a primer of {}", seed_, stream_, size_,
                     primer_pairs_);
}

PretrainingCorpora pocket_corpora(uint64_t seed) {
  return {.train = std::make_unique<PocketCorpus>(seed, train_stream, train_pairs, primer_pairs),
          .validation = std::make_unique<PocketCorpus>(seed, validation_stream, validation_pairs, 0)};
}

}  // namespace normtune
