// What the kernels of the grid range share: the scratch of a matrix as arrays, and the macro that makes entry
// points.
#pragma once

#include "metal/results.h"
#include "metal/staging.h"

namespace jaxinv {
namespace metal {

template <class V>
struct GridMatrix {
  typedef typename Memory<V>::type M;
  device M* matrix;
  device M* factors;
  device M* multiples;
  device M* lower;
  device M* pivots;
  device int32_t* sizes;
  device int32_t* order;
  device int32_t* pivot_rows;
  device int32_t* finite;
  device int32_t* state;

  JAXINV_INLINE GridMatrix(device uchar* scratch, constant GridParameters& p, long index) {
    device uchar* at = scratch + index * p.bytes;
    matrix = reinterpret_cast<device M*>(at);
    factors = reinterpret_cast<device M*>(at + p.factors);
    multiples = reinterpret_cast<device M*>(at + p.multiples);
    lower = reinterpret_cast<device M*>(at + p.lower);
    pivots = reinterpret_cast<device M*>(at + p.pivots);
    sizes = reinterpret_cast<device int32_t*>(at + p.sizes);
    order = reinterpret_cast<device int32_t*>(at + p.order);
    pivot_rows = reinterpret_cast<device int32_t*>(at + p.pivot_rows);
    finite = reinterpret_cast<device int32_t*>(at + p.finite);
    state = reinterpret_cast<device int32_t*>(at + p.state);
  }
};
enum GridState : int32_t { kInfo, kShift, kFinite };

}  // namespace metal
}  // namespace jaxinv

#define JAXINV_GRID_KERNEL(name, thread_count, Shared, body, V)                            \
  typedef jaxinv::metal::Shared name##_shared;                                             \
  [[max_total_threads_per_threadgroup(thread_count)]] kernel void name(                    \
      device const void* a [[buffer(0)]], device void* x [[buffer(1)]],                    \
      device int32_t* info [[buffer(2)]], device void* mantissa [[buffer(3)]],             \
      device int32_t* exponent [[buffer(4)]], device uchar* scratch [[buffer(5)]],         \
      constant jaxinv::metal::GridParameters* parameters [[buffer(6)]], JAXINV_POSITION) { \
    JAXINV_SHARED(name##_shared, shared);                                                  \
    const jaxinv::metal::InverseBuffers buffers = {a, x, info, mantissa, exponent};        \
    const jaxinv::metal::Position at = JAXINV_AT;                                          \
    jaxinv::metal::body<V>(buffers, scratch, *parameters, at, shared);                     \
  }                                                                                        \
  JAXINV_ENTRY(name, name##_shared, thread_count)
