#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>
#include <set>
#include <sstream>

#include "experiments/bag_of_words.h"
#include "experiments/metrics.h"
#include "experiments/pocket_corpus.h"
#include "experiments/pocket_evaluation.h"
#include "experiments/pocket_files.h"
#include "experiments/pocket_inference.h"
#include "experiments/pocket_tasks.h"
#include "nn/bert_pre_tokenizer.h"
#include "nn/sha256.h"
#include "tests/experiments/fixtures.h"

using namespace normtune;
using namespace normtune::pocket;
using fixtures::content_of;
using fixtures::TemporaryFolder;

namespace {

constexpr uint64_t seed = 7;

// Senses by their place in the lexicon's tables.
const Lexeme dog{0, 0}, hound{0, 1}, horse{1, 0}, doctor{5, 0}, pie{10, 0}, car{15, 0}, house{25, 0};
const Lexeme chase{0, 0}, pursue{0, 1}, follow{1, 0}, guard{2, 0};
const Lexeme big{0, 0}, red{4, 0};

/// The dogs near this house chase the car.
Event dogs_chase(Tense tense = Tense::present) {
  Event event;
  event.subject = {.noun = dog, .plural = true};
  event.modifier = Modifier{.preposition = "near", .noun_phrase = {.determiner = 2, .noun = house}};
  event.verb = chase;
  event.object = {.noun = car};
  event.tense = tense;
  return event;
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

std::vector<Dataset> draw(const std::string& task, uint64_t with_seed = seed) {
  return draw_pocket_task(task, with_seed);
}

std::string all_text(const std::vector<Dataset>& splits) {
  std::string text;
  for (const Dataset& split : splits) {
    for (const Example& row : split.examples) {
      text += fmt::format("{}|{}|{}|{}\n", row.sentence1, row.sentence2.value_or(""), row.label, row.target);
    }
  }
  return text;
}

/// The words of all rows, without the endings that the lexicon's stems take.
std::set<std::string> words_of(const Dataset& dataset) {
  std::set<std::string> words;
  for (const Example& row : dataset.examples) {
    for (const std::string& text : {row.sentence1, row.sentence2.value_or("")}) {
      for (const std::string& word : split_words(lower(text))) words.insert(word);
    }
  }
  return words;
}

bool spells(const std::set<std::string>& words, const std::string& stem) {
  for (const char* ending : {"", "s", "d", "ed"}) {
    if (words.contains(stem + ending)) return true;
  }
  return false;
}

bool is_held_out_construction(const std::string& text) {
  for (const char* sign : {"It is the ", "It is a ", "It is this ", "It is these ", "It is two ", "There ",
                           "body considers", " anything but ", " nothing but ", " but "}) {
    if (text.find(sign) != std::string::npos) return true;
  }
  return false;
}

double bag_of_words_score(const std::string& name, bool overlap, const std::vector<Dataset>& splits) {
  const Task& task = find_task(name);
  const BagOfWords model(word_pieces(), splits[0], overlap);
  return headline_score(task, compute_metrics(task, splits[2], model.logits(splits[2]))).value();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(pocket)

// Derivations and what they say.

BOOST_AUTO_TEST_CASE(an_event_in_every_construction) {
  const Event event = dogs_chase();
  BOOST_TEST(event_sentence(event, Construction::active) == "The dogs near this house chase the car.");
  BOOST_TEST(event_sentence(event, Construction::passive) ==
             "The car is chased by the dogs near this house.");
  BOOST_TEST(event_sentence(event, Construction::subject_cleft) ==
             "It is the dogs near this house that chase the car.");
  BOOST_TEST(event_sentence(event, Construction::object_cleft) ==
             "It is the car that the dogs near this house chase.");
}

BOOST_AUTO_TEST_CASE(tenses_in_both_voices) {
  const std::map<Tense, std::pair<std::string, std::string>> expected = {
      {Tense::past, {"chased", "was chased"}},
      {Tense::perfect, {"have chased", "has been chased"}},
      {Tense::future, {"will chase", "will be chased"}},
      {Tense::negated_past, {"did not chase", "was not chased"}}};
  for (const auto& [tense, verbs] : expected) {
    Event event = dogs_chase(tense);
    event.modifier.reset();
    BOOST_TEST(event_sentence(event, Construction::active) == "The dogs " + verbs.first + " the car.");
    BOOST_TEST(event_sentence(event, Construction::passive) == "The car " + verbs.second + " by the dogs.");
  }
}

BOOST_AUTO_TEST_CASE(an_article_fits_the_next_word) {
  Event event = dogs_chase();
  event.modifier.reset();
  event.object = {.determiner = 1, .noun = {car.sense, 1}};
  BOOST_TEST(event_sentence(event, Construction::active) == "The dogs chase an auto.");
  event.object.adjective = red;
  BOOST_TEST(event_sentence(event, Construction::active) == "The dogs chase a red auto.");
}

BOOST_AUTO_TEST_CASE(a_relative_clause_agrees_with_its_noun) {
  Event event = dogs_chase();
  event.modifier->verb = guard;
  BOOST_TEST(event_sentence(event, Construction::active) == "The dogs that guard this house chase the car.");
  event.subject.plural = false;
  BOOST_TEST(event_sentence(event, Construction::active) == "The dog that guards this house chases the car.");
}

BOOST_AUTO_TEST_CASE(each_fault_spoils_one_word) {
  Event event = dogs_chase();
  event.object.determiner = 2;
  const auto spoilt = [&](Fault fault, Construction construction = Construction::active) {
    BOOST_TEST(can_have(fault, event, construction));
    return event_sentence(event, construction, fault);
  };
  BOOST_TEST(spoilt(Fault::agreement) == "The dogs near this house chases this car.");
  BOOST_TEST(spoilt(Fault::agreement, Construction::passive) ==
             "This car are chased by the dogs near this house.");
  BOOST_TEST(spoilt(Fault::agreement, Construction::object_cleft) ==
             "It is this car that the dogs near this house chases.");
  BOOST_TEST(spoilt(Fault::object_determiner) == "The dogs near this house chase these car.");
  BOOST_TEST(!can_have(Fault::subject_determiner, event, Construction::active));
  BOOST_TEST(!can_have(Fault::verb_form, event, Construction::active));
  event.tense = Tense::perfect;
  BOOST_TEST(spoilt(Fault::verb_form) == "The dogs near this house have chase this car.");
  event.tense = Tense::negated_past;
  BOOST_TEST(spoilt(Fault::verb_form) == "The dogs near this house did not chased this car.");
  BOOST_TEST(!can_have(Fault::agreement, event, Construction::active));
  BOOST_TEST(can_have(Fault::agreement, event, Construction::passive));
  event.subject.determiner = 1;
  BOOST_TEST(spoilt(Fault::subject_determiner) == "A dogs near this house did not chase this car.");
}

BOOST_AUTO_TEST_CASE(negation_turns_polarity_round) {
  normtune::pocket::Evaluation evaluation{
      .word = {true, 0}, .thing = {.noun = pie}, .judge = {.noun = doctor}};
  const auto check_both = [&](const std::string& plain, const std::string& negated) {
    evaluation.negated = false;
    BOOST_TEST(evaluation_sentence(evaluation) == plain);
    BOOST_TEST(evaluation.is_positive());
    evaluation.negated = true;
    BOOST_TEST(evaluation_sentence(evaluation) == negated);
    BOOST_TEST(!evaluation.is_positive());
  };
  check_both("The pie is good.", "The pie is not good.");
  evaluation.form = EvaluationForm::considered;
  check_both("The doctor considers the pie good.", "The doctor does not consider the pie good.");
  evaluation.form = EvaluationForm::everybody;
  check_both("Everybody considers the pie good.", "Nobody considers the pie good.");
  evaluation.form = EvaluationForm::nothing;
  check_both("The pie is nothing but good.", "The pie is anything but good.");
  evaluation.form = EvaluationForm::truth;
  check_both("It is true that the pie is good.", "It is true that the pie is not good.");
  evaluation.denied = true;
  BOOST_TEST(evaluation_sentence(evaluation) == "It is false that the pie is not good.");
  BOOST_TEST(evaluation.is_positive());
  evaluation = {.form = EvaluationForm::contrast,
                .word = {false, 0},
                .opposite = {true, 1},
                .degree = "very",
                .past = true,
                .thing = {.noun = pie, .plural = true}};
  BOOST_TEST(evaluation_sentence(evaluation) == "The pies were not great but very bad.");
  BOOST_TEST(!evaluation.is_positive());
}

BOOST_AUTO_TEST_CASE(similarity_is_graded_by_derivation) {
  const Event event = dogs_chase();
  Event other = event;
  for (const Slot slot : all_slots) use_synonym(other, slot);
  BOOST_TEST(event_sentence(other, Construction::active) == "The hounds near this home pursue the auto.");
  BOOST_TEST(similarity(event, other) == 5.0);
  other.subject.noun = horse;  // another animal
  BOOST_TEST(similarity(event, other) == 5 * 3.5 / 4);
  other.object.noun = pie;  // no vehicle
  BOOST_TEST(similarity(event, other) == 5 * 2.5 / 4);
  other.verb = follow;
  BOOST_TEST(similarity(event, other) == 5 * 1.5 / 4);
  other.tense = Tense::negated_past;  // it did not happen
  BOOST_TEST(similarity(event, other) == 2.5 * 1.5 / 4);
  BOOST_TEST(similarity(other, other) == 5.0);
}

BOOST_AUTO_TEST_CASE(changes_keep_or_leave_the_category) {
  PocketRandom random({seed});
  for (int i = 0; i < 200; ++i) {
    const Event event = draw_event(random, Vocabulary::all);
    for (const Slot slot : all_slots) {
      Event near = event, far = event;
      const Lexeme before = lexeme_at(near, slot);
      change_sense(random, Vocabulary::all, near, slot);
      change_category(random, Vocabulary::all, far, slot);
      BOOST_TEST(lexeme_at(near, slot).sense != before.sense);
      BOOST_TEST(lexeme_at(far, slot).sense != before.sense);
      const bool is_noun = slot != Slot::verb && (slot != Slot::detail || event.modifier);
      if (!is_noun) continue;
      BOOST_TEST((category_of(lexeme_at(near, slot)) == category_of(before)));
      BOOST_TEST((category_of(lexeme_at(far, slot)) != category_of(before)));
    }
  }
}

BOOST_AUTO_TEST_CASE(quantified_sentences) {
  QuantifiedSentence statement{
      .quantifier = 4, .subject = {.noun = dog}, .verb = chase, .object = {.noun = car}};
  BOOST_TEST(quantified_text(statement) == "No dog chases a car.");
  statement.existential = true;
  BOOST_TEST(quantified_text(statement) == "There is no dog that chases a car.");
  statement.quantifier = 0;
  statement.subject = {.category = Category::animal};
  statement.object = {.adjective = red, .noun = car};
  BOOST_TEST(quantified_text(statement, {"so"}) == "So there are some animals that chase a red car.");
}

BOOST_AUTO_TEST_CASE(monotonicity_of_the_quantifiers) {
  const std::map<std::string, std::pair<bool, bool>> upward = {
      {"some", {true, true}}, {"several", {true, true}}, {"every", {false, true}},
      {"all", {false, true}}, {"no", {false, false}},    {"few", {false, false}}};
  BOOST_TEST(upward.size() == quantifiers.size());
  for (const Quantifier& quantifier : quantifiers) {
    BOOST_TEST(quantifier.subject_upward == upward.at(quantifier.word).first, quantifier.word);
    BOOST_TEST(quantifier.object_upward == upward.at(quantifier.word).second, quantifier.word);
  }
}

/// 1: the second term is wider, -1: narrower, 0: neither.
int direction(const Term& first, const Term& second) {
  if (first.noun && !second.noun) return 1;
  if (!first.noun && second.noun) return -1;
  if (first.adjective && !second.adjective) return 1;
  if (!first.adjective && second.adjective) return -1;
  return 0;
}

bool same_meaning(const Term& first, const Term& second) {
  return !first.noun || first.noun->sense == second.noun->sense;
}

BOOST_AUTO_TEST_CASE(inferences_obey_monotonicity) {
  PocketRandom random({seed});
  int steps = 0;
  std::map<std::string, int> entailed_by_quantifier;
  for (int i = 0; i < 4000; ++i) {
    const Inference drawn = draw_inference(random, Vocabulary::all, i % 2 == 0);
    const auto& [premise, hypothesis, entailed] = drawn;
    const Quantifier& quantifier = quantifiers[static_cast<size_t>(premise.quantifier)];
    const int at_subject = direction(premise.subject, hypothesis.subject);
    const int at_object = direction(premise.object, hypothesis.object);
    BOOST_TEST(hypothesis.quantifier == premise.quantifier);
    BOOST_TEST((at_subject == 0 || at_object == 0));
    bool follows = same_meaning(premise.subject, hypothesis.subject) &&
                   same_meaning(premise.object, hypothesis.object) &&
                   premise.verb.sense == hypothesis.verb.sense;
    if (at_subject != 0) follows = (at_subject > 0) == quantifier.subject_upward;
    if (at_object != 0) follows = (at_object > 0) == quantifier.object_upward;
    BOOST_TEST(entailed == follows, quantified_text(premise) + " " + quantified_text(hypothesis));
    steps += at_subject != 0 || at_object != 0;
    entailed_by_quantifier[quantifier.word] += entailed ? 1 : -1;
  }
  BOOST_TEST(steps > 2800);
  for (const auto& [word, balance] : entailed_by_quantifier) BOOST_TEST(std::abs(balance) < 120, word);
}

// The lexicon.

BOOST_AUTO_TEST_CASE(pieces_are_distinct_and_spell_every_word_as_meant) {
  const std::vector<std::string> pieces = word_pieces();
  const std::set<std::string> known(pieces.begin(), pieces.end());
  BOOST_TEST(known.size() == pieces.size());
  std::vector<std::string> vocabulary = {"[UNK]"};
  vocabulary.insert(vocabulary.end(), pieces.begin(), pieces.end());
  const WordPiece wordpiece(vocabulary, 0, 100);
  const PocketCorpus corpus(seed, 0, 5000, 1000);
  for (int64_t i = 0; i < corpus.size(); ++i) {
    const CorpusExample example = corpus.example(0, i);
    for (const std::string& word : split_words(lower(example.text + " " + example.text_pair))) {
      std::vector<int32_t> ids;
      wordpiece.append_ids(word, ids);
      BOOST_TEST((ids[0] != 0 && ids.size() <= 2), word);
      // A stem and an ending, never a stem that happens to begin another.
      if (ids.size() == 2) BOOST_TEST(vocabulary[static_cast<size_t>(ids[1])].size() <= 4u, word);
    }
  }
}

BOOST_AUTO_TEST_CASE(held_out_and_labelled_words_make_up_the_lexicon) {
  std::vector<std::string> parts = content_stems(Vocabulary::labelled);
  const std::vector<std::string> held_out = content_stems(Vocabulary::held_out);
  const std::set<std::string> labelled(parts.begin(), parts.end());
  for (const std::string& stem : held_out) BOOST_TEST(!labelled.contains(stem), stem);
  parts.insert(parts.end(), held_out.begin(), held_out.end());
  std::vector<std::string> all = content_stems(Vocabulary::all);
  std::sort(parts.begin(), parts.end());
  std::sort(all.begin(), all.end());
  BOOST_TEST(parts == all, boost::test_tools::per_element());
}

// The corpus.

BOOST_AUTO_TEST_CASE(a_pair_is_a_function_of_seed_epoch_and_index) {
  const PretrainingCorpora first = pocket_corpora(seed), again = pocket_corpora(seed);
  for (const int64_t index : {383'999, 0, 77}) {
    BOOST_TEST(first.train->example(3, index).text == again.train->example(3, index).text);
    BOOST_TEST(first.train->example(3, index).text_pair == again.train->example(3, index).text_pair);
  }
  const auto text = [&](int64_t epoch, int64_t index) { return first.train->example(epoch, index).text; };
  BOOST_TEST(text(0, 5) != text(1, 5));
  BOOST_TEST(text(0, 5) != text(0, 6));
  BOOST_TEST(text(0, 5) != first.validation->example(0, 5).text);
  BOOST_TEST(text(0, 5) != pocket_corpora(seed + 1).train->example(0, 5).text);
  BOOST_TEST(first.train->identity() != first.validation->identity());
  BOOST_TEST(first.train->identity() != pocket_corpora(seed + 1).train->identity());
}

BOOST_AUTO_TEST_CASE(about_half_of_the_pairs_are_wrong) {
  const PocketCorpus corpus(seed, 0, 6000, 0);
  int wrong = 0, single = 0;
  for (int64_t i = 0; i < corpus.size(); ++i) {
    const CorpusExample example = corpus.example(0, i);
    wrong += example.wrong_pair;
    single += example.text_pair.empty();
    BOOST_TEST((!example.wrong_pair || !example.text_pair.empty()));
  }
  BOOST_TEST((single > 250 && single < 420), single);
  BOOST_TEST((wrong > 2500 && wrong < 2850), wrong);
}

/// Content words of the corpus that both texts of a pair have.
int shared_stems(const CorpusExample& example) {
  static const std::vector<std::string> stems = content_stems(Vocabulary::all);
  const auto words = [](const std::string& text) {
    const std::vector<std::string> list = split_words(lower(text));
    return std::set<std::string>(list.begin(), list.end());
  };
  const std::set<std::string> first = words(example.text), second = words(example.text_pair);
  return static_cast<int>(std::count_if(stems.begin(), stems.end(), [&](const std::string& stem) {
    return spells(first, stem) && spells(second, stem);
  }));
}

BOOST_AUTO_TEST_CASE(the_corpus_begins_with_a_primer_of_easy_pairs) {
  const PocketCorpus corpus(seed, 0, 2000, 1000), without(seed, 0, 2000, 0);
  int wrong = 0, sharing = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    const CorpusExample example = corpus.example(0, i);
    BOOST_TEST(!example.text_pair.empty());
    wrong += example.wrong_pair;
    // No wrong pair has a word in common but by chance: another opinion of one thing, a relative clause.
    sharing += example.wrong_pair && shared_stems(example) > 0;
    BOOST_TEST(corpus.example(0, 1000 + i).text == without.example(0, 1000 + i).text);
    BOOST_TEST(corpus.example(1, i).text == without.example(1, i).text);
  }
  BOOST_TEST((wrong > 430 && wrong < 570), wrong);
  BOOST_TEST(sharing < wrong / 4, sharing);
}

BOOST_AUTO_TEST_CASE(the_corpus_holds_what_the_training_rows_do_not) {
  std::set<std::string> words;
  bool held_out_construction = false;
  const PocketCorpus corpus(seed, 0, 20'000, 0);
  for (int64_t i = 0; i < corpus.size(); ++i) {
    const CorpusExample example = corpus.example(0, i);
    for (const std::string& word : split_words(lower(example.text + " " + example.text_pair)))
      words.insert(word);
    held_out_construction |= example.text.find("It is the ") == 0;
  }
  BOOST_TEST(held_out_construction);
  for (const std::string& stem : content_stems(Vocabulary::all)) BOOST_TEST(spells(words, stem), stem);
}

// The tasks.

BOOST_AUTO_TEST_CASE(rows_depend_on_the_seed_alone) {
  for (const std::string& name : pocket_task_names()) {
    const std::string text = all_text(draw(name));
    BOOST_TEST(text == all_text(draw(name)));
    BOOST_TEST(text != all_text(draw(name, seed + 1)));
  }
}

BOOST_AUTO_TEST_CASE(classes_have_fixed_shares) {
  for (const std::string& name : pocket_task_names()) {
    const int64_t ones_in_ten = name == "mrpc" ? 4 : 5;
    for (const Dataset& split : draw(name)) {
      if (split.regression) continue;
      int64_t ones = 0;
      for (const Example& row : split.examples) ones += row.label;
      BOOST_TEST(10 * ones == ones_in_ten * static_cast<int64_t>(split.examples.size()),
                 name << " " << split.split);
    }
  }
}

BOOST_AUTO_TEST_CASE(scores_spread_from_0_to_5) {
  double lowest = 5, highest = 0, sum = 0;
  const Dataset train = draw("stsb")[0];
  for (const Example& row : train.examples) {
    lowest = std::min(lowest, row.target);
    highest = std::max(highest, row.target);
    sum += row.target;
  }
  const double mean = sum / static_cast<double>(train.examples.size());
  BOOST_TEST(lowest == 0.0);
  BOOST_TEST(highest == 5.0);
  BOOST_TEST((mean > 2.0 && mean < 3.0), mean);
}

BOOST_AUTO_TEST_CASE(no_row_occurs_twice) {
  for (const std::string& name : pocket_task_names()) {
    std::set<std::pair<std::string, std::string>> seen;
    for (const Dataset& split : draw(name)) {
      for (const Example& row : split.examples) {
        BOOST_TEST(seen.emplace(row.sentence1, row.sentence2.value_or("")).second, row.sentence1);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(training_and_evaluation_share_no_content_word) {
  for (const std::string& name : pocket_task_names()) {
    const std::vector<Dataset> splits = draw(name);
    const std::set<std::string> train = words_of(splits[0]);
    for (const std::string& stem : content_stems(Vocabulary::held_out))
      BOOST_TEST(!spells(train, stem), stem);
    for (const Dataset* split : {&splits[1], &splits[2]}) {
      const std::set<std::string> words = words_of(*split);
      for (const std::string& stem : content_stems(Vocabulary::labelled))
        BOOST_TEST(!spells(words, stem), name << ": " << stem);
    }
  }
}

BOOST_AUTO_TEST_CASE(evaluation_has_constructions_that_training_has_not) {
  for (const std::string& name : pocket_task_names()) {
    for (const Dataset& split : draw(name)) {
      int64_t held_out = 0;
      for (const Example& row : split.examples) {
        held_out += is_held_out_construction(row.sentence1 + " " + row.sentence2.value_or(""));
      }
      const auto rows = static_cast<int64_t>(split.examples.size());
      if (split.split == "train") BOOST_TEST(held_out == 0, name);
      if (split.split != "train") BOOST_TEST((held_out > rows / 10 && held_out < rows / 2), name << held_out);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_bag_of_words_learns_little) {
  const std::map<std::string, double> chance = {
      {"cola", 0.0}, {"sst2", 0.5}, {"mrpc", 0.4}, {"stsb", 0.0}, {"rte", 0.5}};
  for (const auto& [name, score] : chance) {
    const std::vector<Dataset> splits = draw(name);
    BOOST_TEST(bag_of_words_score(name, false, splits) < score + 0.12, name);
    const double allowed = name == "stsb" ? 0.4 : 0.12;  // shared words do grade similarity
    BOOST_TEST(bag_of_words_score(name, true, splits) < score + allowed, name);
  }
}

// The files.

BOOST_AUTO_TEST_CASE(files_are_read_back_without_a_warning) {
  const TemporaryFolder folder;
  write_pocket_files({.seed = seed, .output_dir = folder.path(), .corpus_pairs = 10});
  for (const std::string& name : pocket_task_names()) {
    const Task& task = find_task(name);
    const std::vector<Dataset> drawn = draw(name);
    for (const Dataset& split : drawn) {
      const Dataset read = load_glue(task, folder / "glue", split.split);
      BOOST_TEST(fmt::format("{}", fmt::join(read.warnings, " ")) == "");
      BOOST_REQUIRE(read.examples.size() == split.examples.size());
      for (size_t i = 0; i < read.examples.size(); ++i) {
        BOOST_TEST(read.examples[i].sentence1 == split.examples[i].sentence1);
        BOOST_TEST((read.examples[i].sentence2 == split.examples[i].sentence2));
        BOOST_TEST(read.examples[i].label == split.examples[i].label);
        BOOST_TEST(std::abs(read.examples[i].target - split.examples[i].target) <= 5.1e-4);
        BOOST_TEST(read.examples[i].idx == static_cast<int64_t>(i));
      }
    }
    const Dataset unlabelled = load_glue(task, folder / "glue", "test");
    BOOST_TEST(unlabelled.warnings.empty());
    BOOST_TEST(!unlabelled.labelled);
    BOOST_TEST(unlabelled.examples.back().sentence1 == drawn[2].examples.back().sentence1);
  }
}

BOOST_AUTO_TEST_CASE(files_have_the_same_bytes_everywhere) {
  const TemporaryFolder folder;
  write_pocket_files({.seed = 1, .output_dir = folder.path(), .corpus_pairs = 1000});
  std::string content = content_of(folder / "corpus.txt");
  for (const std::string& name : pocket_task_names()) {
    for (const char* split : {"train", "dev", "test", "test_labelled"}) {
      content += content_of(folder / fmt::format("glue/{}/{}.tsv", find_task(name).folder, split));
    }
  }
  // The grammar's version in PocketCorpus::identity() changes whenever this does.
  BOOST_TEST(sha256(content) == "152957f24eee4c0c4e21322e90389444e595b4808dee91cf243e260879ba3b51");
}

BOOST_AUTO_TEST_CASE(the_corpus_file_holds_right_pairs_apart) {
  const TemporaryFolder folder;
  write_pocket_files({.seed = seed, .output_dir = folder.path(), .corpus_pairs = 500});
  std::istringstream lines(content_of(folder / "corpus.txt"));
  int64_t documents = 0, length = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) {
      ++length;
      continue;
    }
    BOOST_TEST((length == 1 || length == 2));
    ++documents;
    length = 0;
  }
  BOOST_TEST(documents == 500);
}

BOOST_AUTO_TEST_SUITE_END()
