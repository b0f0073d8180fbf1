// Whole pre-trainings of a tiny model on a tiny language: what is learned, what is written, exact resumes,
// and what users get wrong.

#include "experiments/pretrain.h"

#include <boost/test/unit_test.hpp>
#include <csignal>
#include <memory>

#include "experiments/checkpoint_folder.h"
#include "experiments/pretraining_evaluation.h"
#include "nn/vocabulary.h"
#include "tests/experiments/tiny_run.h"

namespace normtune {

using fixtures::check_error_parts;
using fixtures::TemporaryFolder;
using tiny::check_equal_runs;
using tiny::metrics_lines;
using tiny::results_of;
namespace fs = std::filesystem;

namespace {

/// Documents each about one animal and one colour, in sentences of a fixed form: masked words can be guessed
/// from the rest of the document, and whether two texts belong together from their topic.
std::string tiny_language(int num_documents, int first) {
  const std::vector<std::string> animals = {"cat", "dog", "bird", "fish"}, colours = {"red", "blue", "green"},
                                 verbs = {"sees", "likes", "follows"};
  std::string text;
  for (int d = first; d < first + num_documents; ++d) {
    const std::string animal = animals[static_cast<size_t>(d) % 4],
                      colour = colours[static_cast<size_t>(d) % 3];
    for (int i = 0; i < 6; ++i) {
      text += fmt::format("the {} {} {} a {} {} .\n", colour, animal, verbs[static_cast<size_t>(d + i) % 3],
                          colour, animal);
    }
    text += "\n";
  }
  return text;
}

struct PretrainWorkspace {
  TemporaryFolder folder;
  fs::path train = folder.write("train.txt", tiny_language(24, 0));
  fs::path valid = folder.write("valid.txt", tiny_language(12, 5));

