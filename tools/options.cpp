#include "tools/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <utility>

#include "experiments/nearest_name.h"
#include "nn/printable.h"
#include "tensor/error.h"
#include "tools/config_file.h"
#include "tools/console.h"

namespace normtune {

namespace {

/// Option names as they are declared: every `-` is a `_`.
std::string normalized(std::string_view name) {
  std::string result(name);
  std::replace(result.begin(), result.end(), '-', '_');
  return result;
}

/// The whole of `text` as a number; none if it is something else.
template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// Which files `PREFIX_VALUE.toml` a folder has.
std::set<std::string> values_of_shared_config(const std::filesystem::path& folder,
                                              const std::string& prefix) {
  std::set<std::string> values;
  std::error_code unreadable;  // then it has none for us
  for (const auto& entry : std::filesystem::directory_iterator(folder, unreadable)) {
    const std::string stem = entry.path().stem().string();
    if (entry.path().extension() == ".toml" && stem.starts_with(prefix + "_")) {
      values.insert(stem.substr(prefix.size() + 1));
    }
  }
  return values;
}

std::string describe(Bounds bounds) {
  std::string text;
  if (bounds.minimum != any_number.minimum) {
    text = fmt::format(" {} {}", bounds.open_minimum ? "above" : "of at least", bounds.minimum);
  }
  if (bounds.maximum != any_number.maximum) {
    text += fmt::format(" and {} {}", bounds.open_maximum ? "below" : "at most", bounds.maximum);
  }
  return text;
}

bool keeps(Bounds bounds, double number) {
  const bool above = bounds.open_minimum ? number > bounds.minimum : number >= bounds.minimum;
  const bool below = bounds.open_maximum ? number < bounds.maximum : number <= bounds.maximum;
  return above && below;
}

template <typename T>
T number_within(const std::string& value, const std::string& origin, Bounds bounds, std::string_view kind) {
  const std::optional<T> number = parse_number<T>(value);
  if (!number || !std::isfinite(static_cast<double>(*number)) ||
      !keeps(bounds, static_cast<double>(*number))) {
    fail(ErrorKind::usage, "{}: expected {}{}, found {}", origin, kind, describe(bounds), printable(value));
  }
  return *number;
}

int64_t integer_within(const std::string& value, const std::string& origin, Bounds bounds) {
  return number_within<int64_t>(value, origin, bounds, "an integer");
}

uint64_t parse_seed(const std::string& value, const std::string& origin) {
  return number_within<uint64_t>(value, origin, at_least_0, "an integer");
}

bool is_boolean(std::string_view text) {
  return text == "true" || text == "false" || text == "True" || text == "False";
}

std::vector<std::string> split_list(const std::string& value) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= value.size()) {
    const size_t end = std::min(value.find(',', begin), value.size());
    if (end > begin) parts.push_back(value.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  return fmt::format("{}", fmt::join(parts, separator));
}

/// `  --name VALUE    help`, in place of CLI11's notes on types and counts.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_type_name().empty() ? "" : " " + option->get_type_name();
  }
};

/// CLI11 leaves two blank lines between groups; one is enough.
std::string help_text(const CLI::App& app) {
  return CLI::detail::find_and_replace(app.help(), "\n\n\n", "\n\n");
}

}  // namespace

struct Options::Parser {
  CLI::App app;
};

/// A command line taken apart: arguments with a name (normalised), the others, and whether help is wanted.
struct Options::CommandLine {
  std::vector<std::pair<std::string, Given>> named;
  std::vector<std::filesystem::path> positionals;
  Given after_boolean;  ///< the last argument behind a bare boolean, which may have been meant as its value
  bool help = false;
};

Options::Options(std::string command, std::string summary)
    : parser_(std::make_unique<Parser>()), command_(std::move(command)) {
  CLI::App& app = parser_->app;
  app.description(std::move(summary));
  app.name("normtune " + command_);
  app.set_help_flag();
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  auto formatter = std::make_shared<HelpFormatter>();
  formatter->column_width(40);
  formatter->label("Positionals", "Arguments");
  formatter->label("OPTIONS", "options");
  app.formatter(formatter);
}

Options::~Options() = default;

void Options::group(std::string title) {
  group_ = std::move(title);
}

