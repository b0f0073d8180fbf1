#pragma once

#include <string>
#include <vector>

namespace normtune {

struct ZipEntry {
  std::string name;
  std::string content;
};

/// A zip archive with these entries, compressed, in this order. The same entries give the same bytes.
std::string zip_bytes(const std::vector<ZipEntry>& entries);

}  // namespace normtune
