// What the kernels and launchers of this folder share: shared memory and launches. The only place with
// __shared__ and with a launch.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "core/scalar.h"
#include "cuda/launch.h"

namespace jaxinv::cuda {

using scalar::Complex;
using scalar::select;

constexpr unsigned kAllLanes = 0xffffffff;
constexpr int kWarpSize = 32;

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

constexpr size_t kSharedDefault = 48 << 10;  // what a kernel gets without asking

// Of the device that is launched on.
inline int device_attribute(cudaDeviceAttr attribute) {
  int device, value;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&value, attribute, device), "asking for what the device has");
  return value;
}

template <class... Parameters, class... Arguments>
void launch_kernel(void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared_bytes,
                   const Context& context, Arguments... arguments) {
  if (context.prepare) {
    cudaFuncAttributes attributes;
    check(cudaFuncGetAttributes(&attributes, kernel), "loading a kernel");
    if (shared_bytes > kSharedDefault) {
      // All that there is: another call of the same kernel, prepared before this one runs, may need less.
      check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)),
            "asking for shared memory");
    }
    return;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(blocks));
  config.blockDim = dim3(unsigned(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = context.stream;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), "launching a kernel");
}

// Blocks for `count` units of work of which a block takes `per_block` at a time; above a few waves of blocks
// they take several in turn.
constexpr int kBlocksPerMultiprocessor = 128;
inline int64_t blocks_for(int64_t count, int64_t per_block) {
  const int multiprocessors = device_attribute(cudaDevAttrMultiProcessorCount);
  return std::min((count + per_block - 1) / per_block,
                  int64_t(multiprocessors) * kBlocksPerMultiprocessor);
}

}  // namespace jaxinv::cuda
