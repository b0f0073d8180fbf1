#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "experiments/pocket_lexicon.h"

namespace normtune::pocket {

using Words = std::vector<std::string>;

/// Writes words as a sentence: "a" before a vowel becomes "an", the first letter is a capital, a full stop
/// ends it.
std::string sentence(Words words);
void append(Words& words, const Words& more);

struct NounPhrase {
  int determiner = 0;  ///< 0: "the"; others have a singular and a plural word (a/many, this/these, ...)
  std::optional<Lexeme> adjective = std::nullopt;
  Lexeme noun;
  bool plural = false;
};
inline constexpr int num_determiners = 5;
/// `wrong_determiner` takes the determiner's word of the other number: "these dog".
Words noun_phrase_words(const NounPhrase& phrase, bool wrong_determiner = false);
NounPhrase draw_noun_phrase(PocketRandom& random, const Lexeme& noun);

/// What follows the subject: "near the house", or a relative clause "that guards the house".
struct Modifier {
  std::string preposition = "near";           ///< of a modifier without verb
  std::optional<Lexeme> verb = std::nullopt;  ///< of a relative clause
  NounPhrase noun_phrase;
};

enum class Tense { present, past, perfect, future, negated_past };

/// Somebody does something to something: the derivation behind most sentences.
struct Event {
  NounPhrase subject;
  std::optional<Modifier> modifier = std::nullopt;
  Lexeme verb;
  NounPhrase object;
  Tense tense = Tense::present;
};

/// The dog chases the car. The car is chased by the dog. It is the dog that chases the car. It is the car
/// that the dog chases. The clefts are held out from the training rows.
enum class Construction { active, passive, subject_cleft, object_cleft };

/// One way to be ungrammatical.
enum class Fault {
  none,
  agreement,           ///< the finite verb has the wrong number: "the dogs near the house chases"
  verb_form,           ///< the wrong form after an auxiliary: "did not chased", "has chase"
  subject_determiner,  ///< "these dog"
  object_determiner,
};

/// True if the sentence has a place for the fault.
bool can_have(Fault fault, const Event& event, Construction construction);

std::string event_sentence(const Event& event, Construction construction, Fault fault = Fault::none);

/// An event with exactly one detail beside subject, verb and object: the object's adjective or the modifier
/// ("near the house"). Its three or four content words have different senses.
Event draw_event(PocketRandom& random, Vocabulary vocabulary);
/// The same with a subject and an object that can each do the other's part: animals and humans.
Event draw_animate_event(PocketRandom& random, Vocabulary vocabulary);
/// A relative clause for the subject.
Modifier draw_relative_clause(PocketRandom& random, Vocabulary vocabulary);
Construction draw_construction(PocketRandom& random, Vocabulary vocabulary);

/// The four places of content words in an event of draw_event().
enum class Slot { subject, verb, object, detail };
inline constexpr std::array all_slots = {Slot::subject, Slot::verb, Slot::object, Slot::detail};

Lexeme& lexeme_at(Event& event, Slot slot);
/// Says the same in the other word.
void use_synonym(Event& event, Slot slot);
/// Puts another sense into the slot; a noun's category stays.
void change_sense(PocketRandom& random, Vocabulary vocabulary, Event& event, Slot slot);
/// Puts a noun of another category into the slot, the subject staying an animal or a human; other words
/// as change_sense().
void change_category(PocketRandom& random, Vocabulary vocabulary, Event& event, Slot slot);
/// Who did it is the one that it was done to, and the reverse.
void swap_roles(Event& event);

}  // namespace normtune::pocket