void Options::declare(const std::string& name, const std::string& placeholder, const std::string& help,
                      const std::string& default_text, ValueRule rule, Setter setter) {
  rules_[name] = rule;
  const std::string text = default_text.empty() ? help : fmt::format("{} (default: {})", help, default_text);
  parser_->app
      .add_option_function<std::string>(
          "--" + name,
          [this, name, setter = std::move(setter)](const std::string& value) {
            setter(value, given_.at(name).origin);
          },
          text)
      ->group(group_)
      ->type_name(placeholder);
}

void Options::hide(const std::string& name) {
  parser_->app.get_option("--" + name)->group("");
}

void Options::text(const std::string& name, std::string& target, const std::string& placeholder,
                   const std::string& help, const std::string& default_text) {
  declare(name, placeholder, help, default_text.empty() ? target : default_text, ValueRule::required,
          [&target](const std::string& value, const std::string&) { target = value; });
}

void Options::path(const std::string& name, std::filesystem::path& target, const std::string& placeholder,
                   const std::string& help, const std::string& default_text) {
  declare(name, placeholder, help, default_text, ValueRule::required,
          [&target](const std::string& value, const std::string& origin) {
            if (value.empty()) fail(ErrorKind::usage, "{}: expected a path, found nothing", origin);
            target = value;
          });
}

void Options::integer(const std::string& name, int64_t& target, Bounds bounds, const std::string& help,
                      const std::string& default_text) {
  declare(name, "N", help, default_text.empty() ? fmt::format("{}", target) : default_text,
          ValueRule::required, [&target, bounds](const std::string& value, const std::string& origin) {
            target = integer_within(value, origin, bounds);
          });
}

void Options::integer(const std::string& name, std::optional<int64_t>& target, Bounds bounds,
                      const std::string& help, const std::string& default_text) {
  declare(name, "N", help, default_text, ValueRule::required,
          [&target, bounds](const std::string& value, const std::string& origin) {
            target = integer_within(value, origin, bounds);
          });
}

void Options::seed(const std::string& name, uint64_t& target, const std::string& help) {
  declare(
      name, "N", help, fmt::format("{}", target), ValueRule::required,
      [&target](const std::string& value, const std::string& origin) { target = parse_seed(value, origin); });
}

void Options::seed(const std::string& name, std::optional<uint64_t>& target, const std::string& help,
                   const std::string& default_text) {
  declare(
      name, "N", help, default_text, ValueRule::required,
      [&target](const std::string& value, const std::string& origin) { target = parse_seed(value, origin); });
}

void Options::number(const std::string& name, double& target, Bounds bounds, const std::string& help) {
  declare(name, "X", help, fmt::format("{}", target), ValueRule::required,
          [&target, bounds](const std::string& value, const std::string& origin) {
            target = number_within<double>(value, origin, bounds, "a number");
          });
}

void Options::number(const std::string& name, std::optional<double>& target, Bounds bounds,
                     const std::string& help, const std::string& default_text) {
  declare(name, "X", help, default_text, ValueRule::required,
          [&target, bounds](const std::string& value, const std::string& origin) {
            target = number_within<double>(value, origin, bounds, "a number");
          });
}

void Options::boolean(const std::string& name, bool& target, const std::string& help) {
  declare(name, "[true|false]", help, target ? "true" : "false", ValueRule::boolean,
          [&target](const std::string& value, const std::string& origin) {
            if (!is_boolean(value)) {
              fail(ErrorKind::usage, "{}: expected true or false, found {}", origin, printable(value));
            }
            target = value == "true" || value == "True";
          });
}

void Options::choice(const std::string& name, std::string& target, const std::vector<std::string>& choices,
                     const std::string& help, const std::string& default_text) {
  const bool may_be_bare = std::find(choices.begin(), choices.end(), "true") != choices.end();
  declare(name, joined(choices, "|"), help, default_text.empty() ? target : default_text,
          may_be_bare ? ValueRule::optional : ValueRule::required,
          [&target, choices](const std::string& value, const std::string& origin) {
            if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
              fail(ErrorKind::usage, "{}: unknown value {}; the nearest is {}, all are {}", origin,
                   printable(value), nearest_name(value, choices), joined(choices, ", "));
            }
            target = value;
          });
}

