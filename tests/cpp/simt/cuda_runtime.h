// Stand-in for CUDA's header of the same name: what jaxinv's kernels and launchers use of it, on the SIMT
// emulator.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <unordered_map>

#include "simt.h"

#define __global__
#define __device__
#define __host__
#define __shared__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

// Built-in variables and vector types.
struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
constexpr int warpSize = 32;

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// Bits and arithmetic.
template <class To, class From>
To simt_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
inline int __float_as_int(float x) { return simt_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return simt_bits<unsigned>(x); }
inline float __int_as_float(int x) { return simt_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return simt_bits<float>(x); }
inline long long __double_as_longlong(double x) { return simt_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return simt_bits<double>(x); }
inline int __double2hiint(double x) { return int(simt_bits<uint64_t>(x) >> 32); }
inline int __double2loint(double x) { return int(simt_bits<uint64_t>(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline unsigned __umulhi(unsigned x, unsigned y) { return unsigned((uint64_t(x) * y) >> 32); }
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T min(T x, T y) {
  return y < x ? y : x;
}
template <class T>
T max(T x, T y) {
  return x < y ? y : x;
}

// Barriers.
inline void __syncthreads(int line = __builtin_LINE(), const char* file = __builtin_FILE()) {
  if (!simt::left_out(file, line)) simt::barrier(0, 0, line);
}
inline void __barrier_sync_count(unsigned id, unsigned count, int line = __builtin_LINE(),
                                 const char* file = __builtin_FILE()) {
  if (!simt::left_out(file, line)) simt::barrier(int(id), count, line);
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __syncwarp(unsigned mask = 0xffffffff, int line = __builtin_LINE(),
                       const char* file = __builtin_FILE()) {
  if (simt::left_out(file, line)) return;
  simt::meet(mask, 0, 0, [](const simt::Lane(&)[32], int, uint32_t) { return uint64_t(0); }, line);
}

// Warp intrinsics.
template <class T>
uint64_t simt_payload(T value) {
  static_assert(sizeof(T) <= 8 && std::is_arithmetic_v<T>, "32- and 64-bit numbers only");
  uint64_t out = 0;
  std::memcpy(&out, &value, sizeof value);
  return out;
}
template <class T>
T simt_value(uint64_t payload) {
  T out;
  std::memcpy(&out, &payload, sizeof out);
  return out;
}
// The value of another lane; reading a lane outside the mask is undefined on the device: garbage here.
inline uint64_t simt_read(const simt::Lane (&lanes)[32], int lane, uint32_t mask) {
  return mask >> lane & 1 ? lanes[lane].value : 0x7fbadbad7fbadbad;
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, int line = __builtin_LINE()) {
  const int self = int(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
  source = (self & ~(width - 1)) | (source & (width - 1));
  return simt_value<T>(simt::meet(
      mask, simt_payload(value), source,
      [](const simt::Lane(&lanes)[32], int self, uint32_t arrived) {
        return simt_read(lanes, lanes[self].argument, arrived);
      },
      line));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, int line = __builtin_LINE()) {
  const int self = int(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
  const int source = self ^ lanes;
  const bool inside = source / width <= self / width;
  return __shfl_sync(mask, value, inside ? source : self, 32, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int lanes, int width = 32, int line = __builtin_LINE()) {
  const int self = int(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
  const bool inside = self % width + lanes < width;
  return __shfl_sync(mask, value, inside ? self + lanes : self, 32, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int lanes, int width = 32, int line = __builtin_LINE()) {
  const int self = int(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
  const bool inside = self % width >= lanes;
  return __shfl_sync(mask, value, inside ? self - lanes : self, 32, line);
}

struct SimtMax {
  template <class T>
  static T of(T x, T y) {
    return x < y ? y : x;
  }
};
struct SimtMin {
  template <class T>
  static T of(T x, T y) {
    return y < x ? y : x;
  }
};
struct SimtAdd {
  template <class T>
  static T of(T x, T y) {
    return x + y;
  }
};
struct SimtOr {
  template <class T>
  static T of(T x, T y) {
    return x | y;
  }
};
template <class Join, class T>
T simt_reduce(unsigned mask, T value, int line) {
  return simt_value<T>(simt::meet(
      mask, simt_payload(value), 0,
      [](const simt::Lane(&lanes)[32], int, uint32_t arrived) {
        const int first = __builtin_ctz(arrived);
        T out = simt_value<T>(lanes[first].value);
        for (int i = first + 1; i < 32; ++i) {
          if (arrived >> i & 1) out = Join::of(out, simt_value<T>(lanes[i].value));
        }
        return simt_payload(out);
      },
      line));
}
inline int __reduce_max_sync(unsigned mask, int value, int line = __builtin_LINE()) {
  return simt_reduce<SimtMax>(mask, value, line);
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value, int line = __builtin_LINE()) {
  return simt_reduce<SimtMax>(mask, value, line);
}
inline int __reduce_min_sync(unsigned mask, int value, int line = __builtin_LINE()) {
  return simt_reduce<SimtMin>(mask, value, line);
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value, int line = __builtin_LINE()) {
  return simt_reduce<SimtMin>(mask, value, line);
}
inline int __reduce_add_sync(unsigned mask, int value, int line = __builtin_LINE()) {
  return simt_reduce<SimtAdd>(mask, value, line);
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned value, int line = __builtin_LINE()) {
  return simt_reduce<SimtAdd>(mask, value, line);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value, int line = __builtin_LINE()) {
  return simt_reduce<SimtOr>(mask, value, line);
}
inline unsigned __ballot_sync(unsigned mask, int vote, int line = __builtin_LINE()) {
  return unsigned(simt::meet(
      mask, vote != 0, 0,
      [](const simt::Lane(&lanes)[32], int, uint32_t arrived) {
        uint64_t out = 0;
        for (int i = 0; i < 32; ++i) {
          if ((arrived >> i & 1) && lanes[i].value) out |= uint64_t(1) << i;
        }
        return out;
      },
      line));
}
inline int __any_sync(unsigned mask, int vote, int line = __builtin_LINE()) {
  return __ballot_sync(mask, vote, line) != 0;
}
inline int __all_sync(unsigned mask, int vote, int line = __builtin_LINE()) {
  return __ballot_sync(mask, vote, line) == mask;
}

// Atomics: one thread runs at a time.
template <class T>
T atomicAdd(T* at, T value) {
  const T old = *at;
  *at = old + value;
  return old;
}
template <class T>
T atomicMax(T* at, T value) {
  const T old = *at;
  *at = old < value ? value : old;
  return old;
}
template <class T>
T atomicMin(T* at, T value) {
  const T old = *at;
  *at = value < old ? value : old;
  return old;
}
template <class T>
T atomicCAS(T* at, T expected, T value) {
  const T old = *at;
  if (old == expected) *at = value;
  return old;
}

// The runtime: launches, with the checks that a device makes.
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
};
using cudaStream_t = struct CUstream_st*;
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor,
};
enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize,
  cudaFuncAttributePreferredSharedMemoryCarveout,
};
constexpr int cudaSharedmemCarveoutMaxShared = 100;
struct cudaLaunchAttribute;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};
struct cudaFuncAttributes {
  int binaryVersion;
};
struct cudaDeviceProp {
  char name[256];
  int major, minor;
};

inline std::unordered_map<const void*, int>& simt_shared_limits() {
  static std::unordered_map<const void*, int> limits;
  return limits;
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (size_t(value) > simt::device().shared_per_block_optin) return cudaErrorInvalidValue;
  simt_shared_limits()[reinterpret_cast<const void*>(kernel)] = value;
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel*) {
  attributes->binaryVersion = simt::device().major * 10 + simt::device().minor;
  return cudaSuccess;
}
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const dim3 grid = config->gridDim, block = config->blockDim;
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  if (!threads || threads > 1024 || block.z > 64) return cudaErrorInvalidConfiguration;
  if (!grid.x || grid.x > 0x7fffffff || !grid.y || grid.y > 65535 || !grid.z || grid.z > 65535) {
    return cudaErrorInvalidConfiguration;
  }
  const auto raised = simt_shared_limits().find(reinterpret_cast<const void*>(kernel));
  const size_t limit = raised == simt_shared_limits().end() ? simt::device().shared_per_block
                                                            : size_t(raised->second);
  if (config->dynamicSmemBytes > std::max(limit, simt::device().shared_per_block)) {
    return cudaErrorInvalidValue;
  }
  simt::run({grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, config->dynamicSmemBytes,
            [&] { kernel(Parameters(arguments)...); });
  return cudaSuccess;
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    default:
      return "invalid argument";
  }
}
inline cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
inline cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* ordinal) {
  *ordinal = 0;
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"SIMT emulator", simt::device().major, simt::device().minor};
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = simt::device().multiprocessors;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = int(simt::device().shared_per_block_optin);
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = simt::device().major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = simt::device().minor;
      break;
  }
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* data, int byte, size_t count, cudaStream_t) {
  std::memset(data, byte, count);
  return cudaSuccess;
}
constexpr int cudaMemcpyDeviceToDevice = 3;
inline cudaError_t cudaMemcpyAsync(void* dst, const void* src, size_t count, int, cudaStream_t) {
  std::memcpy(dst, src, count);
  return cudaSuccess;
}
