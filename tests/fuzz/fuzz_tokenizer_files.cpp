#include <unistd.h>

#include <fstream>

#include "nn/tokenizer.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

using namespace normtune;

/// A folder whose file `name` is linked to the input, beside a small vocabulary if it is not itself one.
class TokenizerFolderOnDisk {
 public:
  explicit TokenizerFolderOnDisk(const char* name) : name_(name) {
    std::string folder = (std::filesystem::temp_directory_path() / "normtune_fuzz_XXXXXX").string();
    if (::mkdtemp(folder.data()) == nullptr) std::abort();
    path_ = folder;
    if (name_ == "tokenizer_config.json" || name_ == "special_tokens_map.json") {
      std::ofstream(path_ / "vocab.txt") << "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\n";
    }
  }
  ~TokenizerFolderOnDisk() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TokenizerFolderOnDisk(const TokenizerFolderOnDisk&) = delete;
  TokenizerFolderOnDisk& operator=(const TokenizerFolderOnDisk&) = delete;

  void read(const std::filesystem::path& input) const {
    std::filesystem::remove(path_ / name_);
    std::filesystem::create_symlink(input, path_ / name_);
    testing::read_or_refuse([&] { Tokenizer::from_folder(path_).encode("Ab <A> a\u00E9 [SEP] \u65E5"); });
  }

 private:
  std::string name_;
  std::filesystem::path path_;
};

}  // namespace

/// The input stands for each of the files of a tokenizer.
int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const TokenizerFolderOnDisk vocabulary("vocab.txt"), tokenizer("tokenizer.json"),
      config("tokenizer_config.json"), special_tokens("special_tokens_map.json");
  const testing::MemoryFile memory(bytes, size);
  for (const auto* folder : {&vocabulary, &tokenizer, &config, &special_tokens}) folder->read(memory.path());
  return 0;
}
