#pragma once

#include <filesystem>
#include <vector>

#include "nn/safetensors.h"

namespace normtune {

/// Reads the tensors of a state dict that torch.save wrote, in either of its containers (a zip file since
/// version 1.6; five pickles and raw storages before). The pickles are interpreted by a small machine that
/// knows tensors, dicts, lists, tuples and numbers; it never executes anything, and a global outside its list
/// is an error naming it. The root is a dict of tensors, or a dict with one under "state_dict" or "model".
/// Views are copied out by their strides; names that share a storage each get their own copy. Order as in the
/// file; conversion as in tensor_from_bytes. Throws Error(ErrorKind::model).
std::vector<NamedTensor> read_pytorch_bin(const std::filesystem::path& path);

}  // namespace normtune
