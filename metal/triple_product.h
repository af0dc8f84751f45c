// What the kernels of triple products share: their buffers and the macro that makes entry points.
#pragma once

#include "metal/kernel.h"

namespace jaxinv {
namespace metal {

struct TripleProductBuffers {
  device const void* l;
  device const void* g;
  device const void* r;
  device void* y;
};

}  // namespace metal
}  // namespace jaxinv

#define JAXINV_TRIPLE_PRODUCT_KERNEL(name, thread_count, Shared, body, ...)      \
  typedef jaxinv::metal::Shared<__VA_ARGS__> name##_shared;                      \
  [[max_total_threads_per_threadgroup(thread_count)]] kernel void name(          \
      device const void* l [[buffer(0)]], device const void* g [[buffer(1)]],    \
      device const void* r [[buffer(2)]], device void* y [[buffer(3)]],          \
      constant jaxinv::metal::TripleProductParameters* parameters [[buffer(4)]], \
      JAXINV_POSITION) {                                                         \
    JAXINV_SHARED(name##_shared, shared);                                        \
    const jaxinv::metal::TripleProductBuffers buffers = {l, g, r, y};            \
    const jaxinv::metal::Position at = JAXINV_AT;                                \
    jaxinv::metal::body<__VA_ARGS__>(buffers, *parameters, at, shared);          \
  }                                                                              \
  JAXINV_ENTRY(name, name##_shared, thread_count)
