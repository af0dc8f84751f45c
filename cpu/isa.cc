#include "cpu/isa.h"

#include <cstring>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace jaxinv::cpu {
namespace {

const KernelSet*& current() {
  static const KernelSet* set = available_kernel_sets().front();
  return set;
}

}  // namespace

std::vector<const KernelSet*> available_kernel_sets() {
  std::vector<const KernelSet*> sets;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    sets.push_back(&kAvx512);
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back(&kAvx2);
  sets.push_back(&kSse2);
#elif defined(__aarch64__)
  sets.push_back(&kNeon);
#endif
  return sets;
}

void select_kernel_set(const std::string& name) {
  auto sets = available_kernel_sets();
  if (name.empty()) {
    current() = sets.front();
    return;
  }
  std::string names;
  for (const KernelSet* set : sets) {
    if (name == set->name) {
      current() = set;
      return;
    }
    names += names.empty() ? set->name : std::string(", ") + set->name;
  }
  throw std::invalid_argument("JAXINV_ISA: this machine has " + names + ", got '" + name + "'");
}

const KernelSet& kernel_set() { return *current(); }

std::string device_name() {
#if defined(__x86_64__)
  unsigned words[12];
  if (__get_cpuid(0x80000002, words, words + 1, words + 2, words + 3) &&
      __get_cpuid(0x80000003, words + 4, words + 5, words + 6, words + 7) &&
      __get_cpuid(0x80000004, words + 8, words + 9, words + 10, words + 11)) {
    char name[sizeof words + 1] = {};
    memcpy(name, words, sizeof words);
    std::string text(name);
    text.erase(0, text.find_first_not_of(' '));
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
  }
  return "x86-64";
#else
  return "arm64";
#endif
}

}  // namespace jaxinv::cpu
