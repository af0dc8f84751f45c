// What the tests of the CPU kernels share beside matrices: scratch memory and a team.
#pragma once

#include "cpu/kernel_set.h"
#include "tests/cpp/matrices.h"

namespace jaxinv {
namespace {

struct Scratch {
  explicit Scratch(size_t bytes)
      : memory(std::aligned_alloc(128, (bytes + 127) / 128 * 128), std::free) {}
  std::unique_ptr<void, void (*)(void*)> memory;
};

// A team that runs its tasks backwards: they must not depend on their order.
void run_backwards(void*, int64_t count, void (*body)(void*, int64_t), void* arg) {
  while (count-- > 0) body(arg, count);
}

}  // namespace
}  // namespace jaxinv