void Options::list(const std::string& name, std::vector<std::string>& target, const std::string& placeholder,
                   const std::string& help) {
  declare(name, placeholder, help, joined(target, ","), ValueRule::required,
          [&target](const std::string& value, const std::string& origin) {
            target = split_list(value);
            if (target.empty())
              fail(ErrorKind::usage, "{}: expected a comma-separated list, found nothing", origin);
          });
}

void Options::words(const std::string& name, std::string& target, const std::string& placeholder,
                    const std::string& help) {
  declare(name, placeholder, help, target, ValueRule::several,
          [&target](const std::string& value, const std::string&) { target = value; });
}

void Options::optional_text(const std::string& name, std::string& target, const std::string& placeholder,
                            const std::string& help) {
  declare(name, placeholder, help, "", ValueRule::optional,
          [&target](const std::string& value, const std::string&) { target = value; });
}

void Options::positional(const std::string& placeholder, std::filesystem::path& target,
                         const std::string& help) {
  parser_->app
      .add_option_function<std::string>(
          placeholder, [&target](const std::string& value) { target = value; }, help)
      ->type_name("");
}

void Options::positional_for(const std::string& name, const std::string& placeholder,
                             const std::string& help) {
  positional_option_ = name;
  // For the help only: parse() passes the value on as that of the option.
  parser_->app
      .add_option_function<std::string>(
          placeholder, [](const std::string&) {}, help)
      ->type_name("");
}

void Options::positionals(const std::string& placeholder, std::vector<std::filesystem::path>& target,
                          const std::string& help) {
  positionals_target_ = &target;
  // For the help only: CLI11 would read a folder called `[x]` as a list.
  parser_->app
      .add_option_function<std::string>(
          placeholder, [](const std::string&) {}, help)
      ->type_name("");
}

void Options::config_file() {
  path("config", config_, "FILE.toml", "reads options from a file; the command line wins");
}

void Options::shared_config(const std::string& name, std::string& target, const std::string& placeholder,
                            const std::string& help, std::filesystem::path common_folder) {
  text(name, target, placeholder, help);
  common_folder_ = std::move(common_folder);
  shared_config_ = name;
  shared_value_ = &target;
}

bool Options::parse(std::span<const std::string> arguments) {
  CommandLine line = take_apart(arguments);
  if (line.help) {
    write_output(help_text(parser_->app));
    return false;
  }
  give(line);
  take_positionals(line);
  if (given("config")) read_config(given_["config"].value);
  if (given("config") && shared_value_ != nullptr) read_shared_config();
  run_parser(line.positionals);
  return true;
}

/// The last of several values wins; of words all count.
void Options::give(CommandLine& line) {
  for (auto& [name, given] : line.named) {
    const auto before = given_.find(name);
    if (before != given_.end() && rules_.at(name) == ValueRule::several) {
      given.value = before->second.value + " " + given.value;
    }
    given_[name] = std::move(given);
  }
}

Options::CommandLine Options::take_apart(std::span<const std::string> arguments) const {
  CommandLine line;
  while (!arguments.empty()) {
    const std::string& argument = arguments.front();
    size_t taken = 1;
    if (argument == "--help" || argument == "-h") {
      line.help = true;
    } else if (argument == "--") {
      line.positionals.insert(line.positionals.end(), arguments.begin() + 1, arguments.end());
      taken = arguments.size();
    } else if (!argument.starts_with("-") || argument == "-") {
      line.positionals.emplace_back(argument);
    } else {
      taken = take_named(arguments, line);
    }
    arguments = arguments.subspan(taken);
  }
  return line;
}

