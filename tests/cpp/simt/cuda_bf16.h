// Stand-in for CUDA's header: storage and conversions of bfloat16.
#pragma once

#include "cpu/half.h"

struct __nv_bfloat16 {
  unsigned short bits;
};
inline float __bfloat162float(__nv_bfloat16 h) {
  return jaxinv::JAXINV_NAMESPACE::to_float(jaxinv::JAXINV_NAMESPACE::BFloat16{h.bits});
}
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  jaxinv::JAXINV_NAMESPACE::BFloat16 h;
  jaxinv::JAXINV_NAMESPACE::from_float(x, h);
  return {h.bits};
}
