#pragma once

#include <omp.h>

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "experiments/finetune.h"
#include "nn/checkpoint.h"
#include "nn/initialization.h"
#include "nn/json_file.h"
#include "nn/mask_file.h"
#include "nn/model.h"
#include "nn/safetensors.h"
#include "tests/experiments/fixtures.h"

/// A tiny random BERT, tiny tasks, and what is needed to compare two runs on them.
namespace normtune::tiny {

namespace fs = std::filesystem;
using fixtures::TemporaryFolder;

inline const std::vector<std::string> words = {
    "the", "a",  "cat", "dog",  "runs",  "sleeps", "good", "bad", "very", "film", "book",
    "was", "is", "not", "here", "there", "red",    "blue", "old", "new",  "##s",  "##ly"};

struct ModelSizes {
  int64_t type_vocab_size = 2, num_heads = 3, head_size = 4;
};

inline std::string config_json(const ModelSizes& sizes) {
  return fmt::format(R"({{"model_type": "bert", "vocab_size": {}, "hidden_size": {}, "num_hidden_layers": 2,
 "num_attention_heads": {}, "intermediate_size": 20, "max_position_embeddings": 32, "type_vocab_size": {}}})",
                     words.size() + 5, sizes.num_heads * sizes.head_size, sizes.num_heads,
                     sizes.type_vocab_size);
}

inline std::string vocabulary() {
  std::string text = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (const std::string& word : words) text += word + "\n";
  return text;
}

/// Writes a model folder with weights large enough that two layers have something to say.
inline fs::path write_model(const fs::path& folder, const ModelSizes& sizes = {}) {
  fs::create_directories(folder);
  std::ofstream(folder / "config.json") << config_json(sizes);
  std::ofstream(folder / "vocab.txt") << vocabulary();
  std::ofstream(folder / "tokenizer_config.json") << R"({"do_lower_case": true})";
  BertConfig config = read_bert_config(folder);
  config.initializer_range = 0.3 * std::sqrt(12.0 / static_cast<double>(config.hidden_size));
  const Bert model(config, BertHead::classification);
  std::vector<NamedTensor> tensors;
  for (const Parameter& parameter : model.parameters()) {
    initialize_parameter(parameter, config, 7);
    if (!parameter.component.starts_with("classifier")) {
      tensors.push_back({parameter.name, parameter.variable.tensor()});
    }
  }
  write_safetensors(folder / "model.safetensors", tensors);
  return folder;
}

/// Four elements of the encoder for the method `mask`.
inline fs::path write_small_mask(const fs::path& file) {
  write_mask(file, {.origin = {},
                    .tensors = {{"bert.encoder.layer.0.output.dense.weight", {0, 5, 17}},
                                {"bert.encoder.layer.1.output.LayerNorm.bias", {3}}}});
  return file;
}

/// A sentence of 2 to 8 words in which "good" or "bad" tells the class.
inline std::string sentence(int64_t index, int label) {
  std::string text;
  const int64_t length = 2 + index % 7;
  for (int64_t i = 0; i < length; ++i) {
    const bool telling = i == index % length;
    const size_t neutral = static_cast<size_t>((index * 31 + i * 17) % 16);
    text += (i > 0 ? " " : "") +
            (telling ? words[label == 1 ? 6 : 7] : words[neutral == 6 || neutral == 7 ? 0 : neutral]);
  }
  return text;
}

/// SST-2, RTE, STS-B and MNLI in miniature.
inline fs::path write_glue(const fs::path& folder, int64_t num_train = 26, int64_t num_dev = 10) {
  const auto write = [&](const std::string& name, const std::string& header, int64_t count, auto&& row) {
    fs::create_directories((folder / name).parent_path());
    std::ofstream file(folder / name, std::ios::binary);
    file << header << "\n";
    for (int64_t i = 0; i < count; ++i) file << row(i) << "\n";
  };
  const auto label = [](int64_t i) { return static_cast<int>((i * 7 / 3) % 2); };
  const auto sst2 = [&](int64_t i) { return fmt::format("{}\t{}", sentence(i, label(i)), label(i)); };
  const auto rte = [&](int64_t i) {
    return fmt::format("{}\t{}\t{}\t{}", i, sentence(i, label(i)), sentence(i + 3, 1),
                       label(i) == 1 ? "entailment" : "not_entailment");
  };
  const auto stsb = [&](int64_t i) {
    return fmt::format("{}\tg\tf\ty\to\ts\ts\t{}\t{}\t{}", i, sentence(i, label(i)), sentence(i + 1, 1),
                       label(i) == 1 ? 4.5 : 0.5);
  };
  const std::string stsb_header =
      "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore";
  for (const auto& [split, count] : {std::pair{"train", num_train}, std::pair{"dev", num_dev}}) {
    write(fmt::format("SST-2/{}.tsv", split), "sentence\tlabel", count, sst2);
    write(fmt::format("RTE/{}.tsv", split), "index\tsentence1\tsentence2\tlabel", count, rte);
    write(fmt::format("STS-B/{}.tsv", split), stsb_header, count, stsb);
  }
  return folder;
}

