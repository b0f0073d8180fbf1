#include "nn/pytorch_bin.h"

#include <zip.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "nn/mapped_file.h"
#include "nn/pickle.h"
#include "nn/printable.h"

namespace normtune {
namespace {

/// How many elements all tensors together may have. A byte holds at most one, but names may share a storage.
constexpr int64_t max_elements_per_byte = 4;

std::string in_pytorch_file(const std::filesystem::path& path) {
  return "PyTorch file " + path.string();
}

/// The bytes of a storage; they stay where they are while the file is open.
using StorageLookup = std::function<std::span<const std::byte>(const PickleStorage&)>;

// ---- From the root object to tensors

/// The dict of tensors: the root itself, or what it has under "state_dict" or "model".
const PickleDict& state_dict_of(const PickleObject& root, const std::string& where) {
  const auto* dict = root.as<PickleDict>();
  if (!dict) fail(ErrorKind::model, "{}: expected a dict of tensors, found another object", where);
  for (const std::string_view name : {"state_dict", "model"}) {
    for (const auto& [key, value] : dict->items) {
      const auto* text = key->as<std::string>();
      if (text && *text == name && value->as<PickleDict>()) return *value->as<PickleDict>();
    }
  }
  return *dict;
}

int64_t element_count(const PickleTensor& tensor, const std::string& where) {
  if (tensor.sizes.size() != tensor.strides.size()) {
    fail(ErrorKind::model, "{}: {} sizes but {} strides", where, tensor.sizes.size(), tensor.strides.size());
  }
  const auto bytes = byte_count(tensor.sizes, tensor.storage.type);
  if (!bytes) fail(ErrorKind::model, "{}: impossible shape {}", where, tensor.sizes);
  return *bytes / static_cast<int64_t>(size_of(tensor.storage.type));
}

/// Index of the tensor's last element in its storage's view; nothing if it does not fit 63 bits.
std::optional<int64_t> last_element(const PickleTensor& tensor) {
  int64_t last = tensor.offset;
  for (size_t i = 0; i < tensor.sizes.size(); ++i) {
    int64_t reach = 0;
    if (tensor.strides[i] < 0 || __builtin_mul_overflow(tensor.sizes[i] - 1, tensor.strides[i], &reach) ||
        __builtin_add_overflow(last, reach, &last)) {
      return std::nullopt;
    }
  }
  return last;
}

void check_inside_storage(const PickleTensor& tensor, int64_t count, const std::string& where) {
  if (count == 0) return;
  const auto last = last_element(tensor);
  const int64_t available = tensor.storage.view_numel;
  if (tensor.offset < 0 || !last || *last >= available) {
    fail(ErrorKind::model,
         "{}: shape {} with strides {} from offset {} reaches beyond its storage of {} elements", where,
         tensor.sizes, tensor.strides, tensor.offset, available);
  }
  if (count > available) {
    fail(ErrorKind::model,
         "{}: {} elements over a storage of {} (an expanded view); save a contiguous tensor", where, count,
         available);
  }
}

/// Copies a strided view's elements into row-major order, innermost dimension by innermost dimension.
std::vector<std::byte> gather(const PickleTensor& tensor, std::span<const std::byte> storage, int64_t count) {
  const size_t size = size_of(tensor.storage.type);
  std::vector<std::byte> gathered(static_cast<size_t>(count) * size);
  std::vector<int64_t> index(tensor.sizes.size(), 0);
  int64_t source = tensor.storage.view_offset + tensor.offset;
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(gathered.data() + static_cast<size_t>(i) * size,
                storage.data() + static_cast<size_t>(source) * size, size);
    for (size_t dim = index.size(); dim-- > 0;) {  // count up, the last dimension fastest
      if (++index[dim] < tensor.sizes[dim]) {
        source += tensor.strides[dim];
        break;
      }
      source -= tensor.strides[dim] * (tensor.sizes[dim] - 1);
      index[dim] = 0;
    }
  }
  return gathered;
}

bool is_contiguous(const PickleTensor& tensor) {
  int64_t expected = 1;
  for (size_t dim = tensor.sizes.size(); dim-- > 0;) {
    if (tensor.sizes[dim] != 1 && tensor.strides[dim] != expected) return false;
    expected *= tensor.sizes[dim];
  }
  return true;
}

Tensor materialize(const PickleTensor& tensor, const StorageLookup& lookup, const std::string& where) {
  const int64_t count = element_count(tensor, where);
  check_inside_storage(tensor, count, where);
  const auto storage = lookup(tensor.storage);
  const Shape shape{std::span<const int64_t>(tensor.sizes)};
  if (count == 0) return tensor_from_bytes(tensor.storage.type, shape, {});
  if (!is_contiguous(tensor)) {
    return tensor_from_bytes(tensor.storage.type, shape, gather(tensor, storage, count));
  }
  const size_t size = size_of(tensor.storage.type);
  const auto first = static_cast<size_t>(tensor.storage.view_offset + tensor.offset) * size;
  return tensor_from_bytes(tensor.storage.type, shape,
                           storage.subspan(first, static_cast<size_t>(count) * size));
}

std::vector<NamedTensor> tensors_of(const PickleObject& root, const StorageLookup& lookup, size_t file_bytes,
                                    const std::string& where) {
  std::vector<NamedTensor> tensors;
  std::set<std::string_view> names;
  int64_t budget = max_elements_per_byte * static_cast<int64_t>(file_bytes);
  for (const auto& [key, value] : state_dict_of(root, where).items) {
    const auto* name = key->as<std::string>();
    if (!name) fail(ErrorKind::model, "{}: a key of the state dict is not a string", where);
    if (!names.insert(*name).second)
      fail(ErrorKind::model, "{}: tensor {} comes twice", where, printable(*name));
    const std::string here = where + ": tensor " + printable(*name);
    const auto* tensor = value->as<PickleTensor>();
    if (!tensor) fail(ErrorKind::model, "{}: expected a tensor, found another object", here);
    const int64_t count = element_count(*tensor, here);
    if (count > budget) {
      fail(ErrorKind::model, "{}: more than {} elements for each byte of the file", here,
           max_elements_per_byte);
    }
    budget -= count;
    tensors.push_back({*name, materialize(*tensor, lookup, here)});
  }
  return tensors;
}

void check_storage_bytes(const PickleStorage& storage, uint64_t found, const std::string& where) {
  const int64_t numel[] = {storage.numel};
  const auto expected = byte_count(numel, storage.type);
  if (!expected || static_cast<uint64_t>(*expected) != found) {
    fail(ErrorKind::model, "{}: storage {}: expected {} elements of {}, found {} bytes", where,
         printable(storage.key), storage.numel, to_string(storage.type), found);
  }
}

// ---- The zip container

/// The records of a zip file, read through libzip.
class ZipRecords {
 public:
  ZipRecords(const std::filesystem::path& path, uint64_t file_bytes)
      : path_(path), unread_bytes_(file_bytes) {
    int code = 0;
    archive_.reset(zip_open(path.c_str(), ZIP_RDONLY, &code));
    if (!archive_) {
      zip_error_t error;
      zip_error_init_with_code(&error, code);
      const std::string reason = zip_error_strerror(&error);
      zip_error_fini(&error);
      fail(ErrorKind::model, "{}: the zip container cannot be read: {}", in_pytorch_file(path), reason);
    }
    index_records();
  }

