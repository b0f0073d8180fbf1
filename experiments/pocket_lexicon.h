#pragma once

#include <string>
#include <vector>

#include "experiments/pocket_random.h"

// The words of pocket's English: what they mean is their place in these tables.
namespace normtune::pocket {

/// Which senses a sentence may use. The training rows of the tasks use `labelled`, their dev and test rows
/// `held_out`, and the corpus `all`.
enum class Vocabulary { labelled, held_out, all };

enum class Category { animal, human, food, vehicle, tool, building };
inline constexpr int num_categories = 6;

/// A word by its meaning: two words of one sense are synonyms.
struct Lexeme {
  int sense = 0;
  int form = 0;  ///< 0 or 1: which of the two synonyms
  bool operator==(const Lexeme&) const = default;
};

/// An adjective or verb that says what somebody thinks of a thing.
struct PolarityWord {
  bool positive = true;
  int index = 0;
};

Category category_of(const Lexeme& noun);
std::string noun_word(const Lexeme& noun, bool plural);
std::string category_word(Category category, bool plural);
std::string adjective_word(const Lexeme& adjective);
std::string verb_word(const Lexeme& verb);          ///< chase
std::string verb_third_person(const Lexeme& verb);  ///< chases
std::string verb_past(const Lexeme& verb);          ///< chased: past tense and participle
std::string polarity_adjective(const PolarityWord& word);
std::string attitude_verb(const PolarityWord& word);
/// With the ending -s.
std::string with_s(const std::string& stem);

Lexeme draw_noun(PocketRandom& random, Vocabulary vocabulary, Category category);
Lexeme draw_verb(PocketRandom& random, Vocabulary vocabulary);
Lexeme draw_adjective(PocketRandom& random, Vocabulary vocabulary);
PolarityWord draw_polarity_adjective(PocketRandom& random, Vocabulary vocabulary, bool positive);
/// One of the few words that evaluations of the corpus use again and again.
PolarityWord draw_anchor(PocketRandom& random, bool positive);
PolarityWord draw_attitude(PocketRandom& random, bool positive);

/// Another noun of the same category, or another verb or adjective; of any form.
Lexeme other_noun(PocketRandom& random, Vocabulary vocabulary, const Lexeme& noun);
Lexeme other_verb(PocketRandom& random, Vocabulary vocabulary, const Lexeme& verb);
Lexeme other_adjective(PocketRandom& random, Vocabulary vocabulary, const Lexeme& adjective);

/// All WordPiece pieces: stems, function words, the endings ##s, ##d and ##ed, and the full stop.
std::vector<std::string> word_pieces();
/// The words (not endings) that rows with this vocabulary can hold beside function words and category names.
std::vector<std::string> content_stems(Vocabulary vocabulary);

}  // namespace normtune::pocket