/// A model folder, a GLUE folder and room for runs.
struct Workspace {
  TemporaryFolder folder;
  fs::path model = write_model(folder / "model");
  fs::path glue = write_glue(folder / "glue");

  /// A short run on SST-2: 26 examples in batches of 4, 7 updates per epoch.
  FinetuneOptions options(const std::string& output) const {
    FinetuneOptions options;
    options.model_name_or_path = model;
    options.output_dir = folder / output;
    options.task = {.task_name = "sst2", .glue_dir = glue};
    options.max_seq_length = 32;
    options.learning_rate = 5e-3;
    options.num_train_epochs = 2;
    options.per_device_train_batch_size = 4;
    options.logging_steps = 2;
    return options;
  }
};

inline nlohmann::json results_of(const fs::path& run) {
  return read_json_file(run / "all_results.json", ErrorKind::data);
}

inline std::vector<nlohmann::json> metrics_lines(const fs::path& run, const std::string& kind = "") {
  std::vector<nlohmann::json> lines;
  std::istringstream content(fixtures::content_of(run / "metrics.jsonl"));
  for (std::string line; std::getline(content, line);) {
    nlohmann::json parsed = nlohmann::json::parse(line);
    if (kind.empty() || parsed.at("kind") == kind) lines.push_back(std::move(parsed));
  }
  return lines;
}

/// Times, rates, memory, places and how steps are launched differ between equal runs.
inline bool is_volatile(const std::string& key) {
  static const std::set<std::string> keys = {"t",          "wall_seconds", "peak_rss_bytes", "ms_per_step",
                                             "output_dir", "num_threads",  "cuda_graphs"};
  return keys.contains(key) || key.ends_with("_runtime") || key.ends_with("_per_second");
}

inline void remove_volatile(nlohmann::json& value) {
  if (value.is_object()) {
    std::vector<std::string> keys;
    for (const auto& [key, member] : value.items()) {
      if (is_volatile(key)) keys.push_back(key);
    }
    for (const std::string& key : keys) value.erase(key);
  }
  if (value.is_structured()) {
    for (nlohmann::json& member : value) remove_volatile(member);
  }
}

/// The files of a run under their relative names, as far as equal runs must agree in them byte for byte. Of
/// metrics.jsonl the lines that tell of a resume are left out.
inline std::map<std::string, std::string> comparable_files(const fs::path& run) {
  std::map<std::string, std::string> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(run)) {
    const std::string name = fs::relative(entry.path(), run).string();
    if (!entry.is_regular_file() || name == ".lock" || name.starts_with("events.out.")) continue;
    if (name == "metrics.jsonl") {
      for (nlohmann::json& line : metrics_lines(run)) {
        remove_volatile(line);
        if (line.at("kind") != "resume") files[name] += line.dump() + "\n";
      }
    } else if (name.ends_with(".json")) {
      nlohmann::json document = nlohmann::json::parse(fixtures::content_of(entry.path()));
      remove_volatile(document);
      files[name] = document.dump(1);
    } else {
      files[name] = fixtures::content_of(entry.path());
    }
  }
  return files;
}

inline void check_equal_runs(const fs::path& expected, const fs::path& found) {
  const auto expected_files = comparable_files(expected), found_files = comparable_files(found);
  for (const auto& [name, content] : expected_files) {
    const auto file = found_files.find(name);
    BOOST_REQUIRE_MESSAGE(file != found_files.end(), found.string() << " lacks " << name);
    const bool text = name.ends_with(".json") || name.ends_with(".jsonl");
    BOOST_CHECK_MESSAGE(file->second == content,
                        name << " differs" << (text ? ":\n" + content + "\n" + file->second : ""));
  }
  for (const auto& [name, content] : found_files) {
    BOOST_CHECK_MESSAGE(expected_files.contains(name), found.string() << " also has " << name);
  }
}

/// Uses another number of threads for its lifetime.
class ThreadCount {
 public:
  explicit ThreadCount(int count) : previous_(omp_get_max_threads()) { omp_set_num_threads(count); }
  ~ThreadCount() { omp_set_num_threads(previous_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int previous_;
};

}  // namespace normtune::tiny
