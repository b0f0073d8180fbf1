#include "nn/pickle.h"

#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <span>

#include "nn/printable.h"

namespace normtune {
namespace {

/// BERT-large's state dict takes some 30,000 opcodes.
constexpr size_t max_steps = 2'000'000;

/// The opcodes of the subset, by their names in Python's pickletools.
enum Opcode : unsigned char {
  MARK = '(',
  STOP = '.',
  BININT = 'J',
  BININT1 = 'K',
  BININT2 = 'M',
  NONE = 'N',
  BINPERSID = 'Q',
  REDUCE = 'R',
  SHORT_BINSTRING = 'U',
  BINUNICODE = 'X',
  EMPTY_LIST = ']',
  APPEND = 'a',
  BUILD = 'b',
  GLOBAL = 'c',
  EMPTY_DICT = '}',
  APPENDS = 'e',
  BINGET = 'h',
  LONG_BINGET = 'j',
  BINPUT = 'q',
  LONG_BINPUT = 'r',
  SETITEM = 's',
  TUPLE = 't',
  EMPTY_TUPLE = ')',
  SETITEMS = 'u',
  BINFLOAT = 'G',
  PROTO = 0x80,
  NEWOBJ = 0x81,
  TUPLE1 = 0x85,
  TUPLE2 = 0x86,
  TUPLE3 = 0x87,
  NEWTRUE = 0x88,
  NEWFALSE = 0x89,
  LONG1 = 0x8a,
  EMPTY_SET = 0x8f,
};

struct KnownGlobal {
  std::string_view name;
  PickleGlobal::Meaning meaning;
  ElementType element_type = ElementType::F32;
};

using Meaning = PickleGlobal::Meaning;
constexpr std::array<KnownGlobal, 16> known_globals{{
    {"collections.OrderedDict", Meaning::ordered_dict},
    {"torch._utils._rebuild_tensor_v2", Meaning::rebuild_tensor},
    {"torch._utils._rebuild_tensor", Meaning::rebuild_tensor},
    {"torch._utils._rebuild_parameter", Meaning::rebuild_parameter},
    {"torch.nn.parameter.Parameter", Meaning::parameter},
    {"torch.Size", Meaning::size},
    {"torch.FloatStorage", Meaning::storage, ElementType::F32},
    {"torch.DoubleStorage", Meaning::storage, ElementType::F64},
    {"torch.HalfStorage", Meaning::storage, ElementType::F16},
    {"torch.BFloat16Storage", Meaning::storage, ElementType::BF16},
    {"torch.LongStorage", Meaning::storage, ElementType::I64},
    {"torch.IntStorage", Meaning::storage, ElementType::I32},
    {"torch.ShortStorage", Meaning::storage, ElementType::I16},
    {"torch.CharStorage", Meaning::storage, ElementType::I8},
    {"torch.ByteStorage", Meaning::storage, ElementType::U8},
    {"torch.BoolStorage", Meaning::storage, ElementType::BOOL},
}};

}  // namespace

template <typename... Args>
void PickleReader::malformed(fmt::format_string<Args...> format, Args&&... args) const {
  fail(ErrorKind::model, "{}: malformed pickle at byte {}: {}", where_, position_,
       fmt::format(format, std::forward<Args>(args)...));
}

const PickleObject& PickleReader::read() {
  stack_.clear();
  marks_.clear();
  memo_.clear();
  while (step()) {
  }
  const PickleObject* root = pop();
  if (!stack_.empty() || !marks_.empty()) malformed("{} objects left over at its end", stack_.size());
  return *root;
}

bool PickleReader::step() {
  if (++steps_ > max_steps) malformed("more than {} opcodes", max_steps);
  const auto opcode = static_cast<unsigned char>(take(1)[0]);
  switch (opcode) {
    case STOP:
      return false;
    case PROTO:
      if (const int version = take_number<uint8_t>(); version > 2) {
        malformed("protocol {}, expected 2; save with torch.save's default or convert to safetensors",
                  version);
      }
      break;
    case NONE:
    case NEWTRUE:
    case NEWFALSE:
    case BININT:
    case BININT1:
    case BININT2:
    case LONG1:
    case BINFLOAT:
    case BINUNICODE:
    case SHORT_BINSTRING:
      step_constant(opcode);
      break;
    case MARK:
    case EMPTY_TUPLE:
    case TUPLE:
    case TUPLE1:
    case TUPLE2:
    case TUPLE3:
    case EMPTY_LIST:
    case EMPTY_SET:
    case EMPTY_DICT:
    case APPEND:
    case APPENDS:
    case SETITEM:
    case SETITEMS:
      step_container(opcode);
      break;
    case BINPUT:
    case LONG_BINPUT:
    case BINGET:
    case LONG_BINGET:
      step_memo(opcode);
      break;
    case GLOBAL:
    case BINPERSID:
    case REDUCE:
    case NEWOBJ:
    case BUILD:
      step_object(opcode);
      break;
    default:
      malformed("opcode {:#04x} has no place in a state dict", opcode);
  }
  return true;
}

void PickleReader::step_constant(unsigned char opcode) {
  switch (opcode) {
    case NONE:
      return push(std::monostate{});
    case NEWTRUE:
      return push(true);
    case NEWFALSE:
      return push(false);
    case BININT:
      return push(int64_t{take_number<int32_t>()});
    case BININT1:
      return push(int64_t{take_number<uint8_t>()});
    case BININT2:
      return push(int64_t{take_number<uint16_t>()});
    case LONG1:
      return push(take_long());
    case BINFLOAT: {  // the one big-endian number of the format
      const uint64_t bits = __builtin_bswap64(take_number<uint64_t>());
      return push(std::bit_cast<double>(bits));
    }
    case BINUNICODE:
      return push(std::string(take(take_number<uint32_t>())));
    default:  // SHORT_BINSTRING
      return push(std::string(take(take_number<uint8_t>())));
  }
}

void PickleReader::step_container(unsigned char opcode) {
  switch (opcode) {
    case MARK:
      marks_.push_back(stack_.size());
      return;
    case EMPTY_TUPLE:
      return push(PickleTuple{});
    case TUPLE:
      return push(PickleTuple{pop_to_mark()});
    case TUPLE1:
    case TUPLE2:
    case TUPLE3:
      return push(PickleTuple{pop_last(size_t{1} + opcode - TUPLE1)});
    case EMPTY_LIST:
    case EMPTY_SET:
      return push(PickleList{});
    case EMPTY_DICT:
      return push(PickleDict{});
    case APPEND:
      return add_to_list(pop_last(1));
    case APPENDS:
      return add_to_list(pop_to_mark());
    case SETITEM:
      return add_to_dict(pop_last(2));
    default:  // SETITEMS
      return add_to_dict(pop_to_mark());
  }
}

void PickleReader::step_memo(unsigned char opcode) {
  const bool is_short = opcode == BINPUT || opcode == BINGET;
  const uint32_t index = is_short ? take_number<uint8_t>() : take_number<uint32_t>();
  if (opcode == BINPUT || opcode == LONG_BINPUT) {
    memo_[index] = top();
    return;
  }
  const auto found = memo_.find(index);
  if (found == memo_.end()) malformed("memo entry {} was never set", index);
  stack_.push_back(found->second);
}

void PickleReader::step_object(unsigned char opcode) {
  switch (opcode) {
    case GLOBAL:
      return push_global();
    case BINPERSID:
      return push_storage();
    case BUILD:
      return set_state();
    default: {  // REDUCE, NEWOBJ
      const PickleObject* arguments = pop();
      const PickleObject* callable = pop();
      return call(*callable, *arguments);
    }
  }
}

std::string_view PickleReader::take(size_t count) {
  if (count > bytes_.size() - position_) malformed("truncated");
  const std::string_view taken = bytes_.substr(position_, count);
  position_ += count;
  return taken;
}

template <typename T>
T PickleReader::take_number() {
  T number;
  std::memcpy(&number, take(sizeof(T)).data(), sizeof(T));
  return number;
}

std::string_view PickleReader::take_line() {
  const size_t end = bytes_.find('\n', position_);
  if (end == std::string_view::npos) malformed("truncated");
  const std::string_view line = take(end - position_);
  take(1);
  return line;
}

/// A little-endian two's complement number behind its length in bytes.
int64_t PickleReader::take_long() {
  const std::string_view digits = take(take_number<uint8_t>());
  if (digits.size() > sizeof(int64_t)) malformed("an integer of {} bytes", digits.size());
  const bool negative = !digits.empty() && static_cast<signed char>(digits.back()) < 0;
  int64_t number = negative ? -1 : 0;
  std::memcpy(&number, digits.data(), digits.size());
  return number;
}

template <typename T>
void PickleReader::push(T value) {
  objects_.push_back(std::make_unique<PickleObject>(PickleObject{std::move(value)}));
  stack_.push_back(objects_.back().get());
}

PickleObject* PickleReader::top() {
  if (stack_.empty() || (!marks_.empty() && marks_.back() == stack_.size())) malformed("the stack is empty");
  return stack_.back();
}

PickleObject* PickleReader::pop() {
  PickleObject* object = top();
  stack_.pop_back();
  return object;
}

std::vector<const PickleObject*> PickleReader::pop_to_mark() {
  if (marks_.empty()) malformed("there is no mark");
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<const PickleObject*> items(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return items;
}

std::vector<const PickleObject*> PickleReader::pop_last(size_t count) {
  std::vector<const PickleObject*> items(count);
  for (size_t i = count; i > 0; --i) items[i - 1] = pop();
  return items;
}

void PickleReader::add_to_list(std::vector<const PickleObject*> items) {
  auto* list = std::get_if<PickleList>(&top()->value);
  if (!list) malformed("items for something that is not a list");
  list->items.insert(list->items.end(), items.begin(), items.end());
}

void PickleReader::add_to_dict(const std::vector<const PickleObject*>& items) {
  auto* dict = std::get_if<PickleDict>(&top()->value);
  if (!dict) malformed("items for something that is not a dict");
  if (items.size() % 2 != 0) malformed("a key without a value");
  for (size_t i = 0; i < items.size(); i += 2) dict->items.emplace_back(items[i], items[i + 1]);
}

void PickleReader::push_global() {
  const std::string_view module = take_line();
  const std::string name = std::string(module) + "." + std::string(take_line());
  for (const KnownGlobal& known : known_globals) {
    if (known.name == name) return push(PickleGlobal{name, known.meaning, known.element_type});
  }
  fail(ErrorKind::model,
       "{}: the pickle asks for {}, which no state dict of a BERT needs; it was not executed", where_,
       printable(name));
}

/// ("storage", type, key, location, numel), in the legacy container with a sixth item: None or the view
/// (key, offset, numel) of the storage that is meant.
void PickleReader::push_storage() {
  const auto* id = pop()->as<PickleTuple>();
  if (!id || id->items.size() < 5 || id->items.size() > 6 || text_of(id->items[0]) != "storage") {
    malformed("a persistent id that is not a storage");
  }
  const auto* type = id->items[1]->as<PickleGlobal>();
  if (!type || type->meaning != Meaning::storage) malformed("a storage without a type");
  const int64_t numel = integer_of(id->items[4]);
  if (numel < 0) malformed("a storage of {} elements", numel);
  PickleStorage storage{text_of(id->items[2]), type->element_type, numel, 0, numel};
  if (id->items.size() == 6 && !id->items[5]->as<std::monostate>()) {
    const auto* view = id->items[5]->as<PickleTuple>();
    if (!view || view->items.size() != 3) malformed("a storage view that is not (key, offset, numel)");
    storage.view_offset = integer_of(view->items[1]);
    storage.view_numel = integer_of(view->items[2]);
    if (storage.view_offset < 0 || storage.view_numel < 0 || storage.view_offset > numel ||
        storage.view_numel > numel - storage.view_offset) {
      malformed("a storage view beyond its storage");
    }
  }
  const PickleStorage& first = storages_.emplace(storage.key, storage).first->second;
  if (first.type != storage.type || first.numel != storage.numel) {
    malformed("storage {} is described in two ways", printable(storage.key));
  }
  push(std::move(storage));
}

void PickleReader::call(const PickleObject& callable, const PickleObject& arguments) {
  const auto* global = callable.as<PickleGlobal>();
  const auto* tuple = arguments.as<PickleTuple>();
  if (!global || !tuple) malformed("a call of something that is not a known global");
  switch (global->meaning) {
    case Meaning::ordered_dict:
      return make_ordered_dict(tuple->items);
    case Meaning::rebuild_tensor:
      return make_tensor(tuple->items);
    case Meaning::rebuild_parameter:
    case Meaning::parameter:  // (tensor, requires_grad, ...): the tensor
      if (tuple->items.empty() || !tuple->items[0]->as<PickleTensor>())
        malformed("a parameter without a tensor");
      return push(PickleTensor(*tuple->items[0]->as<PickleTensor>()));
    case Meaning::size: {
      if (tuple->items.size() != 1) malformed("torch.Size without a tuple");
      const auto* sizes = tuple->items[0]->as<PickleTuple>();
      if (!sizes) malformed("torch.Size without a tuple");
      return push(PickleTuple(*sizes));
    }
    case Meaning::storage:
      malformed("{} is called", global->name);
  }
}

/// OrderedDict() or, written by Python 2, OrderedDict([[key, value], ...]).
void PickleReader::make_ordered_dict(const std::vector<const PickleObject*>& arguments) {
  PickleDict dict;
  if (!arguments.empty()) {
    const auto* pairs = arguments[0]->as<PickleList>();
    if (!pairs || arguments.size() != 1) malformed("OrderedDict with unexpected arguments");
    for (const PickleObject* item : pairs->items) {
      const auto* pair = item->as<PickleList>();
      if (!pair || pair->items.size() != 2) malformed("OrderedDict with an item that is not a pair");
      dict.items.emplace_back(pair->items[0], pair->items[1]);
    }
  }
  push(std::move(dict));
}

/// _rebuild_tensor(storage, offset, size, stride), and _v2 with (requires_grad, hooks[, metadata]) behind.
void PickleReader::make_tensor(const std::vector<const PickleObject*>& arguments) {
  if (arguments.size() < 4 || arguments.size() > 7) malformed("a tensor with {} arguments", arguments.size());
  const auto* storage = arguments[0]->as<PickleStorage>();
  if (!storage) malformed("a tensor without a storage");
  push(
      PickleTensor{*storage, integer_of(arguments[1]), integers_of(arguments[2]), integers_of(arguments[3])});
}

/// The state of an OrderedDict is its _metadata (module versions): not needed.
void PickleReader::set_state() {
  pop();
  const PickleObject* object = top();
  if (!object->as<PickleDict>() && !object->as<PickleTensor>())
    malformed("a state for something that has none");
}

const std::string& PickleReader::text_of(const PickleObject* object) const {
  const auto* text = object->as<std::string>();
  if (!text) malformed("expected a string");
  return *text;
}

int64_t PickleReader::integer_of(const PickleObject* object) const {
  const auto* integer = object->as<int64_t>();
  if (!integer) malformed("expected an integer");
  return *integer;
}

std::vector<int64_t> PickleReader::integers_of(const PickleObject* object) const {
  const auto* tuple = object->as<PickleTuple>();
  if (!tuple) malformed("expected a tuple of integers");
  if (tuple->items.size() > Shape::max_rank) {
    malformed("a tensor of {} dimensions, expected at most {}", tuple->items.size(), Shape::max_rank);
  }
  std::vector<int64_t> integers;
  for (const PickleObject* item : tuple->items) integers.push_back(integer_of(item));
  return integers;
}

}  // namespace normtune
