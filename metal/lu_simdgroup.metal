// Entry points of metal/lu_simdgroup.h.
#include "metal/lu_simdgroup.h"

#define JAXINV_LU_KERNEL(name, V)                                                            \
  typedef jaxinv::metal::SystemShared<V> name##_shared;                                      \
  [[max_total_threads_per_threadgroup(jaxinv::metal::system_threads())]] kernel void name(   \
      device const void* a [[buffer(0)]], device void* lu [[buffer(1)]],                     \
      device int32_t* permutation [[buffer(2)]], device int32_t* info [[buffer(3)]],         \
      device void* mantissa [[buffer(4)]], device int32_t* exponent [[buffer(5)]],           \
      constant jaxinv::metal::LuParameters* parameters [[buffer(6)]], JAXINV_POSITION) {     \
    JAXINV_SHARED(name##_shared, shared);                                                    \
    const jaxinv::metal::LuBuffers buffers = {a, lu, permutation, info, mantissa, exponent}; \
    const jaxinv::metal::Position at = JAXINV_AT;                                            \
    jaxinv::metal::lu_simdgroup<V>(buffers, *parameters, at, shared);                        \
  }                                                                                          \
  JAXINV_ENTRY(name, name##_shared, jaxinv::metal::system_threads())

JAXINV_LU_KERNEL(lu_simdgroup_float32, float)
JAXINV_LU_KERNEL(lu_simdgroup_complex64, jaxinv::metal::Complex64)
