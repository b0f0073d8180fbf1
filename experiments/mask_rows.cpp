#include "experiments/mask_rows.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "experiments/data_file.h"
#include "experiments/finetune_options.h"
#include "experiments/fisher.h"
#include "experiments/interrupt.h"
#include "experiments/nearest_name.h"
#include "experiments/run_lock.h"
#include "nn/bert_config.h"
#include "nn/json_file.h"
#include "nn/mask_file.h"
#include "nn/printable.h"
#include "nn/sha256.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr std::string_view prefix = "mask:";

const std::vector<std::string>& kinds() {
  static const std::vector<std::string> names = {"fisher", "bottom",        "random",
                                                 "others", "own-as-others", "random-as-others"};
  return names;
}

bool is_random(const MaskRow& row) {
  return row.kind.starts_with("random");
}

bool depends_on_task(const MaskRow& row) {
  return row.kind != "random";
}

/// The union over other tasks, or as large as it.
bool concerns_others(const MaskRow& row) {
  return row.kind.ends_with("others");
}

/// The post-FFN LayerNorm of every layer by its full name: a glob would take attention.output.LayerNorm too.
std::string layernorm_scope(const fs::path& model) {
  const BertConfig config = read_bert_config(base_model_folder(model));
  std::vector<std::string> globs;
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    globs.push_back(fmt::format("bert.encoder.layer.{}.output.LayerNorm.*", layer));
  }
  return fmt::format("{}", fmt::join(globs, ","));
}

std::vector<TensorSize> sizes_of(const std::vector<NamedTensor>& tensors) {
  std::vector<TensorSize> sizes;
  for (const NamedTensor& tensor : tensors) sizes.push_back({tensor.name, tensor.tensor.numel()});
  return sizes;
}

json record_json(const MaskRecord& record) {
  return {{"recipe", record.recipe},
          {"sha256", record.sha256},
          {"elements", record.elements},
          {"candidates", record.candidates},
          {"by_tensor", record.by_tensor}};
}

std::map<std::string, MaskRecord> read_mask_records(const fs::path& file) {
  std::map<std::string, MaskRecord> records;
  if (!fs::exists(file)) return records;
  const json document = read_json_file(file, ErrorKind::data);
  try {
    for (const auto& [name, entry] : document.items()) {
      records[name] = {.recipe = entry.at("recipe"),
                       .sha256 = entry.at("sha256"),
                       .elements = entry.at("elements"),
                       .candidates = entry.at("candidates"),
                       .by_tensor = entry.at("by_tensor")};
    }
  } catch (const json::exception& error) {
    fail(ErrorKind::data, "{}: malformed ({}); remove it to make the masks again", file.string(),
         error.what());
  }
  return records;
}

}  // namespace

MaskRow parse_mask_row(std::string_view row) {
  const std::string_view name = row.substr(std::min(prefix.size(), row.size()));
  const size_t dash = std::min(name.rfind('-'), name.size());
  const std::string kind(name.substr(0, dash));
  const std::optional<double> percent = parse_number(name.substr(std::min(dash + 1, name.size())));
  if (std::find(kinds().begin(), kinds().end(), kind) == kinds().end() || !percent || *percent <= 0 ||
      *percent > 100) {
    fail(ErrorKind::usage,
         "{}: expected mask:KIND-PERCENT with a kind of {} (the nearest is {}) and 0 < PERCENT <= 100",
         printable(row), fmt::join(kinds(), ", "), nearest_name(kind, kinds()));
  }
  return {.kind = kind, .percent = *percent};
}

void check_mask_rows(const ComparisonOptions& options) {
  for (const std::string& row : options.rows) {
    if (has_own_masks(row) && concerns_others(parse_mask_row(row)) && options.tasks.size() < 2) {
      fail(ErrorKind::usage, "{}: expected at least two tasks, found {}", row, options.tasks.size());
    }
  }
}

