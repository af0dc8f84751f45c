// Entry points of metal/solve_simdgroup.h.
#include "metal/solve_simdgroup.h"

#define JAXINV_SOLVE_KERNEL(name, V)                                                        \
  typedef jaxinv::metal::SystemShared<V> name##_shared;                                     \
  [[max_total_threads_per_threadgroup(jaxinv::metal::system_threads())]] kernel void name(  \
      device const void* a [[buffer(0)]], device const void* b [[buffer(1)]],               \
      device void* x [[buffer(2)]], device int32_t* info [[buffer(3)]],                     \
      constant jaxinv::metal::SolveParameters* parameters [[buffer(4)]], JAXINV_POSITION) { \
    JAXINV_SHARED(name##_shared, shared);                                                   \
    const jaxinv::metal::SolveBuffers buffers = {a, b, x, info};                            \
    const jaxinv::metal::Position at = JAXINV_AT;                                           \
    jaxinv::metal::solve_simdgroup<V>(buffers, *parameters, at, shared);                    \
  }                                                                                         \
  JAXINV_ENTRY(name, name##_shared, jaxinv::metal::system_threads())

#define JAXINV_LU_SOLVE_KERNEL(name, V)                                                     \
  typedef jaxinv::metal::SystemShared<V> name##_shared;                                     \
  [[max_total_threads_per_threadgroup(jaxinv::metal::system_threads())]] kernel void name(  \
      device const void* lu [[buffer(0)]], device const int32_t* permutation [[buffer(1)]], \
      device const void* b [[buffer(2)]], device void* x [[buffer(3)]],                     \
      constant jaxinv::metal::SolveParameters* parameters [[buffer(4)]], JAXINV_POSITION) { \
    JAXINV_SHARED(name##_shared, shared);                                                   \
    const jaxinv::metal::LuSolveBuffers buffers = {lu, permutation, b, x};                  \
    const jaxinv::metal::Position at = JAXINV_AT;                                           \
    jaxinv::metal::lu_solve_simdgroup<V>(buffers, *parameters, at, shared);                 \
  }                                                                                         \
  JAXINV_ENTRY(name, name##_shared, jaxinv::metal::system_threads())

JAXINV_SOLVE_KERNEL(solve_simdgroup_float32, float)
JAXINV_SOLVE_KERNEL(solve_simdgroup_complex64, jaxinv::metal::Complex64)
JAXINV_LU_SOLVE_KERNEL(lu_solve_simdgroup_float32, float)
JAXINV_LU_SOLVE_KERNEL(lu_solve_simdgroup_complex64, jaxinv::metal::Complex64)
