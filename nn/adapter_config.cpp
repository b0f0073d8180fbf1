#include "nn/adapter_config.h"

#include <nlohmann/json.hpp>

#include "nn/json_fields.h"
#include "nn/json_file.h"
#include "nn/printable.h"
#include "nn/tensor_file.h"

namespace normtune {

std::optional<AdapterFolder> adapter_folder_kind(const std::filesystem::path& folder) {
  const auto path = first_present(folder, {"adapter_config.json"});
  if (!path) return std::nullopt;
  const nlohmann::json document = read_json_file(*path, ErrorKind::model);
  const JsonFields fields(document, path->string(), ErrorKind::model);
  if (fields.has("peft_type")) {
    const std::string type = fields.text("peft_type");
    if (type == "LORA") return AdapterFolder::peft_lora;
    if (type == "LN_TUNING") return AdapterFolder::peft_ln_tuning;
    fields.refuse("peft_type", "expected LORA or LN_TUNING, found {}", printable(type));
  }
  if (fields.has("config") && fields.has("version")) return AdapterFolder::adapterhub;
  fail(ErrorKind::model, "{}: expected \"peft_type\" (PEFT) or \"config\" and \"version\" (AdapterHub)",
       path->string());
}

}  // namespace normtune
