#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace normtune {

/// Bounds that an option's number must keep, both included unless they are said to be open.
struct Bounds {
  double minimum = std::numeric_limits<double>::lowest();
  double maximum = std::numeric_limits<double>::max();
  bool open_minimum = false, open_maximum = false;
};
inline constexpr Bounds any_number{};
inline constexpr Bounds at_least_0{.minimum = 0};
inline constexpr Bounds at_least_1{.minimum = 1};
inline constexpr Bounds above_0{.minimum = 0, .open_minimum = true};
inline constexpr Bounds from_0_to_1{.minimum = 0, .maximum = 1};
inline constexpr Bounds from_0_below_1{.minimum = 0, .maximum = 1, .open_maximum = true};

/// The options of one command: declared once with name, target and help, then filled from a command line and,
/// below it, from a configuration file.
///
///   Options options("evaluate", "Scores a model on a split of a task.");
///   options.group("Task");
///   options.integer("max_seq_length", max_seq_length, at_least_1, "longest input in tokens");
///   if (!options.parse(arguments)) return;  // --help was answered
///
/// `-` and `_` are equal in names: --max-seq-length is --max_seq_length. `--name value` and `--name=value`
/// are equal, but a value that begins with `--` needs the second form; the last of several wins. A target
/// keeps its value, which is the default that the help shows, if the option is not given. `default_text`
/// replaces that value in the help.
class Options {
 public:
  Options(std::string command, std::string summary);
  ~Options();
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  /// The heading, in the help, of the options that follow.
  void group(std::string title);

  void text(const std::string& name, std::string& target, const std::string& placeholder,
            const std::string& help, const std::string& default_text = "");
  void path(const std::string& name, std::filesystem::path& target, const std::string& placeholder,
            const std::string& help, const std::string& default_text = "");
  void integer(const std::string& name, int64_t& target, Bounds bounds, const std::string& help,
               const std::string& default_text = "");
  void integer(const std::string& name, std::optional<int64_t>& target, Bounds bounds,
               const std::string& help, const std::string& default_text = "");
  void seed(const std::string& name, uint64_t& target, const std::string& help);
  void seed(const std::string& name, std::optional<uint64_t>& target, const std::string& help,
            const std::string& default_text);
  void number(const std::string& name, double& target, Bounds bounds, const std::string& help);
  void number(const std::string& name, std::optional<double>& target, Bounds bounds, const std::string& help,
              const std::string& default_text = "");
  /// --name, --name true or --name false
  void boolean(const std::string& name, bool& target, const std::string& help);
  /// One of `choices`; another value is answered with the nearest of them. Where "true" is among them, the
  /// bare option means it.
  void choice(const std::string& name, std::string& target, const std::vector<std::string>& choices,
              const std::string& help, const std::string& default_text = "");
  /// Comma-separated.
  void list(const std::string& name, std::vector<std::string>& target, const std::string& placeholder,
            const std::string& help);
  /// All arguments that follow, up to the next option, joined by blanks; given twice, both count.
  void words(const std::string& name, std::string& target, const std::string& placeholder,
             const std::string& help);
  /// The value may be left out, which means "true".
  void optional_text(const std::string& name, std::string& target, const std::string& placeholder,
                     const std::string& help);
  /// An argument without a name.
  void positional(const std::string& placeholder, std::filesystem::path& target, const std::string& help);
  /// The value of the option `name` may also stand without that name; not both.
  void positional_for(const std::string& name, const std::string& placeholder, const std::string& help);
  /// Any number of arguments without a name.
  void positionals(const std::string& placeholder, std::vector<std::filesystem::path>& target,
                   const std::string& help);

  /// --config FILE.toml: options from a file, below the command line.
  void config_file();
  /// --NAME VALUE (command line or configuration file) also reads `NAME_VALUE.toml` beside the configuration
  /// file, or else in `common_folder`, below it: settings that several configuration files share.
  void shared_config(const std::string& name, std::string& target, const std::string& placeholder,
                     const std::string& help, std::filesystem::path common_folder);

  /// Leaves a declared option out of the help: of commands that take it only to say what stands in its place.
  void hide(const std::string& name);

  /// Fills the targets. False if --help was asked for, and printed. Throws Error(usage) that names the
  /// nearest option for an unknown one, and option, value and expectation for a malformed value; Error(model)
  /// for a configuration file that is missing or malformed.
  bool parse(std::span<const std::string> arguments);

  /// The option stood on the command line or in the configuration file.
  bool given(std::string_view name) const { return given_.contains(std::string(name)); }
  /// The configuration file; empty without one.
  const std::filesystem::path& config() const { return config_; }
  /// Throws Error(usage) unless the option was given.
  void require(std::string_view name) const;
  /// What error messages end with: `see normtune COMMAND --help`.
  std::string see_help() const;

 private:
  enum class ValueRule { required, boolean, optional, several };
  struct Given {
    std::string value;
    std::string origin;  ///< how messages name it: `--lr`, or `FILE:LINE: lr`
  };
  struct CommandLine;

  using Setter = std::function<void(const std::string& value, const std::string& origin)>;
  void declare(const std::string& name, const std::string& placeholder, const std::string& help,
               const std::string& default_text, ValueRule rule, Setter setter);
  CommandLine take_apart(std::span<const std::string> arguments) const;
  size_t take_named(std::span<const std::string> arguments, CommandLine& line) const;
  void give(CommandLine& line);
  void check_known(const std::string& name, const std::string& origin) const;
  void take_positionals(CommandLine& line);
  void read_config(const std::filesystem::path& file);
  void read_shared_config();
  void run_parser(const std::vector<std::filesystem::path>& positionals);

  struct Parser;  // CLI11, whose headers stay out of ours
  std::unique_ptr<Parser> parser_;
  std::string command_;
  std::string group_ = "Options";
  std::filesystem::path config_;
  std::string shared_config_;                                         // name of shared_config()'s option
  std::string* shared_value_ = nullptr;                               // its target, which holds the default
  std::filesystem::path common_folder_;                               // where else its files may lie
  std::string positional_option_;                                     // of positional_for()
  std::vector<std::filesystem::path>* positionals_target_ = nullptr;  // of positionals()
  std::map<std::string, ValueRule> rules_;
  std::map<std::string, Given> given_;
};

}  // namespace normtune