  bool contains(const std::string& name) const { return records_.contains(name); }

  /// The bytes of the record TOP/name. All records read must fit the file side by side.
  std::string read(const std::string& name) {
    const auto found = records_.find(name);
    if (found == records_.end())
      fail(ErrorKind::model, "{}: record {} is missing", in_pytorch_file(path_), printable(name));
    zip_stat_t status;
    zip_stat_init(&status);
    if (zip_stat_index(archive_.get(), found->second, 0, &status) != 0) damaged(name);
    if (status.comp_method != ZIP_CM_STORE || status.encryption_method != ZIP_EM_NONE) {
      fail(ErrorKind::model, "{}: record {} is compressed or encrypted, expected a stored one",
           in_pytorch_file(path_), printable(name));
    }
    if (status.size > unread_bytes_ || status.size != status.comp_size) damaged(name);
    unread_bytes_ -= status.size;
    const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(
        zip_fopen_index(archive_.get(), found->second, 0), zip_fclose);
    std::string bytes(status.size, '\0');
    const auto size = static_cast<zip_int64_t>(status.size);
    if (!file || zip_fread(file.get(), bytes.data(), status.size) != size) damaged(name);
    // The checksum is compared when the end is reached. Some writers leave it out (zero).
    char beyond;
    if (status.crc != 0 && zip_fread(file.get(), &beyond, 1) != 0) damaged(name);
    return bytes;
  }

