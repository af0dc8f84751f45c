// Entry points of metal/inverse_simdgroup.h.
#include "metal/inverse_simdgroup.h"

#define JAXINV_SIMDGROUP_KERNEL(name, V, kN)                                                     \
  JAXINV_INVERSE_KERNEL(                                                                         \
      name,                                                                                      \
      jaxinv::metal::simdgroups_that_fit(jaxinv::metal::tile_numbers(kN) * int(sizeof(V))) * 32, \
      InverseSimdgroupShared, inverse_simdgroup, V, kN)

JAXINV_SIMDGROUP_KERNEL(inverse_simdgroup_float32_16, float, 16)
JAXINV_SIMDGROUP_KERNEL(inverse_simdgroup_float32_24, float, 24)
JAXINV_SIMDGROUP_KERNEL(inverse_simdgroup_float32_32, float, 32)
JAXINV_SIMDGROUP_KERNEL(inverse_simdgroup_complex64_8, jaxinv::metal::Complex64, 8)
JAXINV_SIMDGROUP_KERNEL(inverse_simdgroup_complex64_16, jaxinv::metal::Complex64, 16)
JAXINV_SIMDGROUP_KERNEL(inverse_simdgroup_complex64_24, jaxinv::metal::Complex64, 24)
JAXINV_SIMDGROUP_KERNEL(inverse_simdgroup_complex64_32, jaxinv::metal::Complex64, 32)
