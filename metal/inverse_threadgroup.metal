// Entry points of metal/inverse_threadgroup.h: n ≤ 48, 64 or 96.
#include "metal/inverse_threadgroup.h"

#define JAXINV_THREADGROUP_KERNEL(name, V, kTile)                                             \
  JAXINV_INVERSE_KERNEL(name, jaxinv::metal::threadgroup_threads(), InverseThreadgroupShared, \
                        inverse_threadgroup, V, kTile)

JAXINV_THREADGROUP_KERNEL(inverse_threadgroup_float32_48, float, 3)
JAXINV_THREADGROUP_KERNEL(inverse_threadgroup_float32_96, float, 6)
JAXINV_THREADGROUP_KERNEL(inverse_threadgroup_complex64_48, jaxinv::metal::Complex64, 3)
JAXINV_THREADGROUP_KERNEL(inverse_threadgroup_complex64_64, jaxinv::metal::Complex64, 4)
