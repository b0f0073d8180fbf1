#pragma once

#include <filesystem>
#include <optional>

namespace normtune {

/// The folders that hold an adapter_config.json. PEFT's names its "peft_type"; AdapterHub's has a "config"
/// and a "version" that begins with "adapters.".
enum class AdapterFolder { peft_lora, peft_ln_tuning, adapterhub };

/// Which of them `folder` is; nothing if it has no adapter_config.json. Throws Error(ErrorKind::model) for
/// other kinds of adapter, naming them.
std::optional<AdapterFolder> adapter_folder_kind(const std::filesystem::path& folder);

}  // namespace normtune
