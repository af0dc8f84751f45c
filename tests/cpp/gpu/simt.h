// In place of the emulator's header: the same tests on a GPU, where nothing can be seeded or left out. Memory is
// managed, so that host and device both reach it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace simt {

struct Device {
  int multiprocessors;
  size_t shared_per_block_optin;
};
inline Device& device() {
  static Device instance;
  return instance;
}
inline void seed(uint64_t) {}
inline void leave_out(const char*) {
  std::printf("a barrier can only be left out on the emulator\n");
  std::exit(2);
}

inline void expect(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::printf("%s\n", cudaGetErrorString(error));
  std::exit(1);
}
// Waits for what was launched.
inline void finish() { expect(cudaDeviceSynchronize()); }

inline void* allocate(size_t bytes) {
  void* data;
  expect(cudaMallocManaged(&data, bytes));
  return data;
}
inline void release(void* data) { expect(cudaFree(data)); }

}  // namespace simt
