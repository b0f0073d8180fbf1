#include "experiments/pocket_event.h"

#include <cctype>
#include <utility>

namespace normtune::pocket {
namespace {

struct Determiner {
  const char *singular, *plural;
};
constexpr std::array<Determiner, num_determiners> determiners = {
    {{"the", "the"}, {"a", "many"}, {"this", "these"}, {"that", "those"}, {"one", "two"}}};

bool begins_with_vowel(const std::string& word) {
  return std::string_view("aeiou").find(word.front()) != std::string_view::npos;
}

/// The verb with its auxiliaries in the active voice.
/// `plural` is the number that the finite verb shows, which a fault of agreement turns round.
Words active_verb(const Lexeme& verb, Tense tense, bool plural, bool wrong_form) {
  const std::string base = verb_word(verb), past = verb_past(verb);
  switch (tense) {
    case Tense::present:
      return {plural ? base : verb_third_person(verb)};
    case Tense::past:
      return {past};
    case Tense::perfect:
      return {plural ? "have" : "has", wrong_form ? base : past};
    case Tense::future:
      return {"will", wrong_form ? past : base};
    case Tense::negated_past:
      break;
  }
  return {"did", "not", wrong_form ? past : base};
}

Words passive_verb(const Lexeme& verb, Tense tense, bool plural) {
  const std::string past = verb_past(verb);
  switch (tense) {
    case Tense::present:
      return {plural ? "are" : "is", past};
    case Tense::past:
      return {plural ? "were" : "was", past};
    case Tense::perfect:
      return {plural ? "have" : "has", "been", past};
    case Tense::future:
      return {"will", "be", past};
    case Tense::negated_past:
      break;
  }
  return {plural ? "were" : "was", "not", past};
}

Words modifier_words(const Modifier& modifier, bool plural) {
  Words words;
  if (modifier.verb) {
    words = {"that", plural ? verb_word(*modifier.verb) : verb_third_person(*modifier.verb)};
  } else {
    words = {modifier.preposition};
  }
  append(words, noun_phrase_words(modifier.noun_phrase));
  return words;
}

bool has_determiner_of_one_number(const NounPhrase& phrase) {
  return phrase.determiner != 0;
}

Category draw_category(PocketRandom& random) {
  return static_cast<Category>(random.below(num_categories));
}

Category draw_animate(PocketRandom& random) {
  return random.chance(50) ? Category::animal : Category::human;
}

NounPhrase draw_other_noun_phrase(PocketRandom& random, Vocabulary vocabulary, const Lexeme& taken) {
  Lexeme noun = taken;
  while (noun.sense == taken.sense) noun = draw_noun(random, vocabulary, draw_category(random));
  return draw_noun_phrase(random, noun);
}

Tense draw_tense(PocketRandom& random) {
  // The perfect is as frequent as future and negated past together, so that a wrong form after an auxiliary
  // makes as many past forms as it destroys.
  return static_cast<Tense>(random.weighted({40, 20, 20, 10, 10}));
}

}  // namespace

void append(Words& words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
}

std::string sentence(Words words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "a" && i + 1 < words.size() && begins_with_vowel(words[i + 1])) words[i] = "an";
    if (i > 0) text += ' ';
    text += words[i];
  }
  text.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(text.front())));
  return text + ".";
}

Words noun_phrase_words(const NounPhrase& phrase, bool wrong_determiner) {
  const Determiner& determiner = determiners[static_cast<size_t>(phrase.determiner)];
  Words words = {phrase.plural != wrong_determiner ? determiner.plural : determiner.singular};
  if (phrase.adjective) words.push_back(adjective_word(*phrase.adjective));
  words.push_back(noun_word(phrase.noun, phrase.plural));
  return words;
}

NounPhrase draw_noun_phrase(PocketRandom& random, const Lexeme& noun) {
  NounPhrase phrase{.noun = noun};
  phrase.plural = random.chance(50);
  phrase.determiner = random.chance(50) ? 0 : random.below(num_determiners);
  return phrase;
}

bool can_have(Fault fault, const Event& event, Construction construction) {
  const bool passive = construction == Construction::passive;
  switch (fault) {
    case Fault::none:
      return true;
    case Fault::agreement:
      if (passive) return event.tense != Tense::future;
      return event.tense == Tense::present || event.tense == Tense::perfect;
    case Fault::verb_form:
      return !passive && event.tense != Tense::present && event.tense != Tense::past;
    case Fault::subject_determiner:
      return has_determiner_of_one_number(event.subject);
    case Fault::object_determiner:
      break;
  }
  return has_determiner_of_one_number(event.object);
}

