// The kernels of a program by name: what both ways of running them share. Included once a program, behind the
// registry.h that says what a Kernel is.
#pragma once

#include <map>

#include "tests/cpp/msl/msl.h"

namespace msl {
namespace {

std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> instance;
  return instance;
}

}  // namespace

bool add(const char* name, const Kernel& kernel) { return kernels().emplace(name, kernel).second; }

Limits limits(const std::string& function) {
  const auto found = kernels().find(function);
  if (found == kernels().end()) return {};
  return {found->second.threads, found->second.threadgroup_bytes};
}

std::vector<std::string> functions() {
  std::vector<std::string> names;
  for (const auto& kernel : kernels()) names.push_back(kernel.first);
  return names;
}

}  // namespace msl
