#include <boost/test/unit_test.hpp>

#include "tensor/cpu/bf16/packed.h"
#include "tensor/cpu/vector/dispatch.h"
#include "tensor/error.h"

using namespace normtune;

BOOST_AUTO_TEST_SUITE(instruction_set)

BOOST_AUTO_TEST_CASE(every_machine_has_the_baseline) {
  const std::vector<std::string> names = supported_cpu_instruction_sets();
  BOOST_TEST(names.back() == "baseline");
  BOOST_TEST((std::find(names.begin(), names.end(), cpu_instruction_set()) != names.end()));
}

BOOST_AUTO_TEST_CASE(can_be_chosen) {
  const std::string before = cpu_instruction_set();
  for (const std::string& name : supported_cpu_instruction_sets()) {
    set_cpu_instruction_set(name);
    BOOST_TEST(cpu_instruction_set() == name);
  }
  set_cpu_instruction_set(before);
}

/// "avx512" and less compute them in float32 even where the processor could do otherwise.
BOOST_AUTO_TEST_CASE(products_of_bfloat16_follow_the_choice) {
  const std::string before = cpu_instruction_set();
  for (const std::string& name : supported_cpu_instruction_sets()) {
    set_cpu_instruction_set(name);
    const bf16::Instructions* expected = name == "amx"           ? &bf16::tiles
                                         : name == "avx512_bf16" ? &bf16::pairs
                                                                 : nullptr;
    BOOST_TEST(bf16::instructions() == expected, name);
  }
  set_cpu_instruction_set(before);
}

BOOST_AUTO_TEST_CASE(an_unknown_one_is_a_usage_error) {
  BOOST_CHECK_EXCEPTION(set_cpu_instruction_set("sse9"), Error, [](const Error& error) {
    const std::string message = error.what();
    return error.kind() == ErrorKind::usage && message.find("\"sse9\"") != std::string::npos &&
           message.find("baseline") != std::string::npos;
  });
}

BOOST_AUTO_TEST_SUITE_END()