MaskRows::MaskRows(const ComparisonOptions& options, const ComparisonInputs& inputs,
                   const ProgressOutput& progress)
    : options_(options), inputs_(inputs), progress_(progress), folder_(options.output_dir / "masks") {
  collect_wanted(options);
  records_ = read_mask_records(folder_ / "masks.json");
}

void MaskRows::collect_wanted(const ComparisonOptions& options) {
  check_mask_rows(options);
  for (const std::string& row : options.rows) {
    if (!has_own_masks(row)) continue;
    const MaskRow parsed = parse_mask_row(row);
    for (const std::string& task : task_names(options)) {
      for (const uint64_t seed : options.seeds) {
        Wanted wanted{.row = parsed, .task = task, .seed = seed, .name = row.substr(prefix.size())};
        if (depends_on_task(parsed)) wanted.name += "-" + task;
        if (is_random(parsed)) wanted.name += fmt::format("-seed{}", seed);
        wanted_[{row, task, seed}] = wanted;
      }
    }
  }
}

fs::path MaskRows::file_of(const std::string& name) const {
  return folder_ / (name + ".safetensors");
}

std::string MaskRows::recipe_of(const Wanted& wanted) const {
  json recipe = {{"kind", wanted.row.kind}, {"percent", wanted.row.percent}, {"model", inputs_.model}};
  if (is_random(wanted.row)) recipe["seed"] = wanted.seed;
  if (wanted.row.kind != "random") {
    recipe["fisher"] = {{"samples", options_.keep.fisher_samples},
                        {"init_seed", options_.seeds.front()},
                        {"max_seq_length", options_.finetune.max_seq_length},
                        {"fresh_pooler", options_.finetune.method.fresh_pooler}};
    recipe["own"] = inputs_.tasks.at(wanted.task).hashes.at("train");
  }
  if (concerns_others(wanted.row)) {
    for (const auto& [task, task_inputs] : inputs_.tasks)
      recipe["tasks"].push_back(task_inputs.hashes.at("train"));
  }
  return sha256(recipe.dump()).substr(0, 16);
}

bool MaskRows::is_known(const Wanted& wanted) const {
  const auto found = records_.find(wanted.name);
  return found != records_.end() && found->second.recipe == recipe_of(wanted);
}

bool MaskRows::are_known() const {
  return std::all_of(wanted_.begin(), wanted_.end(),
                     [&](const auto& entry) { return is_known(entry.second); });
}

void MaskRows::fill(ComparisonOptions& options) const {
  for (const auto& [key, wanted] : wanted_) {
    const std::string hash = is_known(wanted) ? records_.at(wanted.name).sha256 : "";
    options.row_masks[key] = {.path = file_of(wanted.name), .sha256 = hash};
  }
}

bool MaskRows::prepare(ComparisonOptions& options, bool make_files) {
  for (const auto& [key, wanted] : wanted_) {
    if (is_known(wanted) && (!make_files || fs::exists(file_of(wanted.name)))) continue;
    if (!make(wanted)) return false;
  }
  fill(options);
  return true;
}

/// Fisher information per element of the start model on a task. One file for each recipe, as other
/// experiments use it too.
fs::path MaskRows::scores_of(const std::string& task) const {
  Wanted own{.row = {.kind = "fisher", .percent = 100}, .task = task, .seed = 0, .name = ""};
  return options_.output_dir / "fisher" / (task + "-" + recipe_of(own)) / "fisher.safetensors";
}

