#include "nn/sha256.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "nn/mapped_file.h"

namespace normtune {

std::string sha256(std::string_view bytes) {
  std::array<unsigned char, 32> digest{};
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr) != 1) {
    fail(ErrorKind::internal, "SHA-256 is not available in this build of libcrypto");
  }
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

std::string sha256_file(const std::filesystem::path& path, ErrorKind kind) {
  return sha256(MappedFile(path, kind).text());
}

}  // namespace normtune
