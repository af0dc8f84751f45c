// Entry points of metal/triple_product_thread.h and metal/triple_product_simdgroup.h.
#include "metal/triple_product_simdgroup.h"
#include "metal/triple_product_thread.h"

#define JAXINV_TRIPLE_THREAD_KERNEL(name, V, N)                                                   \
  JAXINV_TRIPLE_PRODUCT_KERNEL(                                                                   \
      name,                                                                                       \
      jaxinv::metal::simdgroups_that_fit(3 * jaxinv::metal::inverse_thread_bytes(N, sizeof(V))) * \
          32,                                                                                     \
      TripleProductThreadShared, triple_product_thread, V, N)
#define JAXINV_TRIPLE_SIMDGROUP_KERNEL(name, V, kN)                                              \
  JAXINV_TRIPLE_PRODUCT_KERNEL(                                                                  \
      name,                                                                                      \
      jaxinv::metal::simdgroups_that_fit(3 * jaxinv::metal::tile_numbers(kN) * int(sizeof(V))) * \
          32,                                                                                    \
      TripleProductSimdgroupShared, triple_product_simdgroup, V, kN)

JAXINV_TRIPLE_THREAD_KERNEL(triple_product_thread_float32_1, float, 1)
JAXINV_TRIPLE_THREAD_KERNEL(triple_product_thread_float32_2, float, 2)
JAXINV_TRIPLE_THREAD_KERNEL(triple_product_thread_float32_3, float, 3)
JAXINV_TRIPLE_THREAD_KERNEL(triple_product_thread_float32_4, float, 4)
JAXINV_TRIPLE_THREAD_KERNEL(triple_product_thread_complex64_1, jaxinv::metal::Complex64, 1)
JAXINV_TRIPLE_THREAD_KERNEL(triple_product_thread_complex64_2, jaxinv::metal::Complex64, 2)
JAXINV_TRIPLE_THREAD_KERNEL(triple_product_thread_complex64_3, jaxinv::metal::Complex64, 3)
JAXINV_TRIPLE_THREAD_KERNEL(triple_product_thread_complex64_4, jaxinv::metal::Complex64, 4)
JAXINV_TRIPLE_SIMDGROUP_KERNEL(triple_product_simdgroup_float32_8, float, 8)
JAXINV_TRIPLE_SIMDGROUP_KERNEL(triple_product_simdgroup_float32_16, float, 16)
JAXINV_TRIPLE_SIMDGROUP_KERNEL(triple_product_simdgroup_float32_24, float, 24)
JAXINV_TRIPLE_SIMDGROUP_KERNEL(triple_product_simdgroup_float32_32, float, 32)
JAXINV_TRIPLE_SIMDGROUP_KERNEL(triple_product_simdgroup_complex64_8, jaxinv::metal::Complex64, 8)
JAXINV_TRIPLE_SIMDGROUP_KERNEL(triple_product_simdgroup_complex64_16, jaxinv::metal::Complex64, 16)
JAXINV_TRIPLE_SIMDGROUP_KERNEL(triple_product_simdgroup_complex64_24, jaxinv::metal::Complex64, 24)
JAXINV_TRIPLE_SIMDGROUP_KERNEL(triple_product_simdgroup_complex64_32, jaxinv::metal::Complex64, 32)
