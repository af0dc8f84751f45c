// What every kernel has: its position, its buffers, and the macros that make entry points. Entry points are thin
// and no templates; they alone declare threadgroup memory. The emulator of the tests defines JAXINV_ENTRY and
// JAXINV_SHARED before; as CUDA, JAXINV_POSITION and JAXINV_AT too.
#pragma once

#include <metal_stdlib>

#include "core/scalar.h"
#include "metal/parameters.h"

#ifndef JAXINV_ENTRY
#define JAXINV_ENTRY(name, Shared, thread_count)
#define JAXINV_SHARED(Shared, name) threadgroup Shared name
#endif

namespace jaxinv {
namespace metal {

using scalar::Complex;
typedef Complex<float> Complex64;

struct Position {
  uint group, groups;
  int threads, index, lane, simdgroup;
};

struct InverseBuffers {
  device const void* a;
  device void* x;
  device int32_t* info;
  device void* mantissa;
  device int32_t* exponent;
};

}  // namespace metal
}  // namespace jaxinv

#ifndef JAXINV_POSITION
#define JAXINV_POSITION                                                                     \
  uint group [[threadgroup_position_in_grid]], uint groups [[threadgroups_per_grid]],       \
      uint threads [[threads_per_threadgroup]], uint index [[thread_index_in_threadgroup]], \
      uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]
#define JAXINV_AT {group, groups, int(threads), int(index), int(lane), int(simdgroup)}
#endif

// An entry point of an inverse: calls the template `body` with these arguments.
#define JAXINV_INVERSE_KERNEL(name, thread_count, Shared, body, ...)                          \
  typedef jaxinv::metal::Shared<__VA_ARGS__> name##_shared;                                   \
  [[max_total_threads_per_threadgroup(thread_count)]] kernel void name(                       \
      device const void* a [[buffer(0)]], device void* x [[buffer(1)]],                       \
      device int32_t* info [[buffer(2)]], device void* mantissa [[buffer(3)]],                \
      device int32_t* exponent [[buffer(4)]],                                                 \
      constant jaxinv::metal::InverseParameters* parameters [[buffer(5)]], JAXINV_POSITION) { \
    JAXINV_SHARED(name##_shared, shared);                                                     \
    const jaxinv::metal::InverseBuffers buffers = {a, x, info, mantissa, exponent};           \
    const jaxinv::metal::Position at = JAXINV_AT;                                             \
    jaxinv::metal::body<__VA_ARGS__>(buffers, *parameters, at, shared);                       \
  }                                                                                           \
  JAXINV_ENTRY(name, name##_shared, thread_count)
