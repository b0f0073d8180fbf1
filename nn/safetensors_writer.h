#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "nn/safetensors.h"

namespace normtune {

/// What the header of a safetensors file says of a tensor.
struct TensorOutline {
  std::string name;
  DType dtype;
  Shape shape;
};

/// write_safetensors for tensors that are made one at a time, when their bytes are due: `make_tensor` is
/// called once for each outline, in the order of the file, and returns a tensor of that dtype and shape. A
/// file larger than the memory can be written so. Throws as write_safetensors does.
void write_safetensors_one_by_one(const std::filesystem::path& path, std::vector<TensorOutline> outlines,
                                  const std::function<Tensor(const TensorOutline&)>& make_tensor,
                                  std::map<std::string, std::string> metadata = {});

}  // namespace normtune
