#include "experiments/pocket_lexicon.h"

#include <array>
#include <span>

namespace normtune::pocket {
namespace {

using Synonyms = std::array<const char*, 2>;

/// Within a category (or table) the last senses are held out from the training rows.
constexpr int nouns_per_category = 5, labelled_nouns_per_category = 3;
constexpr int num_nouns = num_categories * nouns_per_category;

constexpr std::array<Synonyms, num_nouns> nouns = {{
    {"dog", "hound"},        {"horse", "steed"},    {"pig", "hog"},
    {"rabbit", "hare"},      {"snake", "serpent"},  // animals
    {"doctor", "physician"}, {"teacher", "tutor"},  {"lawyer", "attorney"},
    {"writer", "author"},    {"sailor", "mariner"},  // humans
    {"pie", "tart"},         {"cookie", "biscuit"}, {"bun", "roll"},
    {"stew", "casserole"},   {"pancake", "crepe"},  // foods
    {"car", "auto"},         {"ship", "vessel"},    {"bike", "cycle"},
    {"plane", "airliner"},   {"wagon", "cart"},  // vehicles
    {"hammer", "mallet"},    {"axe", "hatchet"},    {"bucket", "pail"},
    {"shovel", "spade"},     {"rope", "cord"},  // tools
    {"house", "home"},       {"hut", "cabin"},      {"shop", "store"},
    {"prison", "jail"},      {"barn", "shed"},  // buildings
}};

constexpr std::array<const char*, num_categories> categories = {"animal",  "human", "food",
                                                                "vehicle", "tool",  "building"};

constexpr int labelled_verbs = 14;
constexpr std::array<Synonyms, 20> verbs = {{
    {"chase", "pursue"},    {"follow", "trail"}, {"guard", "protect"},  {"lift", "raise"},
    {"pull", "haul"},       {"move", "shift"},   {"conceal", "cover"},  {"clean", "cleanse"},
    {"destroy", "wreck"},   {"repair", "mend"},  {"observe", "survey"}, {"discover", "locate"},
    {"need", "require"},    {"want", "desire"},  {"paint", "color"},    {"collect", "gather"},
    {"inspect", "examine"}, {"select", "pick"},  {"rescue", "save"},    {"describe", "depict"},
}};

constexpr int labelled_adjectives = 5;
constexpr std::array<Synonyms, 8> adjectives = {{
    {"big", "large"},
    {"small", "little"},
    {"quick", "rapid"},
    {"wet", "damp"},
    {"red", "crimson"},
    {"heavy", "weighty"},
    {"quiet", "silent"},
    {"round", "circular"},
}};

constexpr int num_anchors = 2, labelled_polarity = 8;
constexpr std::array<const char*, 12> positive_adjectives = {
    "good",       "great",    "wonderful", "superb",   "excellent", "lovely",
    "delightful", "splendid", "pleasant",  "charming", "brilliant", "fine",
};
constexpr std::array<const char*, 12> negative_adjectives = {"bad",      "terrible", "awful",   "horrible",
                                                             "dreadful", "nasty",    "ugly",    "vile",
                                                             "poor",     "dismal",   "hideous", "wretched"};
constexpr std::array<const char*, 2> positive_attitudes = {"love", "enjoy"};
constexpr std::array<const char*, 2> negative_attitudes = {"hate", "despise"};

constexpr std::array function_words = {
    ".",      "the",    "a",         "an",       "this",    "that",  "these",    "those",  "one",
    "two",    "many",   "some",      "several",  "every",   "all",   "no",       "few",    "is",
    "are",    "was",    "were",      "has",      "have",    "been",  "will",     "be",     "did",
    "does",   "do",     "not",       "never",    "hardly",  "by",    "near",     "behind", "beside",
    "under",  "it",     "they",      "them",     "true",    "false", "consider", "find",   "very",
    "really", "nobody", "everybody", "anything", "nothing", "but",   "and",      "so",     "therefore",
    "there",  "also",   "of",        "kind",     "to",      "mean",  "thing"};

struct Senses {
  int begin, end;
};

Senses senses(Vocabulary vocabulary, int labelled, int total) {
  switch (vocabulary) {
    case Vocabulary::labelled:
      return {0, labelled};
    case Vocabulary::held_out:
      return {labelled, total};
    case Vocabulary::all:
      break;
  }
  return {0, total};
}

int draw_sense(PocketRandom& random, const Senses& range) {
  return range.begin + random.below(range.end - range.begin);
}

Lexeme draw_lexeme(PocketRandom& random, const Senses& range) {
  const int sense = draw_sense(random, range);
  return {sense, random.below(2)};
}

Senses noun_senses(Vocabulary vocabulary, Category category) {
  const Senses range = senses(vocabulary, labelled_nouns_per_category, nouns_per_category);
  const int first = static_cast<int>(category) * nouns_per_category;
  return {first + range.begin, first + range.end};
}

Senses verb_senses(Vocabulary vocabulary) {
  return senses(vocabulary, labelled_verbs, static_cast<int>(verbs.size()));
}

Senses adjective_senses(Vocabulary vocabulary) {
  return senses(vocabulary, labelled_adjectives, static_cast<int>(adjectives.size()));
}

Senses polarity_senses(Vocabulary vocabulary) {
  return senses(vocabulary, labelled_polarity, static_cast<int>(positive_adjectives.size()));
}

/// One of the other senses in the range, which holds at least two.
Lexeme draw_other(PocketRandom& random, Senses range, int sense) {
  --range.end;
  Lexeme lexeme = draw_lexeme(random, range);
  if (lexeme.sense >= sense) ++lexeme.sense;
  return lexeme;
}

const char* spell(const Synonyms& synonyms, const Lexeme& lexeme) {
  return synonyms[static_cast<size_t>(lexeme.form)];
}

}  // namespace

Category category_of(const Lexeme& noun) {
  return static_cast<Category>(noun.sense / nouns_per_category);
}

std::string with_s(const std::string& stem) {
  return stem + "s";
}

std::string noun_word(const Lexeme& noun, bool plural) {
  const std::string stem = spell(nouns[static_cast<size_t>(noun.sense)], noun);
  return plural ? with_s(stem) : stem;
}

std::string category_word(Category category, bool plural) {
  const std::string stem = categories[static_cast<size_t>(category)];
  return plural ? with_s(stem) : stem;
}

std::string adjective_word(const Lexeme& adjective) {
  return spell(adjectives[static_cast<size_t>(adjective.sense)], adjective);
}

std::string verb_word(const Lexeme& verb) {
  return spell(verbs[static_cast<size_t>(verb.sense)], verb);
}

std::string verb_third_person(const Lexeme& verb) {
  return with_s(verb_word(verb));
}

std::string verb_past(const Lexeme& verb) {
  const std::string stem = verb_word(verb);
  return stem + (stem.ends_with("e") ? "d" : "ed");
}

std::string polarity_adjective(const PolarityWord& word) {
  return (word.positive ? positive_adjectives : negative_adjectives)[static_cast<size_t>(word.index)];
}

std::string attitude_verb(const PolarityWord& word) {
  return (word.positive ? positive_attitudes : negative_attitudes)[static_cast<size_t>(word.index)];
}

Lexeme draw_noun(PocketRandom& random, Vocabulary vocabulary, Category category) {
  return draw_lexeme(random, noun_senses(vocabulary, category));
}

Lexeme draw_verb(PocketRandom& random, Vocabulary vocabulary) {
  return draw_lexeme(random, verb_senses(vocabulary));
}

Lexeme draw_adjective(PocketRandom& random, Vocabulary vocabulary) {
  return draw_lexeme(random, adjective_senses(vocabulary));
}

PolarityWord draw_polarity_adjective(PocketRandom& random, Vocabulary vocabulary, bool positive) {
  return {positive, draw_sense(random, polarity_senses(vocabulary))};
}

PolarityWord draw_anchor(PocketRandom& random, bool positive) {
  return {positive, random.below(num_anchors)};
}

PolarityWord draw_attitude(PocketRandom& random, bool positive) {
  return {positive, random.below(static_cast<int>(positive_attitudes.size()))};
}

Lexeme other_noun(PocketRandom& random, Vocabulary vocabulary, const Lexeme& noun) {
  return draw_other(random, noun_senses(vocabulary, category_of(noun)), noun.sense);
}

Lexeme other_verb(PocketRandom& random, Vocabulary vocabulary, const Lexeme& verb) {
  return draw_other(random, verb_senses(vocabulary), verb.sense);
}

Lexeme other_adjective(PocketRandom& random, Vocabulary vocabulary, const Lexeme& adjective) {
  return draw_other(random, adjective_senses(vocabulary), adjective.sense);
}

std::vector<std::string> content_stems(Vocabulary vocabulary) {
  std::vector<std::string> stems;
  const auto add = [&](std::span<const Synonyms> table, const Senses& range) {
    for (int sense = range.begin; sense < range.end; ++sense) {
      for (const char* word : table[static_cast<size_t>(sense)]) stems.emplace_back(word);
    }
  };
  for (int category = 0; category < num_categories; ++category) {
    add(nouns, noun_senses(vocabulary, static_cast<Category>(category)));
  }
  add(verbs, verb_senses(vocabulary));
  add(adjectives, adjective_senses(vocabulary));
  const Senses polarity = polarity_senses(vocabulary);
  for (const auto* table : {&positive_adjectives, &negative_adjectives}) {
    stems.insert(stems.end(), table->begin() + polarity.begin, table->begin() + polarity.end);
  }
  return stems;
}

std::vector<std::string> word_pieces() {
  std::vector<std::string> pieces(function_words.begin(), function_words.end());
  const std::vector<std::string> content = content_stems(Vocabulary::all);
  pieces.insert(pieces.end(), content.begin(), content.end());
  pieces.insert(pieces.end(), categories.begin(), categories.end());
  pieces.insert(pieces.end(), positive_attitudes.begin(), positive_attitudes.end());
  pieces.insert(pieces.end(), negative_attitudes.begin(), negative_attitudes.end());
  pieces.insert(pieces.end(), {"##s", "##d", "##ed"});
  return pieces;
}

}  // namespace normtune::pocket
