#include "nn/safetensors.h"

#include "nn/safetensors_writer.h"
#include "tests/file_helpers.h"
#include "tests/nn/tensor_helpers.h"

using namespace normtune;
using namespace normtune::testing;

namespace {

struct OneSafetensorsFile {
  TemporaryFolder folder;
  std::filesystem::path path = folder / "m.safetensors";

  void check_refused(std::string_view bytes, std::string_view expected) const {
    write_bytes(path, bytes);
    check_error(ErrorKind::model, expected, [&] { SafetensorsFile{path}; });
    check_error(ErrorKind::model, path.string(), [&] { SafetensorsFile{path}; });
  }
  void check_header_refused(std::string_view header, std::string_view data, std::string_view expected) const {
    check_refused(safetensors_bytes(header, data), expected);
  }
  SafetensorsFile open(std::string_view header, std::string_view data) const {
    write_bytes(path, safetensors_bytes(header, data));
    return SafetensorsFile(path);
  }
};

std::string vector_bytes() {  // tensor "b" = [1, 2], the published example
  return safetensors_bytes(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}   )",
      std::string_view("\0\0\x80\x3f\0\0\0\x40", 8));
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(safetensors, OneSafetensorsFile)

BOOST_AUTO_TEST_CASE(writes_the_test_vector) {
  write_safetensors(path, {{"b", Tensor::from_values<float>({2}, std::vector<float>{1, 2})}});
  BOOST_TEST(read_bytes(path) == vector_bytes());
  BOOST_TEST(read_bytes(path).size() == 104u);
}

BOOST_AUTO_TEST_CASE(writes_what_the_library_writes) {
  const std::vector<NamedTensor> tensors{
      {"b", counting({2, 3})},
      {"int", Tensor::from_values<int32_t>({3}, std::vector<int32_t>{7, 8, 9})},
      {"a", counting({}, 1.5F)},
      {"eé\"\\\n\x01", counting({0, 2})},
      {"ids", Tensor::from_values<int64_t>({1, 2}, std::vector<int64_t>{5, -6})},
      {"double", Tensor::from_values<double>({2}, std::vector<double>{1e300, -2})}};
  write_safetensors(path, tensors);
  BOOST_CHECK(read_bytes(path) == read_bytes(recorded("formats/ours.safetensors")));
}

BOOST_AUTO_TEST_CASE(reads_what_it_wrote) {
  const std::vector<NamedTensor> tensors{{"a.weight", counting({3, 1, 2})}, {"b", counting({5}, -2)}};
  write_safetensors(path, tensors, {{"method", "random"}, {"format", "np"}});
  const SafetensorsFile file(path);
  BOOST_TEST(file.names() == (std::vector<std::string>{"a.weight", "b"}));
  for (const NamedTensor& named : tensors) BOOST_CHECK(equal_bits(file.read(named.name), named.tensor));
  BOOST_TEST(file.metadata().at("method") == "random");
  BOOST_TEST(file.metadata().at("format") == "pt");
  BOOST_TEST(file.contains("b"));
  BOOST_TEST(!file.contains("c"));
  check_error(ErrorKind::model, "there is no tensor 'c'", [&] { file.read("c"); });
}

BOOST_AUTO_TEST_CASE(slices_of_one_storage_are_written_apart) {
  const Tensor fused = counting({6, 2});
  write_safetensors(path, {{"q", fused.slice(0, 2)}, {"k", fused.slice(2, 4)}, {"v", fused.slice(4, 6)}});
  BOOST_CHECK(equal_bits(SafetensorsFile(path).read("k"), counting({2, 2}, 4)));
}

BOOST_AUTO_TEST_CASE(mistakes_of_the_caller_are_refused) {
  const Tensor tensor = counting({2});
  BOOST_CHECK_THROW(write_safetensors(path, {{"a", tensor}, {"a", counting({2})}}), std::invalid_argument);
  BOOST_CHECK_THROW(write_safetensors(path, {{"a", tensor}, {"b", tensor}}), std::invalid_argument);
  BOOST_CHECK_THROW(write_safetensors(path, {{"a", Tensor()}}), std::invalid_argument);
  BOOST_CHECK_THROW(write_safetensors(path, {{"__metadata__", tensor}}), std::invalid_argument);
  BOOST_TEST(!std::filesystem::exists(path));
  check_error(ErrorKind::write, "cannot write", [&] {
    write_safetensors(folder / "none/m", {{"a", tensor}});
  });
}

