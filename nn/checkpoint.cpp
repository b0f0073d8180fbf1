#include "nn/checkpoint.h"

#include <algorithm>
#include <map>
#include <utility>

#include "nn/atomic_file.h"
#include "nn/checkpoint_tensors.h"
#include "nn/mapped_file.h"
#include "nn/tensor_file.h"

namespace normtune {
const Tensor* StateDict::find(std::string_view name) const {
  const auto found = std::lower_bound(tensors.begin(), tensors.end(), name,
                                      [](const NamedTensor& a, std::string_view b) { return a.name < b; });
  return found != tensors.end() && found->name == name ? &found->tensor : nullptr;
}

StateDict read_state_dict(const std::filesystem::path& folder) {
  const CheckpointTensors checkpoint(folder);
  StateDict state{.tensors = {}, .source = checkpoint.source(), .ignored = checkpoint.ignored()};
  for (const std::string& name : checkpoint.names()) state.tensors.push_back({name, checkpoint.read(name)});
  return state;
}

// ---- The report

namespace {

/// "3", "0-11" or "0-2,5" of ascending numbers.
std::string ranges(const std::vector<int64_t>& numbers) {
  std::string text;
  for (size_t begin = 0; begin < numbers.size();) {
    size_t end = begin + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    if (!text.empty()) text += ",";
    text += std::to_string(numbers[begin]);
    if (end - begin > 1) text += "-" + std::to_string(numbers[end - 1]);
    begin = end;
  }
  return text;
}

struct LayeredName {
  std::string before, after;  // around the number
  int64_t layer;
};

/// The parts of "...encoder.layer.N...."; nothing for another name.
std::optional<LayeredName> split_layer(const std::string& name) {
  constexpr std::string_view marker = "encoder.layer.";
  const size_t found = name.find(marker);
  if (found == std::string::npos) return std::nullopt;
  const size_t begin = found + marker.size();
  const size_t end = std::min(name.find_first_not_of("0123456789", begin), name.size());
  if (end == begin || end - begin > 9) return std::nullopt;
  return LayeredName{name.substr(0, begin), name.substr(end), std::stoll(name.substr(begin, end - begin))};
}

/// Names with those of several layers drawn together.
std::vector<std::string> drawn_together(const std::vector<std::string>& names) {
  std::vector<std::string> result;
  std::map<std::pair<std::string, std::string>, std::vector<int64_t>> layers;
  for (const std::string& name : names) {
    const auto split = split_layer(name);
    if (split) layers[{split->before, split->after}].push_back(split->layer);
    if (!split) result.push_back(name);
  }
  for (auto& [around, numbers] : layers) {
    std::sort(numbers.begin(), numbers.end());
    const std::string text = ranges(numbers);
    result.push_back(around.first + (numbers.size() > 1 ? "{" + text + "}" : text) + around.second);
  }
  std::sort(result.begin(), result.end());
  return result;
}

std::string report_line(std::string_view title, const std::vector<std::string>& names) {
  if (names.empty()) return "";
  return fmt::format("  {} ({}): {}\n", title, names.size(), fmt::join(drawn_together(names), ", "));
}

}  // namespace

std::string to_text(const LoadReport& report) {
  return fmt::format("loaded {} tensors\n", report.loaded.size()) + report_line("missing", report.missing) +
         report_line("not used", report.surplus) + report_line("freshly initialised", report.fresh);
}

// ---- Writing

void write_model_folder(const std::filesystem::path& folder, std::string_view config_json,
                        std::vector<NamedTensor> tensors) {
  make_folder(folder);
  for (NamedTensor& named : tensors) {
    check(is_floating(named.tensor.dtype()),
          "write_model_folder: tensor {} is {}, expected a floating-point dtype", named.name,
          to_string(named.tensor.dtype()));
    named.tensor = named.tensor.to(DType::float32);
  }
  write_safetensors(folder / "model.safetensors", tensors);
  write_file_atomically(folder / "config.json", config_json);  // last: a folder with it is whole
}

void copy_tokenizer_files(const std::filesystem::path& from, const std::filesystem::path& to) {
  require_one_of(from, {"vocab.txt", "tokenizer.json"});
  make_folder(to);
  for (const char* name :
       {"vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}) {
    const auto source = first_present(from, {name});
    if (source) write_file_atomically(to / name, read_file(*source, ErrorKind::model));
  }
}

}  // namespace normtune
