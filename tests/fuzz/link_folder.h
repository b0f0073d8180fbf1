#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace normtune::testing {

/// A folder whose files are links to the input in memory, for readers that go by names.
class LinkFolder {
 public:
  LinkFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "normtune_fuzz_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~LinkFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  LinkFolder(const LinkFolder&) = delete;
  LinkFolder& operator=(const LinkFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

  /// Makes `name`, which may lie in a folder below, a link to `target`.
  std::filesystem::path link(const std::string& name, const std::filesystem::path& target) const {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::filesystem::remove(file);
    std::filesystem::create_symlink(target, file);
    return file;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace normtune::testing