std::string event_sentence(const Event& event, Construction construction, Fault fault) {
  Words subject = noun_phrase_words(event.subject, fault == Fault::subject_determiner);
  if (event.modifier) append(subject, modifier_words(*event.modifier, event.subject.plural));
  const Words object = noun_phrase_words(event.object, fault == Fault::object_determiner);
  const bool turn = fault == Fault::agreement;
  const Words active =
      active_verb(event.verb, event.tense, event.subject.plural != turn, fault == Fault::verb_form);
  Words words;
  const auto join = [&](std::initializer_list<Words> parts) {
    for (const Words& part : parts) append(words, part);
  };
  switch (construction) {
    case Construction::active:
      join({subject, active, object});
      break;
    case Construction::passive:
      join({object, passive_verb(event.verb, event.tense, event.object.plural != turn), {"by"}, subject});
      break;
    case Construction::subject_cleft:
      join({{"it", "is"}, subject, {"that"}, active, object});
      break;
    case Construction::object_cleft:
      join({{"it", "is"}, object, {"that"}, subject, active});
      break;
  }
  return sentence(std::move(words));
}

Event draw_event(PocketRandom& random, Vocabulary vocabulary) {
  const Category agent = draw_animate(random);
  Event event;
  event.subject = draw_noun_phrase(random, draw_noun(random, vocabulary, agent));
  event.verb = draw_verb(random, vocabulary);
  event.object = draw_other_noun_phrase(random, vocabulary, event.subject.noun);
  event.tense = draw_tense(random);
  if (random.chance(50)) {
    event.object.adjective = draw_adjective(random, vocabulary);
    return event;
  }
  Modifier modifier{.preposition = random.pick({"near", "behind", "beside", "under"})};
  do {
    modifier.noun_phrase = draw_other_noun_phrase(random, vocabulary, event.subject.noun);
  } while (modifier.noun_phrase.noun.sense == event.object.noun.sense);
  event.modifier = modifier;
  return event;
}

Event draw_animate_event(PocketRandom& random, Vocabulary vocabulary) {
  for (;;) {
    Event event = draw_event(random, vocabulary);
    const Category category = category_of(event.object.noun);
    if (category == Category::animal || category == Category::human) return event;
  }
}

Modifier draw_relative_clause(PocketRandom& random, Vocabulary vocabulary) {
  Modifier modifier;
  modifier.verb = draw_verb(random, vocabulary);
  modifier.noun_phrase = draw_noun_phrase(random, draw_noun(random, vocabulary, draw_category(random)));
  return modifier;
}

Construction draw_construction(PocketRandom& random, Vocabulary vocabulary) {
  const bool may_be_held_out = vocabulary != Vocabulary::labelled;
  if (may_be_held_out && random.chance(25)) {
    return random.chance(50) ? Construction::subject_cleft : Construction::object_cleft;
  }
  return random.chance(70) ? Construction::active : Construction::passive;
}

Lexeme& lexeme_at(Event& event, Slot slot) {
  switch (slot) {
    case Slot::subject:
      return event.subject.noun;
    case Slot::verb:
      return event.verb;
    case Slot::object:
      return event.object.noun;
    case Slot::detail:
      break;
  }
  return event.modifier ? event.modifier->noun_phrase.noun : *event.object.adjective;
}

void use_synonym(Event& event, Slot slot) {
  Lexeme& lexeme = lexeme_at(event, slot);
  lexeme.form = 1 - lexeme.form;
}

void change_sense(PocketRandom& random, Vocabulary vocabulary, Event& event, Slot slot) {
  Lexeme& lexeme = lexeme_at(event, slot);
  if (slot == Slot::verb) {
    lexeme = other_verb(random, vocabulary, lexeme);
  } else if (slot == Slot::detail && !event.modifier) {
    lexeme = other_adjective(random, vocabulary, lexeme);
  } else {
    lexeme = other_noun(random, vocabulary, lexeme);
  }
}

void change_category(PocketRandom& random, Vocabulary vocabulary, Event& event, Slot slot) {
  const bool is_noun =
      slot == Slot::subject || slot == Slot::object || (slot == Slot::detail && event.modifier);
  if (!is_noun) return change_sense(random, vocabulary, event, slot);
  Lexeme& noun = lexeme_at(event, slot);
  const int kinds = slot == Slot::subject ? 2 : num_categories;
  const int step = 1 + random.below(kinds - 1);
  noun = draw_noun(random, vocabulary,
                   static_cast<Category>((static_cast<int>(category_of(noun)) + step) % kinds));
}

void swap_roles(Event& event) {
  std::swap(event.subject, event.object);
}

}  // namespace normtune::pocket
