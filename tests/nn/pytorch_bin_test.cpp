#include "nn/pytorch_bin.h"

#include <algorithm>

#include "tests/file_helpers.h"
#include "tests/nn/pickle_opcodes.h"
#include "tests/nn/tensor_helpers.h"

using namespace normtune;
using namespace normtune::testing;
using namespace std::string_literals;

namespace {

std::filesystem::path format(const std::string& name) {
  return recorded("formats/" + name);
}

void check_file_refused(const std::filesystem::path& path, std::string_view expected) {
  check_error(ErrorKind::model, expected, [&] { read_pytorch_bin(path); });
  check_error(ErrorKind::model, path.string(), [&] { read_pytorch_bin(path); });
}

/// A legacy file with one float storage "0" of 4 elements; `sizes` to `strides` are opcodes for the tensor
/// "w".
std::string legacy_file(const std::string& offset, const std::string& sizes, const std::string& strides) {
  const std::string magic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."s;
  const std::string storage = "(" + pickled_text("storage") + "ctorch\nFloatStorage\n" + pickled_text("0") +
                              pickled_text("cpu") + "K\x04tQ"s;
  const std::string tensor = "ctorch._utils\n_rebuild_tensor\n(" + storage + offset + sizes + strides + "tR";
  return magic + "\x80\x02M\xe9\x03."s + "\x80\x02}."s + "\x80\x02}" + pickled_text("w") + tensor + "s." +
         "\x80\x02]" + pickled_text("0") + "a." + "\x04\0\0\0\0\0\0\0"s + std::string(16, 'x');
}

std::string number(int64_t value) {
  return "\x8a\x08"s + std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

void replace(std::string& bytes, std::string_view from, std::string_view to) {
  const size_t found = bytes.find(from);
  BOOST_REQUIRE(found != std::string::npos);
  bytes.replace(found, from.size(), to);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(pytorch_bin)

BOOST_AUTO_TEST_CASE(both_containers_give_the_recorded_values) {
  const SafetensorsFile expected(format("expected.safetensors"));
  for (const char* name : {"zip.bin", "legacy.bin"}) {
    const std::vector<NamedTensor> tensors = read_pytorch_bin(format(name));
    BOOST_TEST(tensors.size() == expected.names().size());
    BOOST_TEST(tensors[0].name == "matrix");  // order of the file
    BOOST_TEST(tensors[1].name == "transposed");
    for (const NamedTensor& named : tensors) {
      BOOST_TEST(equal_bits(named.tensor, expected.read(named.name)), name << ": " << named.name);
    }
  }
}

BOOST_AUTO_TEST_CASE(tied_tensors_get_their_own_copies) {
  std::vector<NamedTensor> tensors = read_pytorch_bin(format("zip.bin"));
  BOOST_TEST(tensors[2].name == "tied_a");
  BOOST_TEST(tensors[3].name == "tied_b");
  tensors[2].tensor.fill(7);
  BOOST_CHECK(!equal_bits(tensors[2].tensor, tensors[3].tensor));
}

BOOST_AUTO_TEST_CASE(a_state_dict_may_lie_inside_the_root) {
  const std::vector<NamedTensor> tensors = read_pytorch_bin(format("nested.bin"));
  BOOST_REQUIRE(tensors.size() == 1u);
  BOOST_CHECK(equal_bits(tensors[0].tensor, counting({2, 2}, 1)));
}

BOOST_AUTO_TEST_CASE(a_storage_may_be_a_view) {
  const std::vector<NamedTensor> tensors = read_pytorch_bin(format("views_legacy.bin"));
  BOOST_REQUIRE(tensors.size() == 1u);
  BOOST_CHECK(equal_bits(tensors[0].tensor, counting({2, 2}, 2)));
}

BOOST_AUTO_TEST_CASE(a_checksum_may_be_left_out_but_not_be_wrong) {
  BOOST_CHECK(equal_bits(read_pytorch_bin(format("crc_zero.bin"))[0].tensor, counting({2, 2}, 1)));
  const TemporaryFolder folder;
  std::string bytes = read_bytes(format("tiny_zip.bin"));
  replace(bytes, "\0\0\x80\x3f"s, "\0\0\x81\x3f"s);  // the value 1.0
  write_bytes(folder / "m.bin", bytes);
  check_file_refused(folder / "m.bin", "record 'data/0' is damaged or truncated");
}

BOOST_AUTO_TEST_CASE(refuses_what_it_must_not_read) {
  check_file_refused(format("global.bin"), "the pickle asks for 'posix.system'");
  check_file_refused(format("compressed.bin"), "is compressed or encrypted, expected a stored one");
  check_file_refused(format("big_endian.bin"), "byteorder is not little");
  check_file_refused(format("two_tops.bin"),
                     "expected one top folder in the zip container, found 'tiny_zip/' and 'other/'");
  check_file_refused(format("no_such.bin"), "cannot read");
}

BOOST_AUTO_TEST_CASE(refuses_other_containers) {
  const TemporaryFolder folder;
  for (const std::string bytes : {"", "PK", "ustar", "\x80\x02}q\0."}) {
    write_bytes(folder / "m.bin", bytes);
    check_file_refused(folder / "m.bin", "neither of torch.save's containers (zip, legacy)");
  }
  write_bytes(folder / "m.bin", "PK\x03\x04 and no more");
  check_file_refused(folder / "m.bin", "the zip container cannot be read: ");
}

BOOST_AUTO_TEST_CASE(refuses_tensors_that_do_not_fit_their_storage) {
  const TemporaryFolder folder;
  const auto path = folder / "m.bin";
  const auto refuse = [&](const std::string& bytes, std::string_view expected) {
    write_bytes(path, bytes);
    check_file_refused(path, expected);
  };
  write_bytes(path, legacy_file("K\0"s, "K\x02K\x02\x86"s, "K\x02K\x01\x86"s));
  BOOST_TEST(read_pytorch_bin(path).size() == 1u);
  const std::string beyond = "reaches beyond its storage of 4 elements";
  refuse(legacy_file("K\x01"s, "K\x02K\x02\x86"s, "K\x02K\x01\x86"s),
         "tensor 'w': shape [2, 2] with strides [2, 1] from offset 1 " + beyond);
  refuse(legacy_file("J\xff\xff\xff\xff"s, "K\x02\x85"s, "K\x01\x85"s), beyond);
  refuse(legacy_file("K\x03"s, "K\x02\x85"s, "J\xff\xff\xff\xff\x85"s), beyond);
  refuse(legacy_file("K\0"s, "K\x05\x85"s, "K\x01\x85"s), beyond);
  refuse(legacy_file("K\0"s, "K\x02\x85"s, number(INT64_MAX) + "\x85"), beyond);
  refuse(legacy_file("K\x01"s, "K\x02\x85"s, number(INT64_MAX) + "\x85"), beyond);  // wraps to a small index
  refuse(legacy_file(number(INT64_MAX), "K\x02\x85"s, "K\x01\x85"s), beyond);
  refuse(legacy_file("K\0"s, "K\x05\x85"s, "K\0\x85"s), "5 elements over a storage of 4 (an expanded view)");
  refuse(legacy_file("K\0"s, number(int64_t{1} << 40) + "\x85", "K\0\x85"s),
         "more than 4 elements for each byte");
  refuse(legacy_file("K\0"s, number(int64_t{1} << 62) + "K\x04\x86"s, "K\0K\0\x86"s), "impossible shape");
  refuse(legacy_file("K\0"s, "J\xff\xff\xff\xff\x85"s, "K\x01\x85"s), "impossible shape [-1]");
  refuse(legacy_file("K\0"s, "K\x02\x85"s, "K\x01K\x01\x86"s), "1 sizes but 2 strides");
}

BOOST_AUTO_TEST_CASE(strides_of_single_rows_do_not_matter) {
  const TemporaryFolder folder;
  write_bytes(folder / "m.bin", legacy_file("K\0"s, "K\x01K\x02\x86"s, number(INT64_MAX) + "K\x02\x86"s));
  BOOST_CHECK(read_pytorch_bin(folder / "m.bin")[0].tensor.shape() == (Shape{1, 2}));
}

BOOST_AUTO_TEST_CASE(refuses_a_malformed_legacy_frame) {
  const TemporaryFolder folder;
  const auto path = folder / "m.bin";
  const std::string good = legacy_file("K\0"s, "K\x02\x85"s, "K\x01\x85"s);
  const auto refuse = [&](std::string_view from, std::string_view to, std::string_view expected) {
    std::string bytes = good;
    replace(bytes, from, to);
    write_bytes(path, bytes);
    check_file_refused(path, expected);
  };
  refuse("M\xe9\x03"s, "M\xea\x03"s, "expected version 1001");
  refuse("\x80\x02}.", "\x80\x02N.", "expected the description of the system");
  refuse("\x80\x02}.", "\x80\x02}" + pickled_text("little_endian") + "\x89s.",
         "written on a big-endian machine");
  refuse("\x80\x02]" + pickled_text("0") + "a.", "\x80\x02N.", "expected the list of storage keys");
  refuse("\x80\x02]" + pickled_text("0") + "a.", "\x80\x02].", "surplus bytes at the end");
  refuse("\x80\x02]" + pickled_text("0") + "a.", "\x80\x02]" + pickled_text("1") + "a.",
         "a storage that no tensor uses");
  refuse("\x04\0\0\0\0\0\0\0"s, "\x03\0\0\0\0\0\0\0"s, "storage '0': expected 4 elements, found 3");
  refuse("xxxxxxxx", "xxxx", "truncated in storage '0'");
  refuse("\x04\0\0\0\0\0\0\0xxxxxxxxxxxxxxxx"s, "\x04\0", "truncated in the storages");
  refuse("xxxx", "xxxxx", "1 surplus bytes at the end");
}

BOOST_AUTO_TEST_CASE(refuses_roots_that_hold_no_tensors) {
  const TemporaryFolder folder;
  const auto path = folder / "m.bin";
  const std::string good = legacy_file("K\0"s, "K\x02\x85"s, "K\x01\x85"s);
  const auto refuse = [&](std::string_view from, std::string_view to, std::string_view expected) {
    std::string bytes = good;
    replace(bytes, from, to);
    write_bytes(path, bytes);
    check_file_refused(path, expected);
  };
  refuse("tRs.", "tRs\x85.", "expected a dict of tensors, found another object");
  refuse("tRs.", "tR\x85s.", "tensor 'w': expected a tensor, found another object");
  refuse(pickled_text("w"), "N", "a key of the state dict is not a string");
  refuse("tRs.", "tRq\x01s" + pickled_text("w") + "h\x01s.", "tensor 'w' comes twice");
}

BOOST_AUTO_TEST_CASE(many_names_for_one_storage_have_a_limit) {
  const TemporaryFolder folder;
  std::string names = "q\x01s";
  for (int i = 0; i < 5000; ++i) names += pickled_text("w" + std::to_string(i)) + "h\x01s";
  std::string bytes = legacy_file("K\0"s, "K\x04\x85"s, "K\x01\x85"s);
  replace(bytes, "tRs.", "tR" + names + ".");
  write_bytes(folder / "m.bin", bytes);
  BOOST_TEST(read_pytorch_bin(folder / "m.bin").size() ==
             5001u);  // short names: fewer than 4 elements a byte

  std::string big = legacy_file("K\0"s, "M\xe8\x03\x85"s, "K\x01\x85"s);  // 1000 elements each
  replace(big, "tRs.", "tR" + names + ".");
  replace(big, "K\x04tQ"s, "M\xe8\x03tQ"s);
  replace(big, "\x04\0\0\0\0\0\0\0"s + std::string(16, 'x'),
          "\xe8\x03\0\0\0\0\0\0"s + std::string(4000, 'x'));
  write_bytes(folder / "m.bin", big);
  check_file_refused(folder / "m.bin", "more than 4 elements for each byte of the file");
}

BOOST_AUTO_TEST_CASE(corrupted_files_give_a_value_or_an_error) {
  const TemporaryFolder folder;
  const auto path = folder / "m.bin";
  for (const char* name : {"tiny_zip.bin", "crc_zero.bin", "tiny_legacy.bin"}) {
    const std::string bytes = read_bytes(format(name));
    const int64_t refused = corrupt(bytes, path, [&] { read_pytorch_bin(path); });
    BOOST_TEST(refused > static_cast<int64_t>(bytes.size()), name);
  }
}

BOOST_AUTO_TEST_SUITE_END()