  PretrainOptions options(const std::string& output) const {
    PretrainOptions options;
    options.output_dir = folder / output;
    options.train_files = {train};
    options.validation_files = {valid};
    options.vocab_size = 80;
    options.num_hidden_layers = 1;
    options.hidden_size = 16;
    options.num_attention_heads = 2;
    options.intermediate_size = 24;
    options.initializer_range = 0.1;
    options.max_seq_length = 24;
    options.learning_rate = 1e-2;
    options.per_device_train_batch_size = 8;
    options.logging_steps = 5;
    options.eval_steps = 10;
    options.save_steps = 4;
    options.max_steps = 12;
    options.hidden_dropout_prob = 0.1;
    options.attention_probs_dropout_prob = 0.1;
    return options;
  }
};

/// Sends a signal when progress first shows `text`.
ProgressOutput signal_at(const std::string& text) {
  const auto sent = std::make_shared<bool>(false);
  return {.write =
              [=](std::string_view line) {
                if (*sent || line.find(text) == std::string_view::npos) return;
                *sent = true;
                std::raise(SIGINT);
              },
          .interval = std::chrono::milliseconds(0)};
}

/// Pairs about one animal, right if both name it.
struct ToyCorpus final : PretrainingCorpus {
  int64_t size() const override { return 64; }
  CorpusExample example(int64_t epoch, int64_t index) const override {
    const std::vector<std::string> animals = {"cat", "dog", "bird", "fish"};
    const auto i = static_cast<size_t>(epoch * 64 + index);
    const bool wrong = i % 3 == 0;
    return {.text = "the " + animals[i % 4] + " sleeps",
            .text_pair = i % 5 == 0 ? "" : "a " + animals[(i + (wrong ? 1 : 0)) % 4] + " dreams",
            .wrong_pair = wrong};
  }
  std::string identity() const override { return "toy 1"; }
};

std::shared_ptr<const PretrainingCorpora> toy_corpora() {
  auto corpora = std::make_shared<PretrainingCorpora>();
  corpora->train = std::make_unique<ToyCorpus>();
  corpora->validation = std::make_unique<ToyCorpus>();
  return corpora;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(pretrain_job)

BOOST_AUTO_TEST_CASE(a_run_learns_and_leaves_a_model_folder) {
  const PretrainWorkspace workspace;
  PretrainOptions options = workspace.options("run");
  options.num_hidden_layers = 2;
  options.hidden_size = 32;
  options.learning_rate = 5e-3;
  options.max_steps = 1000;
  options.eval_steps = 200;
  options.hidden_dropout_prob = options.attention_probs_dropout_prob = 0;
  const TrainingResult result = pretrain(options);
  BOOST_TEST(result.interrupted_by == 0);

  const nlohmann::json results = results_of(options.output_dir);
  const std::vector<nlohmann::json> evaluations = metrics_lines(options.output_dir, "eval");
  BOOST_REQUIRE(evaluations.size() == 5);
  const double first_loss = evaluations.front().at("eval_mlm_loss"), loss = results.at("eval_mlm_loss");
  BOOST_TEST_MESSAGE("held-out loss " << first_loss << " -> " << loss << ", NSP accuracy "
                                      << results.at("eval_nsp_accuracy"));
  BOOST_CHECK(loss < 0.5);
  BOOST_CHECK(loss < first_loss - 1);
  BOOST_CHECK(results.at("eval_mlm_accuracy").get<double>() > 0.75);
  BOOST_CHECK(results.at("eval_nsp_accuracy").get<double>() > 0.8);
  BOOST_CHECK(std::abs(results.at("eval_loss").get<double>() - loss -
                       results.at("eval_nsp_loss").get<double>()) <= 1e-12);

  // The folder has the heads' names, and both kinds of model load it.
  const StateDict state = read_state_dict(options.output_dir);
  for (const char* name : {"cls.predictions.bias", "cls.predictions.transform.dense.weight",
                           "cls.predictions.transform.LayerNorm.weight", "cls.seq_relationship.weight",
                           "bert.pooler.dense.weight"}) {
    BOOST_CHECK_MESSAGE(state.find(name) != nullptr, name);
  }
  BOOST_CHECK(state.find("cls.predictions.decoder.weight") == nullptr);
  const Model again = load_model(options.output_dir, {.head = BertHead::pretraining});
  BOOST_CHECK(again.report.fresh.empty() && again.report.surplus.empty());
  const Model classifier = load_model(options.output_dir, {});
  BOOST_CHECK(classifier.fresh_classifier);
  BOOST_TEST(classifier.report.surplus.size() == 7);  // cls.*
  for (const char* name : {"vocab.txt", "tokenizer.json", "tokenizer_config.json", "config.json"}) {
    BOOST_CHECK_MESSAGE(fs::exists(options.output_dir / name), name);
  }
}

BOOST_AUTO_TEST_CASE(the_final_loss_is_that_of_the_written_model_and_examples) {
  const PretrainWorkspace workspace;
  const PretrainOptions options = workspace.options("run");
  pretrain(options);
  const Model model = load_model(options.output_dir, {.head = BertHead::pretraining});
  HeldOutExamples held_out;
  std::istringstream lines(fixtures::content_of(options.output_dir / "held_out.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line);
    held_out.indices.push_back(0);
    held_out.examples.push_back({.example = {.input_ids = json.at("input_ids"),
                                             .token_type_ids = json.at("token_type_ids"),
                                             .next_sentence_label = json.at("next_sentence_label")},
                                 .positions = json.at("masked_positions"),
                                 .labels = json.at("masked_labels")});
  }
  const std::optional<PretrainingEvaluation> one = evaluate_pretraining(model.bert, held_out, 1);
  const nlohmann::json results = results_of(options.output_dir);
  BOOST_CHECK(std::abs(one->mlm_loss - results.at("eval_mlm_loss").get<double>()) <= 1e-5);
  BOOST_CHECK(std::abs(*one->nsp_loss - results.at("eval_nsp_loss").get<double>()) <= 1e-5);
  BOOST_TEST(one->num_examples == results.at("eval_samples").get<int64_t>());
}

BOOST_AUTO_TEST_CASE(an_update_is_a_mean_however_it_is_cut) {
  const PretrainWorkspace workspace;
  PretrainOptions whole = workspace.options("whole"), cut = workspace.options("cut");
  whole.max_steps = cut.max_steps = 3;
  whole.precision = cut.precision = Precision::fp64;
  whole.per_device_train_batch_size = 8;
  cut.per_device_train_batch_size = 2;
  cut.gradient_accumulation_steps = 4;
  pretrain(whole);
  pretrain(cut);
  BOOST_CHECK(std::abs(results_of(whole.output_dir).at("eval_loss").get<double>() -
                       results_of(cut.output_dir).at("eval_loss").get<double>()) <= 1e-9);
  BOOST_CHECK(std::abs(results_of(whole.output_dir).at("train_loss").get<double>() -
                       results_of(cut.output_dir).at("train_loss").get<double>()) <= 1e-9);
}

BOOST_AUTO_TEST_CASE(a_stopped_run_ends_with_the_same_bytes) {
  const PretrainWorkspace workspace;
  const PretrainOptions uninterrupted = workspace.options("whole");
  pretrain(uninterrupted);
  for (int step = 1; step < 12; ++step) {
    PretrainOptions options = workspace.options("stopped" + std::to_string(step));
    options.progress = signal_at(fmt::format("Training: {}/12", step));
    const TrainingResult stopped = pretrain(options);
    BOOST_REQUIRE_EQUAL(stopped.interrupted_by, SIGINT);
    options.progress = {.quiet = true};
    options.resume_from_checkpoint = true;
    BOOST_REQUIRE_EQUAL(pretrain(options).interrupted_by, 0);
    BOOST_TEST_CONTEXT("stopped at step " << step) {
      check_equal_runs(uninterrupted.output_dir, options.output_dir);
    }
  }
}

BOOST_AUTO_TEST_CASE(threads_change_nothing) {
  const PretrainWorkspace workspace;
  for (const int count : {1, 3}) {
    const tiny::ThreadCount threads(count);
    pretrain(workspace.options(std::to_string(count)));
  }
  check_equal_runs(workspace.folder / "1", workspace.folder / "3");
}

BOOST_AUTO_TEST_CASE(without_pairs_the_pooler_stays) {
  const PretrainWorkspace workspace;
  PretrainOptions options = workspace.options("run");
  options.no_nsp = true;
  options.whole_word_mask = true;
  pretrain(options);
  const nlohmann::json results = results_of(options.output_dir);
  BOOST_CHECK(!results.contains("eval_nsp_loss"));
  BOOST_TEST(results.at("total_parameters").get<int64_t>() -
                 results.at("trainable_parameters").get<int64_t>() ==
             16 * 16 + 16 + 2 * 16 + 2);
  const Model model = load_model(options.output_dir, {.head = BertHead::pretraining});
  // A control that needs no weights may begin from it before the pre-training has ended.
  BOOST_CHECK_EQUAL(fixtures::content_of(options.output_dir / "initial/config.json"),
                    fixtures::content_of(options.output_dir / "config.json"));
  const Model initial = load_model(options.output_dir / "initial",
                                   {.head = BertHead::pretraining, .random_init = true, .init_seed = 42});
  for (const char* name : {"bert.pooler.dense.weight", "cls.seq_relationship.weight"}) {
    const auto values = [&](const Model& of) {
      return of.bert.parameters().at(name).variable.tensor().to_vector<float>();
    };
    BOOST_CHECK(values(model) == values(initial));
  }
}

BOOST_AUTO_TEST_CASE(a_time_limit_ends_the_run_and_is_kept_over_a_resume) {
  const PretrainWorkspace workspace;
  PretrainOptions options = workspace.options("run");
  options.max_steps = -1;
  options.time_limit = 2.0 / 60;  // two seconds
  options.warmup_ratio = 0;
  options.save_steps = 1'000'000;
  options.progress = signal_at("step 10:");  // the evaluation's line
  BOOST_REQUIRE_EQUAL(pretrain(options).interrupted_by, SIGINT);
  const int64_t stopped_at = checkpoint_steps(options.output_dir).back();
  const double seconds = read_training_state(checkpoint_path(options.output_dir, stopped_at)).seconds;
  BOOST_CHECK(seconds > 0 && seconds < 2.5);

  options.progress = {.quiet = true};
  options.resume_from_checkpoint = true;
  BOOST_REQUIRE_EQUAL(pretrain(options).interrupted_by, 0);
  const std::vector<nlohmann::json> steps = metrics_lines(options.output_dir, "step");
  BOOST_REQUIRE(steps.size() >= 2);
  double last = options.learning_rate;
  for (const nlohmann::json& line : steps) {  // the schedule falls with the time
    BOOST_CHECK(line.at("learning_rate").get<double>() <= last);
    last = line.at("learning_rate");
  }
  BOOST_CHECK(fs::exists(options.output_dir / "model.safetensors"));
}

BOOST_AUTO_TEST_CASE(a_model_is_continued) {
  const PretrainWorkspace workspace;
  const PretrainOptions first = workspace.options("first");
  pretrain(first);
  PretrainOptions second = workspace.options("second");
  second.model_name_or_path = first.output_dir;
  second.max_steps = 40;
  pretrain(second);
  BOOST_CHECK(results_of(second.output_dir).at("eval_loss").get<double>() <
              results_of(first.output_dir).at("eval_loss").get<double>());
  BOOST_CHECK(!fs::exists(second.output_dir / "initial"));
  BOOST_CHECK(fixtures::content_of(second.output_dir / "vocab.txt") ==
              fixtures::content_of(first.output_dir / "vocab.txt"));
}

BOOST_AUTO_TEST_CASE(a_corpus_takes_the_place_of_files) {
  const PretrainWorkspace workspace;
  PretrainOptions options = workspace.options("run");
  options.train_files.clear();
  options.validation_files.clear();
  options.corpora = toy_corpora();
  options.max_steps = 60;
  pretrain(options);
  const nlohmann::json results = results_of(options.output_dir);
  BOOST_CHECK(results.at("eval_samples") == 64);
  BOOST_CHECK(results.at("eval_nsp_accuracy").get<double>() > 0.6);
  const std::vector<std::string> vocabulary = read_vocabulary(options.output_dir / "vocab.txt");
  BOOST_CHECK(std::find(vocabulary.begin(), vocabulary.end(), "dreams") != vocabulary.end());
}

BOOST_AUTO_TEST_CASE(user_errors) {
  const PretrainWorkspace workspace;
  const auto check_refused = [&](ErrorKind kind, std::vector<std::string> parts, auto&& change) {
    PretrainOptions options = workspace.options("refused");
    change(options);
    check_error_parts(kind, parts, [&] { pretrain(options); });
  };
  const auto write = [&](const std::string& text) { return workspace.folder.write("bad.txt", text); };
  check_refused(ErrorKind::usage, {"--train_files"}, [](auto& options) { options.train_files.clear(); });
  check_refused(ErrorKind::data, {"bad.txt", "expected text"},
                [&](auto& options) { options.train_files = {write("\n\n")}; });
  check_refused(ErrorKind::data, {"bad.txt, line 2", "UTF-8"},
                [&](auto& options) { options.train_files = {write("fine\n\xFF\xFE\n")}; });
  check_refused(ErrorKind::data, {"nothing.txt"},
                [&](auto& options) { options.validation_files = {workspace.folder / "nothing.txt"}; });
  check_refused(ErrorKind::data, {"two documents", "--no_nsp"},
                [&](auto& options) { options.train_files = {write("the cat . the dog .\n")}; });
  check_refused(ErrorKind::usage, {"--vocab_size", "expected at least"},
                [](auto& options) { options.vocab_size = 20; });
  check_refused(ErrorKind::usage, {"--num_attention_heads", "divisor"},
                [](auto& options) { options.num_attention_heads = 3; });
  check_refused(ErrorKind::usage, {"--time_limit", "--max_steps"},
                [](auto& options) { options.time_limit = 1; });
  check_refused(ErrorKind::usage, {"--warmup_ratio"}, [](auto& options) {
    options.time_limit = 1;
    options.max_steps = -1;
    options.warmup_steps = 4;
  });
  check_refused(ErrorKind::usage, {"--mlm_probability"}, [](auto& options) { options.mlm_probability = 0; });
  check_refused(ErrorKind::usage, {"--max_position_embeddings"},
                [](auto& options) { options.max_position_embeddings = 10; });
  check_refused(ErrorKind::usage, {"--corpus"}, [](auto& options) { options.corpora = toy_corpora(); });
  check_refused(ErrorKind::model, {"missing"},
                [&](auto& options) { options.model_name_or_path = workspace.folder / "missing"; });

  PretrainOptions options = workspace.options("run");
  options.max_steps = 2;
  pretrain(options);
  check_error_parts(ErrorKind::usage, {"is not empty"}, [&] { pretrain(options); });
  options.overwrite_output_dir = true;
  pretrain(options);
}

BOOST_AUTO_TEST_CASE(a_checkpoint_of_other_options_is_refused) {
  const PretrainWorkspace workspace;
  PretrainOptions options = workspace.options("run");
  options.progress = signal_at("Training: 3/12");
  BOOST_REQUIRE_EQUAL(pretrain(options).interrupted_by, SIGINT);
  options.progress = {.quiet = true};
  options.resume_from_checkpoint = true;
  options.vocab_size = 70;
  check_error_parts(ErrorKind::usage, {"vocab_size 70 (was 80)"}, [&] { pretrain(options); });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
