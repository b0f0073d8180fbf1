#include "tests/tools/support.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "nn/bert.h"
#include "nn/bert_config.h"
#include "nn/checkpoint.h"
#include "nn/initialization.h"

namespace normtune::test {

namespace fs = std::filesystem;

namespace {

void redirect(const char* path, int flags, int descriptor) {
  const int opened = open(path, flags, 0600);
  if (opened < 0 || dup2(opened, descriptor) < 0) _exit(126);
}

void redirect_output(OutputTo output_to, const std::string& file) {
  switch (output_to) {
    case OutputTo::capture:
      return redirect(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
    case OutputTo::full_device:
      return redirect("/dev/full", O_WRONLY, STDOUT_FILENO);
    case OutputTo::closed:
      close(STDOUT_FILENO);
      return;
    case OutputTo::broken_pipe: {
      int ends[2];
      if (pipe(ends) != 0 || dup2(ends[1], STDOUT_FILENO) < 0) _exit(126);
      close(ends[0]);
      close(ends[1]);
      return;
    }
  }
}

[[noreturn]] void become_normtune(const Call& call, const TemporaryFolder& folder) {
  redirect((folder / "in").c_str(), O_RDONLY, STDIN_FILENO);
  redirect((folder / "err").c_str(), O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
  redirect_output(call.output_to, (folder / "out").string());
  setenv("OMP_NUM_THREADS", "1", 1);  // tiny models: threads would only wait for each other
  for (const auto& [name, value] : call.environment) setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> arguments = {const_cast<char*>(NORMTUNE_PROGRAM)};
  for (const std::string& argument : call.arguments) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  execv(NORMTUNE_PROGRAM, arguments.data());
  _exit(127);
}

/// Sends the signal as soon as the file is there; gives up when the child has ended.
int wait_and_signal(pid_t child, const Call& call) {
  int status = 0;
  if (call.signal_after_file == 0) {
    waitpid(child, &status, 0);
    return status;
  }
  bool sent = false;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (!sent && fs::exists(call.awaited_file)) {
      kill(child, call.signal_after_file);
      sent = true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return status;
}

}  // namespace

std::string Outcome::last_error_line() const {
  if (err.empty() || err.back() != '\n') return err;
  const size_t begin = err.size() < 2 ? std::string::npos : err.rfind('\n', err.size() - 2);
  return err.substr(begin == std::string::npos ? 0 : begin + 1, err.size() - 2 - begin);
}

Outcome run_normtune(const Call& call) {
  const TemporaryFolder folder;
  write_text(folder / "in", call.input);
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) become_normtune(call, folder);
  const int status = wait_and_signal(child, call);
  Outcome outcome;
  outcome.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  outcome.err = read_text(folder / "err");
  if (call.output_to == OutputTo::capture) outcome.out = read_text(folder / "out");
  return outcome;
}

void write_text(const fs::path& file, std::string_view text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << text;
}

std::string read_text(const fs::path& file) {
  std::ostringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

namespace {

const std::vector<std::string>& vocabulary() {
  static const std::vector<std::string> tokens = {
      "[PAD]",  "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the",  "a", "cat", "dog",   "runs",
      "sleeps", "not",   "well",  "##s",   "red",    "blue", ".", ",",   "hello", "world"};
  return tokens;
}

}  // namespace

nlohmann::json tiny_config() {
  return {{"model_type", "bert"},
          {"vocab_size", vocabulary().size()},
          {"hidden_size", 8},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 2},
          {"intermediate_size", 12},
          {"max_position_embeddings", 32},
          {"type_vocab_size", 2},
          {"initializer_range", 0.3}};
}

namespace {

std::vector<NamedTensor> random_weights(const fs::path& folder, const TinyModel& model) {
  const BertConfig config = read_bert_config(folder);
  const Bert bert(config, BertHead::classification);
  std::vector<NamedTensor> tensors;
  for (const Parameter& parameter : bert.parameters()) {
    if (parameter.component == "classifier") continue;
    if (parameter.component == "pooler.dense" && !model.pooler) continue;
    initialize_parameter(parameter, config, 1);
    tensors.push_back({parameter.name, parameter.variable.tensor()});
  }
  const auto num_labels = static_cast<int64_t>(model.constant_logits.size());
  if (num_labels > 0) {
    tensors.push_back({"classifier.weight", Tensor::zeros({num_labels, config.hidden_size}, DType::float32)});
    tensors.push_back({"classifier.bias", Tensor::from_values({num_labels}, model.constant_logits)});
  }
  return tensors;
}

}  // namespace

void write_tiny_model(const fs::path& folder, const TinyModel& model) {
  std::string lines;
  for (const std::string& token : vocabulary()) lines += token + "\n";
  write_text(folder / "vocab.txt", lines);
  write_text(folder / "tokenizer_config.json", "{\"do_lower_case\": true}");
  write_text(folder / "config.json", model.config.dump());
  if (model.weights) write_model_folder(folder, model.config.dump(), random_weights(folder, model));
}

namespace {

/// Rows whose label can be seen in the words.
std::string rte_rows(int count, bool labelled) {
  std::string text = labelled ? "index\tsentence1\tsentence2\tlabel\n" : "index\tsentence1\tsentence2\n";
  for (int i = 0; i < count; ++i) {
    const bool entails = i % 3 != 0;
    text += std::to_string(i) + "\tthe " + (i % 2 == 0 ? "red" : "blue") + " cat sleeps .\t" +
            (entails ? "the cat sleeps" : "the cat runs not well");
    if (labelled) text += entails ? "\tentailment" : "\tnot_entailment";
    text += "\n";
  }
  return text;
}

std::string cola_rows(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += i % 3 != 0 ? "src\t1\t\tthe dog runs well .\n" : "src\t0\t*\tdog the well runs .\n";
  }
  return text;
}

/// Columns of MNLI: the texts are the 9th and 10th.
std::string mnli_rows(int count, bool labelled) {
  const std::string columns =
      "promptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
      "sentence2_parse";
  std::string text = "index\t" + columns + "\tsentence1\tsentence2";
  if (labelled) text += "\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label";
  text += "\n";
  for (int i = 0; i < count; ++i) {
    text += std::to_string(i) + "\t" + columns + "\tthe cat sleeps\tthe dog runs";
    const std::string label = i % 2 == 0 ? "contradiction" : "neutral";
    if (labelled) text += "\t-\t-\t-\t-\t-\t" + label;
    text += "\n";
  }
  return text;
}

}  // namespace

void write_tiny_glue(const fs::path& folder) {
  write_text(folder / "RTE/train.tsv", rte_rows(24, true));
  write_text(folder / "RTE/dev.tsv", rte_rows(9, true));
  write_text(folder / "RTE/test.tsv", rte_rows(7, false));
  write_text(folder / "CoLA/train.tsv", cola_rows(24));
  write_text(folder / "CoLA/dev.tsv", cola_rows(9));
  write_text(folder / "CoLA/test.tsv", "index\tsentence\n0\tthe dog runs .\n1\tdog the\n");
  write_text(folder / "MNLI/dev_matched.tsv", mnli_rows(4, true));
  write_text(folder / "MNLI/dev_mismatched.tsv", mnli_rows(3, true));
  write_text(folder / "MNLI/test_matched.tsv", mnli_rows(5, false));
  write_text(folder / "MNLI/test_mismatched.tsv", mnli_rows(6, false));
  write_text(folder / "diagnostic/diagnostic.tsv", "index\tsentence1\tsentence2\n0\tthe cat\ta dog\n");
}

}  // namespace normtune::test
