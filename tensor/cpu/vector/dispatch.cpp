#include "tensor/cpu/vector/dispatch.h"

#include <cstdlib>

#include "tensor/cpu/vector/instruction_sets.h"
#include "tensor/error.h"

namespace normtune {
namespace {

struct InstructionSet {
  const char* name;
  const vector::Loops<float>* float_loops;
  const vector::Loops<double>* double_loops;
};

std::vector<InstructionSet> supported() {
  std::vector<InstructionSet> sets;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("fma")) {
    sets.push_back({"avx512", &vector::avx512::float_loops, &vector::avx512::double_loops});
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    sets.push_back({"avx2", &vector::avx2::float_loops, &vector::avx2::double_loops});
  }
#endif
  sets.push_back({"baseline", &vector::baseline::float_loops, &vector::baseline::double_loops});
  return sets;
}

InstructionSet find(const std::string& name) {
  for (const InstructionSet& set : supported()) {
    if (set.name == name) return set;
  }
  fail(ErrorKind::usage,
       "instruction set \"{}\": this machine runs {}; unset NORMTUNE_CPU_ISA or name one of them", name,
       fmt::join(supported_cpu_instruction_sets(), ", "));
}

InstructionSet& in_use() {
  static InstructionSet set = [] {
    const char* wanted = std::getenv("NORMTUNE_CPU_ISA");
    return wanted != nullptr && *wanted != '\0' ? find(wanted) : supported().front();
  }();
  return set;
}

}  // namespace

std::string cpu_instruction_set() {
  return in_use().name;
}

std::vector<std::string> supported_cpu_instruction_sets() {
  std::vector<std::string> names;
  for (const InstructionSet& set : supported()) names.emplace_back(set.name);
  return names;
}

void set_cpu_instruction_set(const std::string& name) {
  in_use() = find(name);
}

template <>
const vector::Loops<float>& vector::loops<float>() {
  return *in_use().float_loops;
}

template <>
const vector::Loops<double>& vector::loops<double>() {
  return *in_use().double_loops;
}

}  // namespace normtune
