#include "experiments/zip_file.h"

#include <zip.h>

#include <memory>

#include "tensor/error.h"

namespace normtune {
namespace {

[[noreturn]] void fail_to_zip(const char* reason) {
  fail(ErrorKind::write, "cannot make a zip archive: {}", reason);
}

/// A buffer in memory that an archive is written to and read back from.
std::unique_ptr<zip_source_t, decltype(&zip_source_free)> memory_buffer() {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* buffer = zip_source_buffer_create(nullptr, 0, 0, &error);
  if (buffer == nullptr) fail_to_zip(zip_error_strerror(&error));
  return {buffer, zip_source_free};
}

void add_entry(zip_t* archive, const ZipEntry& entry) {
  zip_source_t* source = zip_source_buffer(archive, entry.content.data(), entry.content.size(), 0);
  if (source == nullptr) fail_to_zip(zip_strerror(archive));
  const zip_int64_t index = zip_file_add(archive, entry.name.c_str(), source, ZIP_FL_ENC_UTF_8);
  if (index < 0) {
    zip_source_free(source);
    fail_to_zip(zip_strerror(archive));
  }
  // The first day of 1980, the earliest time that the format knows: contents alone decide the bytes.
  constexpr zip_uint16_t midnight = 0, first_day = (1 << 5) | 1;
  if (zip_file_set_dostime(archive, static_cast<zip_uint64_t>(index), midnight, first_day, 0) != 0) {
    fail_to_zip(zip_strerror(archive));
  }
}

std::string read_back(zip_source_t* buffer) {
  zip_stat_t stat;
  zip_stat_init(&stat);
  if (zip_source_open(buffer) != 0 || zip_source_stat(buffer, &stat) != 0) {
    fail_to_zip(zip_error_strerror(zip_source_error(buffer)));
  }
  std::string bytes(stat.size, '\0');
  const zip_int64_t read = zip_source_read(buffer, bytes.data(), bytes.size());
  zip_source_close(buffer);
  if (read != static_cast<zip_int64_t>(bytes.size())) fail_to_zip("short read");
  return bytes;
}

}  // namespace

std::string zip_bytes(const std::vector<ZipEntry>& entries) {
  const auto buffer = memory_buffer();
  zip_error_t error;
  zip_error_init(&error);
  zip_source_keep(buffer.get());  // zip_close gives up one reference
  std::unique_ptr<zip_t, decltype(&zip_discard)> archive(
      zip_open_from_source(buffer.get(), ZIP_TRUNCATE, &error), zip_discard);
  if (!archive) {
    zip_source_free(buffer.get());
    fail_to_zip(zip_error_strerror(&error));
  }
  for (const ZipEntry& entry : entries) add_entry(archive.get(), entry);
  if (zip_close(archive.get()) != 0) fail_to_zip(zip_strerror(archive.get()));
  (void)archive.release();  // closed: not to be discarded
  return read_back(buffer.get());
}

}  // namespace normtune
