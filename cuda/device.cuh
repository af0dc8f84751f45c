// What kernels and launchers of this folder share: shared memory, launches, warp reductions. The only place
// with __shared__ and with a launch.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "core/scalar.h"

namespace jaxinv::cuda {

// The block's dynamic shared memory; sizeof(T) bytes of it are asked for at the launch.
extern __shared__ __align__(1024) unsigned char dynamic_shared[];
template <class T>
__device__ __forceinline__ T& shared_memory() {
  return *reinterpret_cast<T*>(dynamic_shared);
}

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
  }
}

template <class... Parameters, class... Arguments>
void launch_kernel(void (*kernel)(Parameters...), unsigned blocks, unsigned threads,
                   size_t shared_bytes, cudaStream_t stream, Arguments... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), "launch");
}

}  // namespace jaxinv::cuda
