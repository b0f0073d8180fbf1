#include "nn/sha256.h"

#include "tests/file_helpers.h"

using namespace normtune;
using namespace normtune::testing;

BOOST_AUTO_TEST_SUITE(sha256)

BOOST_AUTO_TEST_CASE(equals_the_published_vectors) {
  BOOST_TEST(normtune::sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  BOOST_TEST(normtune::sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  BOOST_TEST(normtune::sha256(std::string(1'000'000, 'a')) ==
             "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

BOOST_AUTO_TEST_CASE(reads_files) {
  const TemporaryFolder folder;
  write_bytes(folder / "f", "abc");
  write_bytes(folder / "empty", "");
  BOOST_TEST(sha256_file(folder / "f", ErrorKind::model) == normtune::sha256("abc"));
  BOOST_TEST(sha256_file(folder / "empty", ErrorKind::model) == normtune::sha256(""));
  check_error(ErrorKind::data, "cannot read", [&] { sha256_file(folder / "none", ErrorKind::data); });
}

BOOST_AUTO_TEST_SUITE_END()