/// Takes the option that the arguments begin with, and returns how many of them it and its value are.
size_t Options::take_named(std::span<const std::string> arguments, CommandLine& line) const {
  const std::string& argument = arguments.front();
  const size_t equals = argument.find('=');
  const std::string written = argument.substr(0, equals);
  const std::string name = normalized(written.substr(std::min<size_t>(2, written.size())));
  check_known(written.starts_with("--") ? name : normalized(written), written);
  if (equals != std::string::npos) {
    line.named.emplace_back(name, Given{argument.substr(equals + 1), written});
    return 1;
  }
  const ValueRule rule = rules_.at(name);
  const bool value_follows = arguments.size() > 1 && !arguments[1].starts_with("--") &&
                             (rule != ValueRule::boolean || is_boolean(arguments[1]));
  if ((rule == ValueRule::required || rule == ValueRule::several) && !value_follows) {
    fail(ErrorKind::usage, "{}: expected a value, found nothing ({})", written, see_help());
  }
  if (rule == ValueRule::boolean && !value_follows && arguments.size() > 1) {
    line.after_boolean = {arguments[1], written};
  }
  line.named.emplace_back(name, Given{value_follows ? arguments[1] : "true", written});
  size_t taken = value_follows ? 2 : 1;
  while (rule == ValueRule::several && taken < arguments.size() && !arguments[taken].starts_with("--")) {
    line.named.back().second.value += " " + arguments[taken++];
  }
  return taken;
}

void Options::check_known(const std::string& name, const std::string& origin) const {
  if (rules_.contains(name)) return;
  std::vector<std::string> names;
  for (const auto& [known, rule] : rules_) names.push_back(known);
  fail(ErrorKind::usage, "{}: unknown option of {}; the nearest is --{} ({})", origin, command_,
       nearest_name(name, names), see_help());
}

/// Hands over a list of arguments without a name, or makes the only one the value of its option.
void Options::take_positionals(CommandLine& line) {
  if (positionals_target_ != nullptr) *positionals_target_ = std::exchange(line.positionals, {});
  if (positional_option_.empty() || line.positionals.empty()) return;
  const bool has_value = given(positional_option_);
  if (has_value || line.positionals.size() > 1) {
    const std::string surplus = line.positionals.back().string();
    const bool meant_as_value = surplus == line.after_boolean.value;
    fail(ErrorKind::usage, "{}: an argument too many{}{} ({})", printable(surplus),
         has_value ? " beside --" + positional_option_ : "",
         meant_as_value ? fmt::format("; {} takes true or false", line.after_boolean.origin) : "",
         see_help());
  }
  const std::string value = line.positionals.front().string();
  given_[positional_option_] = Given{value, printable(value)};
  line.positionals.clear();
}

void Options::read_config(const std::filesystem::path& file) {
  for (const ConfigEntry& entry : read_config_file(file)) {
    const std::string name = normalized(entry.name);
    const std::string origin = fmt::format("{}:{}: {}", file.string(), entry.line, entry.name);
    check_known(name, origin);
    if (name == "config") fail(ErrorKind::usage, "{}: a configuration file cannot name another", origin);
    given_.try_emplace(name, Given{entry.value, origin});
  }
}

void Options::read_shared_config() {
  const std::string value = given(shared_config_) ? given_[shared_config_].value : *shared_value_;
  const std::string name = fmt::format("{}_{}.toml", shared_config_, value);
  const std::filesystem::path beside = std::filesystem::absolute(given_["config"].value).parent_path();
  std::set<std::string> known;
  for (const std::filesystem::path& folder : {beside, common_folder_}) {
    if (std::filesystem::exists(folder / name)) return read_config(folder / name);
    known.merge(values_of_shared_config(folder, shared_config_));
  }
  fail(ErrorKind::usage, "--{}: unknown value {}; there are {} (no {} in {} nor in {})", shared_config_,
       printable(value), fmt::join(known, ", "), name, beside.string(), common_folder_.string());
}

void Options::run_parser(const std::vector<std::filesystem::path>& positionals) {
  std::vector<std::string> arguments;
  for (const auto& [name, given] : given_) {
    arguments.push_back("--" + name);
    arguments.push_back(given.value);
  }
  arguments.push_back("--");
  arguments.insert(arguments.end(), positionals.begin(), positionals.end());
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  try {
    parser_->app.parse(std::move(arguments));
  } catch (const CLI::ExtrasError&) {
    fail(ErrorKind::usage, "{}: an argument too many ({})", printable(positionals.back().string()),
         see_help());
  }
}

void Options::require(std::string_view name) const {
  if (!given(name)) fail(ErrorKind::usage, "--{} is missing ({})", name, see_help());
}

std::string Options::see_help() const {
  return fmt::format("see normtune {} --help", command_);
}

}  // namespace normtune
