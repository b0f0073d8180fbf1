#pragma once

#include "experiments/pocket_event.h"

namespace normtune::pocket {

/// "every", "no", ...: a quantified sentence "Q subject verb a object" follows from another if a word is
/// replaced by a wider one where Q is upward monotone, by a narrower one where it is downward monotone
/// (van Benthem 1986).
struct Quantifier {
  const char* word;
  bool plural;
  bool subject_upward, object_upward;
  bool existential;  ///< may follow "there is" and "there are"
};
inline constexpr std::array<Quantifier, 6> quantifiers = {{
    {"some", true, true, true, true},
    {"several", true, true, true, true},
    {"every", false, false, true, false},
    {"all", true, false, true, false},
    {"no", false, false, false, true},
    {"few", true, false, false, true},
}};

/// A noun with an adjective or without, or the name of a whole category.
struct Term {
  std::optional<Lexeme> adjective = std::nullopt;
  std::optional<Lexeme> noun = std::nullopt;
  Category category = Category::animal;  ///< if there is no noun
};

/// "Every dog chases a red car." or, held out from the training rows, "There is no dog that chases a car."
struct QuantifiedSentence {
  int quantifier = 0;
  Term subject;
  Lexeme verb;
  Term object;
  bool existential = false;
};

struct Inference {
  QuantifiedSentence premise, hypothesis;
  bool entailed = true;
};

std::string quantified_text(const QuantifiedSentence& statement, const Words& connective = {});

/// A pair whose hypothesis follows from the premise, or does not. Three in four differ by one step along the
/// hierarchy of meanings (dog, animal; red car, car), the others by one word (a synonym, or another sense).
/// Quantifiers, places and directions are balanced: none tells the answer by itself.
Inference draw_inference(PocketRandom& random, Vocabulary vocabulary, bool entailed);

}  // namespace normtune::pocket
