#include "experiments/pocket_inference.h"

#include <utility>

namespace normtune::pocket {
namespace {

Words term_words(const Term& term, bool plural) {
  Words words;
  if (term.adjective) words.push_back(adjective_word(*term.adjective));
  words.push_back(term.noun ? noun_word(*term.noun, plural) : category_word(term.category, plural));
  return words;
}

Term draw_term(PocketRandom& random, Vocabulary vocabulary, Category category) {
  return {.noun = draw_noun(random, vocabulary, category), .category = category};
}

/// The term one step wider: without its adjective, or the name of the noun's category.
Term wider(const Term& term) {
  if (term.adjective) return {.noun = term.noun, .category = term.category};
  return {.category = term.category};
}

QuantifiedSentence draw_statement(PocketRandom& random, Vocabulary vocabulary) {
  QuantifiedSentence statement;
  const bool may_be_held_out = vocabulary != Vocabulary::labelled;
  statement.existential = may_be_held_out && random.chance(25);
  do {
    statement.quantifier = random.below(static_cast<int>(quantifiers.size()));
  } while (statement.existential && !quantifiers[static_cast<size_t>(statement.quantifier)].existential);
  const Category agent = random.chance(50) ? Category::animal : Category::human;
  statement.subject = draw_term(random, vocabulary, agent);
  statement.verb = draw_verb(random, vocabulary);
  const int other = 1 + random.below(num_categories - 1);
  const auto patient = static_cast<Category>((static_cast<int>(agent) + other) % num_categories);
  statement.object = draw_term(random, vocabulary, patient);
  return statement;
}

/// Premise and hypothesis differ by one word of the same rank.
Inference draw_same_rank(PocketRandom& random, Vocabulary vocabulary, bool entailed) {
  Inference inference{.premise = draw_statement(random, vocabulary), .entailed = entailed};
  inference.hypothesis = inference.premise;
  const int place = random.below(3);
  Lexeme& word = place == 0   ? *inference.hypothesis.subject.noun
                 : place == 1 ? *inference.hypothesis.object.noun
                              : inference.hypothesis.verb;
  if (entailed) {
    word.form = 1 - word.form;
  } else {
    word = place == 2 ? other_verb(random, vocabulary, word) : other_noun(random, vocabulary, word);
  }
  return inference;
}

/// Premise and hypothesis differ by one step up or down.
Inference draw_step(PocketRandom& random, Vocabulary vocabulary, bool entailed) {
  Inference inference{.premise = draw_statement(random, vocabulary), .entailed = entailed};
  const Quantifier& quantifier = quantifiers[static_cast<size_t>(inference.premise.quantifier)];
  const bool at_subject = random.chance(50);
  Term& term = at_subject ? inference.premise.subject : inference.premise.object;
  if (random.chance(50)) term.adjective = draw_adjective(random, vocabulary);
  inference.hypothesis = inference.premise;
  Term& hypothesis_term = at_subject ? inference.hypothesis.subject : inference.hypothesis.object;
  hypothesis_term = wider(term);
  const bool upward = at_subject ? quantifier.subject_upward : quantifier.object_upward;
  if (upward != entailed) std::swap(term, hypothesis_term);
  return inference;
}

}  // namespace

std::string quantified_text(const QuantifiedSentence& statement, const Words& connective) {
  const Quantifier& quantifier = quantifiers[static_cast<size_t>(statement.quantifier)];
  Words words = connective;
  if (statement.existential) append(words, {"there", quantifier.plural ? "are" : "is"});
  words.emplace_back(quantifier.word);
  append(words, term_words(statement.subject, quantifier.plural));
  if (statement.existential) words.emplace_back("that");
  words.push_back(quantifier.plural ? verb_word(statement.verb) : verb_third_person(statement.verb));
  words.emplace_back("a");
  append(words, term_words(statement.object, false));
  return sentence(std::move(words));
}

Inference draw_inference(PocketRandom& random, Vocabulary vocabulary, bool entailed) {
  return random.chance(75) ? draw_step(random, vocabulary, entailed)
                           : draw_same_rank(random, vocabulary, entailed);
}

}  // namespace normtune::pocket
