// Entry points of metal/triangle_simdgroup.h.
#include "metal/triangle_simdgroup.h"

JAXINV_INVERSE_KERNEL(triangle_simdgroup_float32, jaxinv::metal::system_threads(), SystemShared,
                      triangle_simdgroup, float)
JAXINV_INVERSE_KERNEL(triangle_simdgroup_complex64, jaxinv::metal::system_threads(), SystemShared,
                      triangle_simdgroup, jaxinv::metal::Complex64)
