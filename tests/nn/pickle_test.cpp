#include "nn/pickle.h"

#include "tests/file_helpers.h"
#include "tests/nn/pickle_opcodes.h"

using namespace normtune;
using namespace normtune::testing;
using namespace std::string_literals;

namespace {

/// A pickle: protocol 2, the given opcodes, STOP.
std::string pickled(const std::string& opcodes) {
  return "\x80\x02"s + opcodes + ".";
}

/// ("storage", torch.FloatStorage, key "0", "cpu", numel) with `rest` behind, as a persistent id.
std::string storage(const std::string& numel = "K\x06", const std::string& rest = "") {
  return "(" + pickled_text("storage") + "ctorch\nFloatStorage\n" + pickled_text("0") + pickled_text("cpu") +
         numel + rest + "tQ";
}

void check_pickle_refused(const std::string& opcodes, std::string_view expected) {
  check_error(ErrorKind::model, expected, [&] {
    PickleReader reader(opcodes, "m.bin");
    reader.read();
  });
}

/// The value of a pickle that holds one constant.
template <typename T>
T constant(const std::string& opcodes) {
  const std::string bytes = pickled(opcodes);
  PickleReader reader(bytes, "m.bin");
  const T* value = reader.read().as<T>();
  BOOST_REQUIRE(value != nullptr);
  BOOST_TEST(reader.position() == bytes.size());
  return *value;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(pickle)

BOOST_AUTO_TEST_CASE(reads_constants) {
  BOOST_TEST(constant<int64_t>("J\xfe\xff\xff\xff"s) == -2);
  BOOST_TEST(constant<int64_t>("K\xff"s) == 255);
  BOOST_TEST(constant<int64_t>("M\xff\xff"s) == 65535);
  BOOST_TEST(constant<int64_t>("\x8a\x00"s) == 0);
  BOOST_TEST(constant<int64_t>("\x8a\x01\xff"s) == -1);
  BOOST_TEST(constant<int64_t>("\x8a\x05\0\0\0\0\x01"s) == int64_t{1} << 32);
  BOOST_TEST(constant<int64_t>("\x8a\x08\0\0\0\0\0\0\0\x80"s) == INT64_MIN);
  BOOST_TEST(constant<double>("G\x3f\xf8\0\0\0\0\0\0"s) == 1.5);
  BOOST_TEST(constant<bool>("\x88"s));
  BOOST_TEST(!constant<bool>("\x89"s));
  BOOST_TEST(constant<std::string>("X\x02\0\0\0é"s) == "é");
  BOOST_TEST(constant<std::string>("U\x02hi"s) == "hi");
  constant<std::monostate>("N");
}

BOOST_AUTO_TEST_CASE(reads_containers) {
  BOOST_TEST(constant<PickleTuple>(")").items.empty());
  BOOST_TEST(constant<PickleTuple>("K\x01\x85"s).items.size() == 1u);
  const auto pair = constant<PickleTuple>("K\x01K\x02\x86"s);
  BOOST_TEST(pair.items.size() == 2u);
  BOOST_TEST(constant<PickleTuple>("K\x01K\x02K\x03\x87"s).items.size() == 3u);
  BOOST_TEST(constant<PickleTuple>("(K\x01K\x02K\x03K\x04t"s).items.size() == 4u);
  BOOST_TEST(constant<PickleList>("]q\x01K\x01"s + "a(K\x02K\x03"s + "e"s).items.size() == 3u);
  BOOST_TEST(constant<PickleDict>("}K\x01K\x02s(K\x03K\x04u"s).items.size() == 2u);
  BOOST_TEST(constant<PickleDict>("ccollections\nOrderedDict\n)R"s).items.empty());
  BOOST_TEST(constant<PickleDict>("ccollections\nOrderedDict\n)\x81}b"s).items.empty());
  BOOST_TEST(constant<PickleDict>("ccollections\nOrderedDict\n(](](K\x01K\x02"s + "eetR"s).items.size() ==
             1u);
  BOOST_TEST(constant<PickleTuple>("ctorch\nSize\nK\x01\x85\x85R"s).items.size() == 1u);
}

BOOST_AUTO_TEST_CASE(memo_gives_the_same_object_again) {
  const std::string bytes = pickled("]q\x05r\x00\x01\x00\x00K\x01"s + "ah\x05j\x00\x01\x00\x00\x86\x86"s);
  PickleReader reader(bytes, "m.bin");
  const auto* outer = reader.read().as<PickleTuple>();
  const auto* inner = outer->items[1]->as<PickleTuple>();
  BOOST_CHECK(outer->items[0] == inner->items[0] && outer->items[0] == inner->items[1]);
}

BOOST_AUTO_TEST_CASE(an_object_may_hold_itself) {
  const std::string bytes = pickled("]q\0h\0"s + "a"s);
  PickleReader reader(bytes, "m.bin");
  const PickleObject& list = reader.read();
  BOOST_CHECK(list.as<PickleList>()->items.front() == &list);
}

BOOST_AUTO_TEST_CASE(reads_tensors) {
  const auto tensor = constant<PickleTensor>("ctorch._utils\n_rebuild_tensor_v2\n(" + storage() +
                                             "K\x01K\x02K\x02\x86K\x01K\x02\x86\x89NtR"s);
  BOOST_TEST(tensor.storage.key == "0");
  BOOST_TEST(tensor.storage.numel == 6);
  BOOST_TEST(tensor.offset == 1);
  BOOST_TEST(tensor.sizes == (std::vector<int64_t>{2, 2}));
  BOOST_TEST(tensor.strides == (std::vector<int64_t>{1, 2}));
  const std::string plain = "ctorch._utils\n_rebuild_tensor\n(" + storage() + "K\0K\x03\x85K\x01\x85tR"s;
  BOOST_TEST(constant<PickleTensor>(plain).sizes.front() == 3);
  for (const char* name : {"ctorch._utils\n_rebuild_parameter\n", "ctorch.nn.parameter\nParameter\n"}) {
    BOOST_TEST(constant<PickleTensor>(name + plain + "\x88\x86R"s).sizes.front() == 3);
  }
}

BOOST_AUTO_TEST_CASE(reads_views_of_legacy_storages) {
  const auto view = constant<PickleStorage>(storage("K\x06", "(" + pickled_text("9") + "K\x02K\x04t"s));
  BOOST_TEST(view.view_offset == 2);
  BOOST_TEST(view.view_numel == 4);
  BOOST_TEST(constant<PickleStorage>(storage("K\x06", "N")).view_numel == 6);
  for (const std::string& numbers : {"K\x03K\x04"s, "K\x07K\0"s, "J\xff\xff\xff\xffK\x01"s}) {
    check_pickle_refused(pickled(storage("K\x06", "(" + pickled_text("9") + numbers + "t")),
                         "a storage view beyond its storage");
  }
}

BOOST_AUTO_TEST_CASE(refuses_globals_outside_its_list) {
  check_pickle_refused(pickled("cos\nsystem\n"),
                       "m.bin: the pickle asks for 'os.system', which no state dict of a BERT needs");
  check_pickle_refused(pickled("cbuiltins\neval\n"), "'builtins.eval'");
  check_pickle_refused(pickled("ctorch._utils\n_rebuild_tensor_v3\n"), "'torch._utils._rebuild_tensor_v3'");
  check_pickle_refused(pickled("c__builtin__\n\x1b[31m\n"), "'__builtin__.\\x1b[31m'");
}

BOOST_AUTO_TEST_CASE(refuses_opcodes_outside_its_subset) {
  for (const char opcode :
       {'i', 'o', 'I', 'L', 'S', 'V', '2', '0', '1', 'P', '\x82', '\x8b', '\x8c', '\x93', '\x95'}) {
    check_pickle_refused(
        pickled(std::string(1, opcode)),
        fmt::format("opcode {:#04x} has no place in a state dict", static_cast<unsigned char>(opcode)));
  }
  check_pickle_refused("\x80\x04N.", "protocol 4, expected 2");
}

BOOST_AUTO_TEST_CASE(refuses_ill_formed_pickles) {
  check_pickle_refused("", "malformed pickle at byte 0: truncated");
  check_pickle_refused("\x80\x02", "truncated");
  check_pickle_refused("\x80\x02X\xff\xff\xff\xff", "truncated");
  check_pickle_refused(
      "\x80\x02"
      "ccollections",
      "truncated");
  check_pickle_refused(pickled(""), "the stack is empty");
  check_pickle_refused(pickled("NN"), "1 objects left over");
  check_pickle_refused(pickled("(N"), "objects left over");
  check_pickle_refused(pickled("(\x85"s), "the stack is empty");
  check_pickle_refused(pickled("t"), "there is no mark");
  check_pickle_refused(pickled("h\x03"), "memo entry 3 was never set");
  check_pickle_refused(pickled("NNa"), "items for something that is not a list");
  check_pickle_refused(pickled("NNNs"), "items for something that is not a dict");
  check_pickle_refused(pickled("}(Nu"), "a key without a value");
  check_pickle_refused(pickled("N)R"), "a call of something that is not a known global");
  check_pickle_refused(pickled("ccollections\nOrderedDict\nNR"),
                       "a call of something that is not a known global");
  check_pickle_refused(pickled("ctorch\nFloatStorage\n)R"), "torch.FloatStorage is called");
  check_pickle_refused(pickled("NNb"), "a state for something that has none");
  check_pickle_refused(pickled("NQ"), "a persistent id that is not a storage");
  check_pickle_refused(pickled("\x8a\x09\0\0\0\0\0\0\0\0\x01"s), "an integer of 9 bytes");
  check_pickle_refused(pickled(storage("J\xff\xff\xff\xff")), "a storage of -1 elements");
  check_pickle_refused(pickled(storage("N")), "expected an integer");
  check_pickle_refused(pickled("(" + storage() + storage("K\x07") + "t"),
                       "storage '0' is described in two ways");
  check_pickle_refused(pickled("ctorch._utils\n_rebuild_tensor\n)R"), "a tensor with 0 arguments");
  check_pickle_refused(pickled("ctorch._utils\n_rebuild_tensor\n(NNNNtR"), "a tensor without a storage");
  check_pickle_refused(pickled("ctorch._utils\n_rebuild_parameter\n)R"), "a parameter without a tensor");
  check_pickle_refused(
      pickled("ctorch._utils\n_rebuild_tensor\n(" + storage() + "K\0(K\1K\1K\1K\1K\1K\1K\1t)tR"s),
      "a tensor of 7 dimensions, expected at most 6");
}

BOOST_AUTO_TEST_CASE(refuses_endless_pickles) {
  check_pickle_refused("\x80\x02" + std::string(3'000'000, 'N'), "more than 2000000 opcodes");
  check_pickle_refused("\x80\x02" + std::string(3'000'000, '('), "more than 2000000 opcodes");
}

BOOST_AUTO_TEST_SUITE_END()
