#include <fmt/format.h>

int main() {
  fmt::print("normtune\n");
  return 0;
}