bool MaskRows::measure(const std::string& task) {
  const fs::path folder = scores_of(task).parent_path();
  if (fs::exists(scores_of(task))) return true;
  const std::unique_ptr<RunLock> lock = RunLock::wait_for(folder);
  if (fs::exists(scores_of(task))) return true;
  FisherOptions fisher{.model_name_or_path = options_.finetune.model_name_or_path,
                       .task = options_.finetune.task,
                       .num_samples = options_.keep.fisher_samples,
                       .fresh_pooler = options_.finetune.method.fresh_pooler,
                       .init_seed = options_.seeds.front(),
                       .max_seq_length = options_.finetune.max_seq_length,
                       .precision = options_.finetune.precision,
                       .device = options_.finetune.device};
  fisher.task.task_name = task;
  const BertConfig config = read_bert_config(base_model_folder(fisher.model_name_or_path));
  fisher.max_seq_length = std::min(fisher.max_seq_length, config.max_position_embeddings);
  FisherInput input = load_fisher_input(fisher);
  Progress progress("Fisher information on " + task, input.tokens.size(), "example", progress_);
  const InterruptGuard interrupt_guard;
  const std::optional<FisherMeasurement> measurement = measure_fisher(input, fisher, [&](int64_t done) {
    progress.update(done);
    return InterruptGuard::signal() == 0;
  });
  if (!measurement) return false;
  progress.finish();
  write_fisher(*measurement, folder);
  return true;
}

bool MaskRows::measure_for(const Wanted& wanted) {
  if (!measure(depends_on_task(wanted.row) ? wanted.task : task_names(options_).front())) return false;
  if (!concerns_others(wanted.row)) return true;
  return std::all_of(options_.tasks.begin(), options_.tasks.end(),
                     [&](const std::string& task) { return measure(task); });
}

/// What the other tasks choose.
ElementMask MaskRows::choose_by_others(const Wanted& wanted, const MaskSize& size) const {
  std::vector<ElementMask> masks;
  for (const std::string& task : options_.tasks) {
    if (task == wanted.task) continue;
    masks.push_back(
        choose_by_score(read_element_scores({scores_of(task)}, "from-fisher", scope_), size).mask);
  }
  return unite(masks);
}

ElementMask MaskRows::choose(const Wanted& wanted, const ElementScores& scores) const {
  MaskSize size{
      .top_share = wanted.row.percent / 100, .scope = scope_, .lowest = wanted.row.kind == "bottom"};
  if (concerns_others(wanted.row)) {
    ElementMask others = choose_by_others(wanted, size);
    if (wanted.row.kind == "others") return others;
    size.top_share.reset();
    size.top_k = others.count();
  }
  if (!is_random(wanted.row)) return choose_by_score(scores, size).mask;
  return choose_at_random(sizes_of(scores.tensors), size, wanted.seed, scores.base_model_sha256);
}

bool MaskRows::make(const Wanted& wanted) {
  if (scope_.empty()) scope_ = layernorm_scope(options_.finetune.model_name_or_path);
  if (!measure_for(wanted)) return false;
  // A random mask takes from the scores which tensors there are.
  const std::string task = depends_on_task(wanted.row) ? wanted.task : task_names(options_).front();
  const ElementScores scores = read_element_scores({scores_of(task)}, "from-fisher", scope_);
  const ElementMask mask = choose(wanted, scores);
  const std::unique_ptr<RunLock> lock = RunLock::wait_for(folder_);
  write_mask(file_of(wanted.name), mask);
  MaskRecord record{.recipe = recipe_of(wanted),
                    .sha256 = sha256_file(file_of(wanted.name), ErrorKind::model),
                    .elements = mask.count()};
  for (const NamedTensor& tensor : scores.tensors) record.candidates += tensor.tensor.numel();
  for (const MaskedTensor& tensor : mask.tensors) {
    record.by_tensor[tensor.name] = static_cast<int64_t>(tensor.indices.size());
  }
  records_ = read_mask_records(folder_ / "masks.json");  // others may have added to it
  records_[wanted.name] = record;
  write_records();
  return true;
}

void MaskRows::write_records() const {
  json document = json::object();
  for (const auto& [name, record] : records_) document[name] = record_json(record);
  write_json_file(folder_ / "masks.json", document);
}

}  // namespace normtune
