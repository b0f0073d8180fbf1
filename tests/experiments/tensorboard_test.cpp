#include "experiments/tensorboard.h"

#include <boost/test/unit_test.hpp>
#include <cstring>

#include "tests/experiments/fixtures.h"

using namespace normtune;
using fixtures::check_error_parts;
using fixtures::content_of;
using fixtures::TemporaryFolder;

namespace {

std::string hex(std::string_view bytes) {
  std::string text;
  for (unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(tensorboard)

BOOST_AUTO_TEST_CASE(checksum) {
  BOOST_TEST(crc32c("123456789") == 0xe3069283u);
  BOOST_TEST(crc32c("") == 0u);
  BOOST_TEST(crc32c(std::string(32, '\0')) == 0x8a9136aau);  // RFC 3720, B.4
}

// Bytes that TensorBoard's own writer makes.
BOOST_AUTO_TEST_CASE(records) {
  BOOST_TEST(hex(version_record(1.0)) ==
             "1800000000000000a37f4b2209000000000000f03f1a0d627261696e2e4576656e743a3286bf577a");
  BOOST_TEST(
      hex(scalar_record("train/loss", 0.5f, 10, 2.0)) ==
      "200000000000000029eda950090000000000000040100a2a130a110a0a747261696e2f6c6f7373150000003f4da05bd9");
}

BOOST_AUTO_TEST_CASE(large_steps_take_more_bytes) {
  // 300 = 0xAC 0x02 as a protocol-buffer integer.
  BOOST_TEST(hex(scalar_record("a", 1.0f, 300, 0.0)).find("10ac02") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(files) {
  const TemporaryFolder folder;
  std::filesystem::path file;
  {
    EventWriter writer(folder.path());
    file = writer.file();
    const auto before = content_of(file).size();
    writer.add_scalar("eval/accuracy", 0.75, 3);
    BOOST_TEST(content_of(file).size() > before);  // flushed while the writer is open
  }
  BOOST_TEST(file.filename().string().starts_with("events.out.tfevents."));
  const std::string content = content_of(file);
  BOOST_TEST(content.find("brain.Event:2") != std::string::npos);
  BOOST_TEST(content.find("eval/accuracy") != std::string::npos);
  // The records' lengths add up to the file's.
  size_t at = 0, records = 0;
  while (at + 12 <= content.size()) {
    uint64_t length = 0;
    std::memcpy(&length, content.data() + at, sizeof length);
    at += 12 + length + 4;
    ++records;
  }
  BOOST_TEST(at == content.size());
  BOOST_TEST(records == 2u);
  EventWriter second(folder.path());
  BOOST_TEST(second.file() != file);
  check_error_parts(ErrorKind::write, {"none", "events"}, [&] { EventWriter(folder / "none"); });
}

BOOST_AUTO_TEST_SUITE_END()
