#define BOOST_TEST_MODULE normtune
#include <boost/test/unit_test.hpp>
