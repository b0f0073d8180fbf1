// What the program makes of exceptions, those included that no user can provoke.
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <new>

#include "tensor/error.h"
#include "tools/console.h"
#include "tools/failure.h"

using namespace normtune;

BOOST_AUTO_TEST_SUITE(failure)

BOOST_AUTO_TEST_CASE(errors_have_the_code_of_their_kind) {
  const auto code = [](ErrorKind kind) {
    const Failure failure = describe_failure(std::make_exception_ptr(Error(kind, "what, where")));
    BOOST_TEST(failure.message == "what, where");
    return failure.exit_code;
  };
  BOOST_TEST(code(ErrorKind::usage) == 2);
  BOOST_TEST(code(ErrorKind::model) == 3);
  BOOST_TEST(code(ErrorKind::data) == 4);
  BOOST_TEST(code(ErrorKind::numeric) == 5);
  BOOST_TEST(code(ErrorKind::out_of_memory) == 6);
  BOOST_TEST(code(ErrorKind::write) == 7);
}

BOOST_AUTO_TEST_CASE(a_bug_says_how_to_report_it) {
  const std::vector<std::exception_ptr> bugs = {std::make_exception_ptr(std::invalid_argument("shape")),
                                                std::make_exception_ptr(Error(ErrorKind::internal, "shape")),
                                                std::make_exception_ptr(42)};
  for (const std::exception_ptr& bug : bugs) {
    const Failure failure = describe_failure(bug);
    BOOST_TEST(failure.exit_code == 1);
    BOOST_TEST(failure.message.starts_with("internal error: "));
    BOOST_TEST(failure.message.find("please open an issue") != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(failures_of_the_system) {
  BOOST_TEST(describe_failure(std::make_exception_ptr(std::bad_alloc())).exit_code == 6);
  const std::filesystem::filesystem_error error("cannot", "/folder",
                                                std::make_error_code(std::errc::permission_denied));
  const Failure failure = describe_failure(std::make_exception_ptr(error));
  BOOST_TEST(failure.exit_code == 7);
  BOOST_TEST(failure.message == "/folder: Permission denied");
}

BOOST_AUTO_TEST_CASE(tables_and_numbers) {
  BOOST_TEST(with_thousands(0) == "0");
  BOOST_TEST(with_thousands(999) == "999");
  BOOST_TEST(with_thousands(1000) == "1,000");
  BOOST_TEST(with_thousands(333581314) == "333,581,314");
  BOOST_TEST(with_thousands(-1000) == "-1,000");
  BOOST_TEST(with_thousands(-100) == "-100");
  BOOST_TEST(format_table({{"name", "n"}, {"a", "10"}, {"long", "2", "x"}}) ==
             "name   n\na     10\nlong   2  x\n");
}

BOOST_AUTO_TEST_SUITE_END()
