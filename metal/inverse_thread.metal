// Entry points of metal/inverse_thread.h.
#include "metal/inverse_thread.h"

#define JAXINV_THREAD_KERNEL(name, V, N)                                                          \
  JAXINV_INVERSE_KERNEL(                                                                          \
      name,                                                                                       \
      jaxinv::metal::simdgroups_that_fit(jaxinv::metal::inverse_thread_bytes(N, sizeof(V))) * 32, \
      InverseThreadShared, inverse_thread, V, N)

JAXINV_THREAD_KERNEL(inverse_thread_float32_1, float, 1)
JAXINV_THREAD_KERNEL(inverse_thread_float32_2, float, 2)
JAXINV_THREAD_KERNEL(inverse_thread_float32_3, float, 3)
JAXINV_THREAD_KERNEL(inverse_thread_float32_4, float, 4)
JAXINV_THREAD_KERNEL(inverse_thread_float32_5, float, 5)
JAXINV_THREAD_KERNEL(inverse_thread_float32_6, float, 6)
JAXINV_THREAD_KERNEL(inverse_thread_float32_7, float, 7)
JAXINV_THREAD_KERNEL(inverse_thread_float32_8, float, 8)
JAXINV_THREAD_KERNEL(inverse_thread_complex64_1, jaxinv::metal::Complex64, 1)
JAXINV_THREAD_KERNEL(inverse_thread_complex64_2, jaxinv::metal::Complex64, 2)
JAXINV_THREAD_KERNEL(inverse_thread_complex64_3, jaxinv::metal::Complex64, 3)
JAXINV_THREAD_KERNEL(inverse_thread_complex64_4, jaxinv::metal::Complex64, 4)
JAXINV_THREAD_KERNEL(inverse_thread_complex64_5, jaxinv::metal::Complex64, 5)
JAXINV_THREAD_KERNEL(inverse_thread_complex64_6, jaxinv::metal::Complex64, 6)
