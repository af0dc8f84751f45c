// How kernels make themselves known to tests/cpp/msl/cuda/msl.cu.
#pragma once

#include <cstddef>
#include <cstdint>

namespace msl {

struct Kernel {
  const void* function;
  size_t buffers;  // with the parameters
  uint32_t threads;
  size_t threadgroup_bytes;
};
bool add(const char* name, const Kernel& kernel);

template <class... Arguments>
constexpr size_t buffer_count(void (*)(Arguments...)) {
  return sizeof...(Arguments) - 1;  // what stands for the position
}

}  // namespace msl
