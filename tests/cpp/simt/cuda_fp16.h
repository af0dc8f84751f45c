// Stand-in for CUDA's header: storage and conversions of float16.
#pragma once

#include "cpu/half.h"

struct __half {
  unsigned short bits;
};
inline float __half2float(__half h) {
  return jaxinv::JAXINV_NAMESPACE::to_float(jaxinv::JAXINV_NAMESPACE::Float16{h.bits});
}
inline __half __float2half_rn(float x) {
  jaxinv::JAXINV_NAMESPACE::Float16 h;
  jaxinv::JAXINV_NAMESPACE::from_float(x, h);
  return {h.bits};
}
