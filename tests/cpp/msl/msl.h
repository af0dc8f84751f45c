// Runs Metal kernels, compiled from their shipping sources by tests/cpp/msl/metal_stdlib, on the SIMT emulator.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace msl {

// Runs a kernel by name: buffers in the order of their index, the parameters last. Throws std::out_of_range for
// a name or a number of buffers that is not there, simt::Failure for what hangs or is undefined on a device.
// From any thread, one at a time.
void run(const std::string& function, const std::vector<void*>& buffers, uint32_t groups,
         uint32_t threads_per_group);

// What the pipeline of a kernel would say of it; threads is 0 where there is no such kernel.
struct Limits {
  uint32_t threads_per_group;
  size_t threadgroup_bytes;
};
Limits limits(const std::string& function);

// All kernels that the program was linked with.
std::vector<std::string> functions();

}  // namespace msl
