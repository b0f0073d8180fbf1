#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "nn/element_type.h"

namespace normtune {

struct PickleObject;

struct PickleTuple {
  std::vector<const PickleObject*> items;
};
struct PickleList {
  std::vector<const PickleObject*> items;
};
struct PickleDict {
  std::vector<std::pair<const PickleObject*, const PickleObject*>> items;  // in the order of insertion
};
/// A class or function that a pickle names; all that we know of it is what it stands for in a state dict.
struct PickleGlobal {
  enum class Meaning { ordered_dict, rebuild_tensor, rebuild_parameter, parameter, size, storage };
  std::string name;  // "torch._utils._rebuild_tensor_v2"
  Meaning meaning;
  ElementType element_type;  // of a storage
};
/// A reference to a run of elements that is stored outside the pickle.
struct PickleStorage {
  std::string key;
  ElementType type;
  int64_t numel;        // of the whole storage
  int64_t view_offset;  // where the part begins that this reference means, in elements
  int64_t view_numel;
};
/// A tensor as the pickle describes it. Nothing is checked yet but that the numbers are numbers.
struct PickleTensor {
  PickleStorage storage;
  int64_t offset = 0;  // in elements, from the start of the storage's view
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;  // in elements
};

/// One object of a pickle: None, bool, int, float, str, or one of the above.
struct PickleObject {
  std::variant<std::monostate, bool, int64_t, double, std::string, PickleTuple, PickleList, PickleDict,
               PickleGlobal, PickleStorage, PickleTensor>
      value;

  template <typename T>
  const T* as() const {
    return std::get_if<T>(&value);
  }
};

/// Interprets the part of pickle protocol 2 that describes a PyTorch state dict, and builds plain objects.
/// It never executes anything: the few globals it knows stand for dicts and tensors, any other is an error
/// naming it. All objects belong to the reader, since pickles may refer to themselves.
class PickleReader {
 public:
  /// `where` names the file in messages.
  PickleReader(std::string_view bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

  /// The next pickle, up to its STOP. Throws Error(ErrorKind::model) for an opcode or global outside the
  /// subset, a truncated or ill-formed pickle, or more objects than a state dict can need.
  const PickleObject& read();
  /// Of the first byte behind the last pickle read.
  size_t position() const { return position_; }
  /// Every storage met so far, by key. References to one key agree in type and size.
  const std::map<std::string, PickleStorage>& storages() const { return storages_; }

 private:
  bool step();  // one opcode; false at STOP
  void step_constant(unsigned char opcode);
  void step_container(unsigned char opcode);
  void step_memo(unsigned char opcode);
  void step_object(unsigned char opcode);

  std::string_view take(size_t count);
  template <typename T>
  T take_number();
  std::string_view take_line();
  int64_t take_long();

  template <typename T>
  void push(T value);
  PickleObject* pop();
  PickleObject* top();
  std::vector<const PickleObject*> pop_to_mark();
  std::vector<const PickleObject*> pop_last(size_t count);
  void add_to_list(std::vector<const PickleObject*> items);
  void add_to_dict(const std::vector<const PickleObject*>& items);

  void push_global();
  void push_storage();
  void call(const PickleObject& callable, const PickleObject& arguments);
  void make_ordered_dict(const std::vector<const PickleObject*>& arguments);
  void make_tensor(const std::vector<const PickleObject*>& arguments);
  void set_state();

  const std::string& text_of(const PickleObject* object) const;
  int64_t integer_of(const PickleObject* object) const;
  std::vector<int64_t> integers_of(const PickleObject* object) const;

  template <typename... Args>
  [[noreturn]] void malformed(fmt::format_string<Args...> format, Args&&... args) const;

  std::string_view bytes_;
  std::string where_;
  size_t position_ = 0;
  size_t steps_ = 0;
  std::vector<std::unique_ptr<PickleObject>> objects_;
  std::vector<PickleObject*> stack_;
  std::vector<size_t> marks_;  // heights of the stack
  std::unordered_map<uint32_t, PickleObject*> memo_;
  std::map<std::string, PickleStorage> storages_;
};

}  // namespace normtune