BOOST_AUTO_TEST_CASE(reads_every_dtype_that_a_tensor_can_hold) {
  const SafetensorsFile file(recorded("formats/all_types.safetensors"));
  BOOST_TEST(file.names().size() == 13u);
  for (const std::string& name : file.names()) {
    BOOST_TEST(to_string(file.entry(name).type) == name);
    const auto dtype = dtype_for(file.entry(name).type);
    if (!dtype) {
      check_error(ErrorKind::model, "tensor '" + name + "': dtype " + name + " cannot be read",
                  [&] { file.read(name); });
      continue;
    }
    const Tensor tensor = file.read(name);
    BOOST_CHECK(tensor.dtype() == *dtype);
    BOOST_CHECK(tensor.shape() == (Shape{1, 3}));
    if (is_floating(*dtype))
      BOOST_CHECK(equal_bits(tensor.to(DType::float32),
                             Tensor::from_values<float>({1, 3}, std::vector<float>{0, 1, 1})));
    if (*dtype == DType::int32) BOOST_TEST(tensor.to_vector<int32_t>() == (std::vector<int32_t>{0, 1, 1}));
  }
}

BOOST_AUTO_TEST_CASE(accepts_what_the_format_allows) {
  BOOST_CHECK(open("{}", "").names().empty());
  BOOST_TEST(open("{}   ", "").metadata().empty());
  const auto scalar =
      open(R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", std::string_view("\0\0\xc0\x7f", 4));
  BOOST_CHECK(std::isnan(scalar.read("s").item()));  // 52 header bytes: the tensor is not aligned
  const auto empty = open(
      R"({"e":{"dtype":"F32","shape":[0,4],"data_offsets":[4,4]},"x":{"shape":[1],"dtype":"I32","data_offsets":[0,4]},"f":{"dtype":"F32","shape":[9,0],"data_offsets":[4,4]}})",
      "abcd");
  BOOST_CHECK(empty.read("e").shape() == (Shape{0, 4}));
}

BOOST_AUTO_TEST_CASE(refuses_a_broken_frame) {
  check_error(ErrorKind::model, "cannot read " + path.string() + ": No such file",
              [&] { SafetensorsFile{path}; });
  check_refused("", "truncated: 0 bytes, expected at least 8");
  check_refused(std::string(7, '\0'), "truncated: 7 bytes");
  check_refused(std::string(8, '\0'), "the header does not begin with '{'");
  check_refused(std::string(8, '\xff'), "header of 18446744073709551615 bytes, expected at most 100000000");
  check_refused(std::string("\x01\xe1\xf5\x05\0\0\0\0{}", 10), "header of 100000001 bytes");
  check_refused(std::string("\x03\0\0\0\0\0\0\0{}", 10), "the header needs 11 bytes, the file has 10");
  check_header_refused(" {}", "", "the header does not begin with '{'");
  check_header_refused("[]", "", "the header does not begin with '{'");
}

BOOST_AUTO_TEST_CASE(refuses_a_header_that_is_not_json) {
  check_header_refused("{\"a\":", "", "header, line 1: not valid JSON");
  check_header_refused("{}x", "", "not valid JSON");
  check_header_refused("{\"\xff\":1}", "", "not UTF-8");
  check_header_refused(
      R"({"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})",
      "x", "key 'a' comes twice");
  check_header_refused("{\"a\":" + std::string(100, '['), "", "nested deeper than 64 levels");
}

BOOST_AUTO_TEST_CASE(refuses_malformed_metadata) {
  check_header_refused(R"({"__metadata__":{"step":3}})", "",
                       "__metadata__: the value of 'step' is not a string");
  check_header_refused(R"({"__metadata__":[]})", "", "__metadata__ is not an object");
}

