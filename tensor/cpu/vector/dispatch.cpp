#include "tensor/cpu/vector/dispatch.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdlib>

#include "tensor/cpu/bf16/packed.h"
#include "tensor/cpu/vector/instruction_sets.h"
#include "tensor/error.h"

namespace normtune {
namespace {

struct InstructionSet {
  const char* name;
  const vector::Loops<float>* float_loops;
  const vector::Loops<double>* double_loops;
  const bf16::Instructions* bf16_instructions = nullptr;
};

#if defined(__x86_64__)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("fma");
}

/// The compiler knows the instructions, and the processor has AVX-512's for pairs of bfloat16.
bool has_pairs() {
  constexpr unsigned avx512_bf16 = 1U << 5;  // of cpuid's leaf 7.1
  unsigned a = 0, b = 0, c = 0, d = 0;
  return bf16::pairs.multiply != nullptr && has_avx512() && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 &&
         (a & avx512_bf16) != 0;
}

/// The same with AMX's for tiles, whose registers the system hands out only to processes that ask:
/// ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA.
bool has_tiles() {
  constexpr unsigned amx_bf16 = 1U << 22, amx_tile = 1U << 24;  // of cpuid's leaf 7.0
  unsigned a = 0, b = 0, c = 0, d = 0;
  return bf16::tiles.multiply != nullptr && has_pairs() && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 &&
         (d & amx_bf16) != 0 && (d & amx_tile) != 0 && syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}
#endif

std::vector<InstructionSet> supported() {
  std::vector<InstructionSet> sets;
#if defined(__x86_64__)
  const InstructionSet avx512{"avx512", &vector::avx512::float_loops, &vector::avx512::double_loops};
  const auto with_bf16 = [&](const char* name, const bf16::Instructions& instructions) {
    sets.push_back({name, avx512.float_loops, avx512.double_loops, &instructions});
  };
  if (has_tiles()) with_bf16("amx", bf16::tiles);
  if (has_pairs()) with_bf16("avx512_bf16", bf16::pairs);
  if (has_avx512()) sets.push_back(avx512);
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

const bf16::Instructions* bf16::instructions() {
  return in_use().bf16_instructions;
}

}  // namespace normtune
