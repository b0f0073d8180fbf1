#pragma once

#include "experiments/pocket_event.h"

namespace normtune::pocket {

/// How an opinion is put. Each form but the last has a negated and a plain variant.
enum class EvaluationForm {
  plain,       ///< the pie is (not) good
  considered,  ///< the doctor considers (does not consider) the pie good
  truth,       ///< it is true (false) that the pie is (not) good
  // held out from the training rows:
  everybody,  ///< everybody (nobody) considers the pie good
  nothing,    ///< the pie is nothing (anything) but good
  contrast,   ///< the pie is not bad but good
};

/// What somebody thinks of a thing: the derivation behind sentiment. Its polarity is that of the adjective,
/// turned round by each negation.
struct Evaluation {
  EvaluationForm form = EvaluationForm::plain;
  PolarityWord word;
  PolarityWord opposite = {};   ///< of a contrast: the adjective that is denied
  bool negated = false;         ///< by `negator`, "does not", "nobody" or "anything but"
  bool denied = false;          ///< "it is false that", in the form `truth` alone
  std::string negator = "not";  ///< not, never or hardly
  std::string degree = "";      ///< "", very or really, before the adjective
  bool past = false;
  NounPhrase thing;
  NounPhrase judge = {};  ///< of the form `considered`

  bool is_positive() const { return word.positive != (negated != denied); }
};

std::string evaluation_sentence(const Evaluation& evaluation);

/// An evaluation of this polarity. `percent_negated` of those that can be are negated: of the tasks' half, so
/// that no word tells their polarity. Half of the corpus' adjectives (vocabulary `all`) are anchors: what an
/// adjective means shows in its company.
Evaluation draw_evaluation(PocketRandom& random, Vocabulary vocabulary, bool positive, int percent_negated);

/// What somebody adds about the same thing, with the same or the other opinion: "The teachers love it."
/// or "So it is very good."
std::string draw_opinion(PocketRandom& random, bool positive, bool plural);

/// "The pie is lovely and good and superb.": one polarity, said three times, once by an anchor.
std::string draw_triple_evaluation(PocketRandom& random, bool positive, const NounPhrase& thing);

}  // namespace normtune::pocket