BOOST_AUTO_TEST_CASE(refuses_malformed_entries) {
  check_header_refused(R"({"a":3})", "", "tensor 'a': expected an object, found number");
  check_header_refused(R"({"a":{"shape":[],"data_offsets":[0,1]}})", "x", "tensor 'a': dtype is missing");
  check_header_refused(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", "x", "tensor 'a': shape is missing");
  check_header_refused(R"({"a":{"dtype":"U8","shape":[]}})", "x", "tensor 'a': data_offsets is missing");
  check_header_refused(R"({"a":{"dtype":"U8","shape":[],"data_offsets":[0,1],"b":1}})", "x",
                       "unexpected key 'b'");
  check_header_refused(R"({"a":{"dtype":7,"shape":[],"data_offsets":[0,1]}})", "x", "dtype is not a string");
  check_header_refused(R"({"a":{"dtype":"F8_E4M3","shape":[],"data_offsets":[0,1]}})", "x",
                       "tensor 'a': dtype 'F8_E4M3' is not supported");
  check_header_refused(R"({"a":{"dtype":"U8","shape":4,"data_offsets":[0,1]}})", "x",
                       "shape is not a list of sizes");
  for (const char* size : {"-1", "1.0", "\"1\"", "9223372036854775808", "null"}) {
    check_header_refused(fmt::format(R"({{"a":{{"dtype":"U8","shape":[{}],"data_offsets":[0,1]}}}})", size),
                         "x", "tensor 'a': shape is not a list of sizes");
  }
  for (const char* offsets : {"[]", "[0]", "[0,1,2]", "[-1,0]", "[0,\"1\"]", "1"}) {
    check_header_refused(fmt::format(R"({{"a":{{"dtype":"U8","shape":[],"data_offsets":{}}}}})", offsets),
                         "x", "tensor 'a': data_offsets is not [begin, end]");
  }
  check_header_refused(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1],"data_offsets":[0,1]}})", "x",
                       "tensor 'a': 7 dimensions, expected at most 6");
}

BOOST_AUTO_TEST_CASE(refuses_sizes_that_do_not_fit) {
  check_header_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "abcd",
                       "tensor 'a': shape [2] of F32 takes 8 bytes, data_offsets span 4");
  check_header_refused(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", "x",
                       "tensor 'a': data_offsets end before they begin (0 < 1)");
  check_header_refused(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", "",
                       "does not fit 63 bits");  // the product wraps to 0
  check_header_refused(R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", "",
                       "does not fit 63 bits");
}

BOOST_AUTO_TEST_CASE(refuses_holes_and_overlaps) {
  check_header_refused(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "xy",
                       "tensor 'a': expected its bytes to begin at 0, found 1 (a hole before it)");
  check_header_refused(
      R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
      "xyz", "tensor 'a': expected its bytes to begin at 1, found 2 (a hole before it)");
  check_header_refused(
      R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
      "xyz", "tensor 'a': expected its bytes to begin at 2, found 1 (an overlap)");
  check_header_refused(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "x",
                       "truncated: the tensors take 2 bytes behind the header, the file has 1");
  check_header_refused(
      R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "xyz",
      "surplus bytes at the end: the tensors take 2 bytes behind the header, the file has 3");
  check_header_refused("{}", "x", "surplus bytes at the end");
}

BOOST_AUTO_TEST_CASE(tensors_made_one_at_a_time_give_the_same_file) {
  const std::vector<NamedTensor> tensors = {{"b", Tensor::full({3}, 1, DType::float32)},
                                            {"a", Tensor::full({2, 2}, 2, DType::float32)},
                                            {"c", Tensor::full({5}, 3, DType::float64)}};
  write_safetensors(path, tensors, {{"key", "value"}});
  std::vector<TensorOutline> outlines;
  for (const NamedTensor& named : tensors) {
    outlines.push_back({named.name, named.tensor.dtype(), named.tensor.shape()});
  }
  std::string asked;
  const auto make = [&](const TensorOutline& outline) {
    asked += outline.name;
    for (const NamedTensor& named : tensors) {
      if (named.name == outline.name) return named.tensor;
    }
    return Tensor();
  };
  write_safetensors_one_by_one(folder / "other", outlines, make, {{"key", "value"}});
  BOOST_TEST(asked == "cab");  // the order of the file
  BOOST_TEST(read_bytes(folder / "other") == read_bytes(path));

  const auto wrong = [](const TensorOutline&) { return Tensor::full({1}, 0, DType::float32); };
  BOOST_CHECK_THROW(write_safetensors_one_by_one(folder / "wrong", outlines, wrong), std::invalid_argument);
  BOOST_TEST(!std::filesystem::exists(folder / "wrong"));
}

BOOST_AUTO_TEST_CASE(hostile_names_do_not_break_the_line) {
  check_header_refused(R"({"a\nb\u001b":3})", "", "tensor 'a\\x0ab\\x1b': expected an object");
}

BOOST_AUTO_TEST_CASE(corrupted_files_give_a_value_or_an_error) {
  const int64_t refused = corrupt(vector_bytes(), path, [&] {
    const SafetensorsFile file(path);
    for (const std::string& name : file.names()) file.read(name);
  });
  // Accepted are flips in the values (64), in names, in the padding and of the dtype's letter.
  BOOST_TEST(refused > 700);
}

BOOST_AUTO_TEST_SUITE_END()
