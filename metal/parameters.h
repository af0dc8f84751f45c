// What the host and the kernels both know: parameters as they are bound, sizes of groups of threads. Types that
// mean the same in C++ and in Metal's language.
#pragma once

#ifdef __METAL_VERSION__
#include <metal_stdlib>
#else
#include <cstdint>
#endif

namespace jaxinv {
namespace metal {

// How numbers are stored; what is computed with is float32, or complex of it.
enum Storage : int32_t { kFloat32, kFloat16, kBFloat16, kComplex64 };

// Buffers of an inverse: a, x, info, mantissa, exponent, these.
struct InverseParameters {
  int64_t batch;
  int32_t n;
  int32_t storage;
  int32_t with_info;         // otherwise there is no such buffer
  int32_t with_determinant;  // mantissa and exponent
};

// Buffers of y = −op(l) op(g) op(r): l, g, r, y, these.
struct TripleProductParameters {
  int64_t batch;
  int32_t n;
  int32_t storage;
  int32_t transpose_l, transpose_g, transpose_r;
  int32_t same;  // l is r: read once
};

// Lanes of a simdgroup.
constexpr int simdgroup_lanes() { return 32; }
// Simdgroups of a group of threads, each with so many bytes of threadgroup memory of its own: half of the memory
// at most, so that two groups are at work in a core.
constexpr int simdgroups_that_fit(int bytes) {
  return bytes * 4 <= 16384 ? 4 : bytes * 2 <= 16384 ? 2 : 1;
}

// Numbers from slot to slot where each lane has `count` of them: odd, so that lanes meet different banks.
constexpr int slot_stride(int count) { return count | 1; }
constexpr int inverse_thread_bytes(int n, int bytes) {
  return simdgroup_lanes() * slot_stride(n * n) * bytes;
}

}  // namespace metal
}  // namespace jaxinv