 private:
  /// All records lie under one top folder, whose name is free.
  void index_records() {
    const zip_int64_t count = zip_get_num_entries(archive_.get(), 0);
    std::string top;
    for (zip_int64_t i = 0; i < count; ++i) {
      const char* raw = zip_get_name(archive_.get(), static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW);
      const std::string_view name = raw ? raw : "";
      const size_t slash = name.find('/');
      if (slash == std::string_view::npos) {
        fail(ErrorKind::model, "{}: record {} lies outside the top folder", in_pytorch_file(path_),
             printable(name));
      }
      if (top.empty()) top = name.substr(0, slash + 1);
      if (!name.starts_with(top)) {
        fail(ErrorKind::model, "{}: expected one top folder in the zip container, found {} and {}",
             in_pytorch_file(path_), printable(top), printable(name.substr(0, slash + 1)));
      }
      if (!records_.emplace(name.substr(slash + 1), i).second) {
        fail(ErrorKind::model, "{}: record {} comes twice", in_pytorch_file(path_), printable(name));
      }
    }
  }

  [[noreturn]] void damaged(const std::string& name) const {
    fail(ErrorKind::model, "{}: record {} is damaged or truncated", in_pytorch_file(path_), printable(name));
  }

  std::filesystem::path path_;
  uint64_t unread_bytes_;
  std::unique_ptr<zip_t, void (*)(zip_t*)> archive_{nullptr, zip_discard};
  std::map<std::string, zip_uint64_t> records_;  // by name below the top folder
};

std::vector<NamedTensor> read_zip(const std::filesystem::path& path, size_t file_bytes) {
  const std::string where = in_pytorch_file(path);
  ZipRecords records(path, file_bytes);
  if (records.contains("byteorder") && records.read("byteorder") != "little") {
    fail(ErrorKind::model, "{}: byteorder is not little; save it again on a little-endian machine", where);
  }
  const std::string pickle = records.read("data.pkl");
  PickleReader reader(pickle, where);
  const PickleObject& root = reader.read();
  if (reader.position() != pickle.size())
    fail(ErrorKind::model, "{}: surplus bytes behind the pickle", where);

  std::map<std::string, std::string> storages;  // those read so far, by key
  const StorageLookup lookup = [&](const PickleStorage& storage) {
    auto found = storages.find(storage.key);
    if (found == storages.end()) {
      found = storages.emplace(storage.key, records.read("data/" + storage.key)).first;
    }
    check_storage_bytes(storage, found->second.size(), where);
    return std::as_bytes(std::span<const char>(found->second));
  };
  return tensors_of(root, lookup, file_bytes, where);
}

// ---- The legacy container

/// The first pickle of a legacy file: protocol 2, the magic number, STOP.
constexpr std::string_view legacy_magic("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);

/// Behind the pickles, for each key: its number of elements and their bytes.
std::map<std::string, std::span<const std::byte>> legacy_storages(const PickleObject& keys,
                                                                  const PickleReader& reader,
                                                                  std::span<const std::byte> bytes,
                                                                  const std::string& where) {
  const auto* list = keys.as<PickleList>();
  if (!list) fail(ErrorKind::model, "{}: expected the list of storage keys", where);
  std::map<std::string, std::span<const std::byte>> storages;
  for (const PickleObject* item : list->items) {
    const auto* key = item->as<std::string>();
    const auto known = key ? reader.storages().find(*key) : reader.storages().end();
    if (known == reader.storages().end()) fail(ErrorKind::model, "{}: a storage that no tensor uses", where);
    const PickleStorage& storage = known->second;
    int64_t count = 0;
    if (bytes.size() < sizeof(count)) fail(ErrorKind::model, "{}: truncated in the storages", where);
    std::memcpy(&count, bytes.data(), sizeof(count));
    bytes = bytes.subspan(sizeof(count));
    if (count != storage.numel) {
      fail(ErrorKind::model, "{}: storage {}: expected {} elements, found {}", where, printable(*key),
           storage.numel, count);
    }
    const auto size = byte_count(std::span(&count, 1), storage.type);
    if (!size || static_cast<uint64_t>(*size) > bytes.size()) {
      fail(ErrorKind::model, "{}: truncated in storage {}", where, printable(*key));
    }
    storages[*key] = bytes.first(static_cast<size_t>(*size));
    bytes = bytes.subspan(static_cast<size_t>(*size));
  }
  if (!bytes.empty()) fail(ErrorKind::model, "{}: {} surplus bytes at the end", where, bytes.size());
  return storages;
}

/// The third pickle: {protocol_version, little_endian, type_sizes}.
void check_system(const PickleObject& system, const std::string& where) {
  const auto* dict = system.as<PickleDict>();
  if (!dict) fail(ErrorKind::model, "{}: expected the description of the system that wrote it", where);
  for (const auto& [key, value] : dict->items) {
    const auto* name = key->as<std::string>();
    const auto* flag = value->as<bool>();
    if (name && *name == "little_endian" && flag && !*flag) {
      fail(ErrorKind::model, "{}: written on a big-endian machine; save it again on a little-endian one",
           where);
    }
  }
}

std::vector<NamedTensor> read_legacy(const std::filesystem::path& path, const MappedFile& file) {
  const std::string where = in_pytorch_file(path);
  PickleReader reader(file.text().substr(legacy_magic.size()), where);
  const auto* protocol = reader.read().as<int64_t>();
  if (!protocol || *protocol != 1001)
    fail(ErrorKind::model, "{}: expected version 1001 of the container", where);
  check_system(reader.read(), where);
  const PickleObject& root = reader.read();
  const PickleObject& keys = reader.read();
  const auto behind = file.bytes().subspan(legacy_magic.size() + reader.position());
  const auto storages = legacy_storages(keys, reader, behind, where);

  const StorageLookup lookup = [&](const PickleStorage& storage) {
    const auto found = storages.find(storage.key);
    if (found == storages.end()) {
      fail(ErrorKind::model, "{}: storage {} is missing", where, printable(storage.key));
    }
    return found->second;
  };
  return tensors_of(root, lookup, file.bytes().size(), where);
}

}  // namespace

std::vector<NamedTensor> read_pytorch_bin(const std::filesystem::path& path) {
  const MappedFile file(path, ErrorKind::model);
  if (file.text().starts_with("PK\x03\x04")) return read_zip(path, file.bytes().size());
  if (file.text().starts_with(legacy_magic)) return read_legacy(path, file);
  fail(ErrorKind::model,
       "{}: neither of torch.save's containers (zip, legacy); is it truncated or an old tar? convert it to "
       "safetensors",
       in_pytorch_file(path));
}

}  // namespace normtune
