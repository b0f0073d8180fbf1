#include "experiments/pocket_evaluation.h"

#include <utility>

namespace normtune::pocket {
namespace {

std::string copula(bool past, bool plural) {
  if (past) return plural ? "were" : "was";
  return plural ? "are" : "is";
}

Words adjective_phrase(const Evaluation& evaluation) {
  Words words;
  if (!evaluation.degree.empty()) words.push_back(evaluation.degree);
  words.push_back(polarity_adjective(evaluation.word));
  return words;
}

/// "the pie is not very good"
Words statement(const Evaluation& evaluation) {
  Words words = noun_phrase_words(evaluation.thing);
  words.push_back(copula(evaluation.past, evaluation.thing.plural));
  if (evaluation.negated) words.push_back(evaluation.negator);
  append(words, adjective_phrase(evaluation));
  return words;
}

/// "the doctor does not consider the pie good"
Words judgement(const Evaluation& evaluation) {
  Words words = noun_phrase_words(evaluation.judge);
  const bool plural = evaluation.judge.plural;
  if (evaluation.negated) {
    append(words, {plural ? "do" : "does", "not", "consider"});
  } else {
    words.push_back(plural ? "consider" : with_s("consider"));
  }
  append(words, noun_phrase_words(evaluation.thing));
  append(words, adjective_phrase(evaluation));
  return words;
}

Words general_judgement(const Evaluation& evaluation) {
  Words words = {evaluation.negated ? "nobody" : "everybody", with_s("consider")};
  append(words, noun_phrase_words(evaluation.thing));
  append(words, adjective_phrase(evaluation));
  return words;
}

/// "the pie is anything but good" and "the pie is not bad but good"
Words with_but(const Evaluation& evaluation) {
  Words words = noun_phrase_words(evaluation.thing);
  words.push_back(copula(evaluation.past, evaluation.thing.plural));
  if (evaluation.form == EvaluationForm::contrast) {
    append(words, {"not", polarity_adjective(evaluation.opposite)});
  } else {
    words.push_back(evaluation.negated ? "anything" : "nothing");
  }
  words.push_back("but");
  append(words, adjective_phrase(evaluation));
  return words;
}

Words evaluation_words(const Evaluation& evaluation) {
  switch (evaluation.form) {
    case EvaluationForm::plain:
      return statement(evaluation);
    case EvaluationForm::considered:
      return judgement(evaluation);
    case EvaluationForm::truth: {
      Words words = {"it", "is", evaluation.denied ? "false" : "true", "that"};
      append(words, statement(evaluation));
      return words;
    }
    case EvaluationForm::everybody:
      return general_judgement(evaluation);
    case EvaluationForm::nothing:
    case EvaluationForm::contrast:
      break;
  }
  return with_but(evaluation);
}

PolarityWord draw_adjective_of(PocketRandom& random, Vocabulary vocabulary, bool positive) {
  if (vocabulary == Vocabulary::all && random.chance(50)) return draw_anchor(random, positive);
  return draw_polarity_adjective(random, vocabulary, positive);
}

EvaluationForm draw_form(PocketRandom& random, Vocabulary vocabulary) {
  const bool may_be_held_out = vocabulary != Vocabulary::labelled;
  const int held_out = may_be_held_out ? 10 : 0;
  return static_cast<EvaluationForm>(random.weighted({40, 20, 20, held_out, held_out, held_out}));
}

Lexeme draw_human(PocketRandom& random, Vocabulary vocabulary) {
  return draw_noun(random, vocabulary, Category::human);
}

NounPhrase draw_thing(PocketRandom& random, Vocabulary vocabulary) {
  const auto category = static_cast<Category>(random.below(num_categories));
  NounPhrase thing = draw_noun_phrase(random, draw_noun(random, vocabulary, category));
  if (random.chance(30)) thing.adjective = draw_adjective(random, vocabulary);
  return thing;
}

/// "they are very good"
Words opinion_by_adjective(PocketRandom& random, bool positive, bool plural) {
  Words words = {plural ? "they" : "it", copula(false, plural)};
  if (random.chance(25)) words.push_back(random.pick({"very", "really"}));
  words.push_back(polarity_adjective(draw_adjective_of(random, Vocabulary::all, positive)));
  return words;
}

/// "the teachers love it"
Words opinion_by_verb(PocketRandom& random, bool positive, bool plural) {
  const NounPhrase judge = draw_noun_phrase(random, draw_human(random, Vocabulary::all));
  Words words = noun_phrase_words(judge);
  const std::string verb = attitude_verb(draw_attitude(random, positive));
  append(words, {judge.plural ? verb : with_s(verb), plural ? "them" : "it"});
  return words;
}

}  // namespace

std::string evaluation_sentence(const Evaluation& evaluation) {
  return sentence(evaluation_words(evaluation));
}

Evaluation draw_evaluation(PocketRandom& random, Vocabulary vocabulary, bool positive, int percent_negated) {
  Evaluation evaluation;
  evaluation.form = draw_form(random, vocabulary);
  evaluation.negated = evaluation.form != EvaluationForm::contrast && random.chance(percent_negated);
  evaluation.denied = evaluation.form == EvaluationForm::truth && random.chance(percent_negated);
  const bool turned = evaluation.negated != evaluation.denied;
  evaluation.word = draw_adjective_of(random, vocabulary, positive != turned);
  evaluation.opposite = draw_adjective_of(random, vocabulary, !positive);
  evaluation.negator = random.pick({"not", "never", "hardly"});
  evaluation.degree = random.pick({"", "", "very", "really"});
  evaluation.past = random.chance(30);
  evaluation.thing = draw_thing(random, vocabulary);
  evaluation.judge = draw_noun_phrase(random, draw_human(random, vocabulary));
  return evaluation;
}

std::string draw_opinion(PocketRandom& random, bool positive, bool plural) {
  Words words;
  if (random.chance(30)) words.push_back("so");
  append(words, random.chance(50) ? opinion_by_adjective(random, positive, plural)
                                  : opinion_by_verb(random, positive, plural));
  return sentence(std::move(words));
}

std::string draw_triple_evaluation(PocketRandom& random, bool positive, const NounPhrase& thing) {
  Words words = noun_phrase_words(thing);
  words.push_back(copula(false, thing.plural));
  const int place_of_anchor = random.below(3);
  for (int i = 0; i < 3; ++i) {
    const PolarityWord word = i == place_of_anchor
                                  ? draw_anchor(random, positive)
                                  : draw_polarity_adjective(random, Vocabulary::all, positive);
    if (i > 0) words.push_back("and");
    words.push_back(polarity_adjective(word));
  }
  return sentence(std::move(words));
}

}  // namespace normtune::pocket
