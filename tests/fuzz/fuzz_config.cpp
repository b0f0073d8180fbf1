#include <unistd.h>

#include "nn/adapter_config.h"
#include "nn/adapterhub_folder.h"
#include "nn/bert_config.h"
#include "nn/peft_folder.h"
#include "nn/safetensors.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

using namespace normtune;

/// A folder with tensor files, though hardly ever the right ones, and adapter_config.json linked to the
/// input.
class AdapterFolderOnDisk {
 public:
  AdapterFolderOnDisk() {
    std::string name = (std::filesystem::temp_directory_path() / "normtune_fuzz_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
    for (const char* file : {"adapter_model.safetensors", "adapter.safetensors"})
      write_safetensors(path_ / file, {});
  }
  ~AdapterFolderOnDisk() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  AdapterFolderOnDisk(const AdapterFolderOnDisk&) = delete;
  AdapterFolderOnDisk& operator=(const AdapterFolderOnDisk&) = delete;

  const std::filesystem::path& with_config(const std::filesystem::path& config) const {
    std::filesystem::remove(path_ / "adapter_config.json");
    std::filesystem::create_symlink(config, path_ / "adapter_config.json");
    return path_;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const testing::MemoryFile memory(bytes, size);
  testing::read_or_refuse([&] {
    const BertConfig config = read_bert_config(memory.path());
    bert_config_json(config, "BertForSequenceClassification");
  });
  static const AdapterFolderOnDisk on_disk;
  const std::filesystem::path& folder = on_disk.with_config(memory.path());
  testing::read_or_refuse([&] { read_lora_folder(folder); });
  testing::read_or_refuse([&] { read_ln_tuning_folder(folder); });
  testing::read_or_refuse([&] { read_adapterhub_folder(folder); });
  return 0;
}
