// float16 and bfloat16 storage, float32 arithmetic: conversions by integer arithmetic, branch-free
// so that the loops over them vectorise in every instruction set. Round to nearest even.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/scalar.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

JAXINV_INLINE uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
JAXINV_INLINE float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

JAXINV_INLINE float to_float(BFloat16 h) { return float_of(uint32_t(h.bits) << 16); }

JAXINV_INLINE float to_float(Float16 h) {
  // Exponent and mantissa shifted into place are the value times 2^-112, denormals included.
  uint32_t magnitude = uint32_t(h.bits & 0x7fff) << 13;
  float scaled = float_of(magnitude) * float_of((254 - 15) << 23);
  uint32_t special = magnitude >= (0x7c00u << 13) ? (0xffu << 23) : 0;  // Inf and NaN
  return float_of(bits_of(scaled) | special | uint32_t(h.bits & 0x8000) << 16);
}

JAXINV_INLINE void from_float(float x, BFloat16& h) {
  uint32_t bits = bits_of(x);
  uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  h.bits = uint16_t(x == x ? rounded : ((bits >> 16) | 0x40));
}

JAXINV_INLINE void from_float(float x, Float16& h) {
  uint32_t sign = (bits_of(x) >> 16) & 0x8000;
  uint32_t magnitude = bits_of(x) & 0x7fffffff;
  // Below the normal range, adding 1/2 makes the float adder round at the denormal's last bit.
  uint32_t denormal = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
  uint32_t normal = (magnitude + 0xfff + ((magnitude >> 13) & 1) - (112u << 23)) >> 13;
  uint32_t out = magnitude < (113u << 23) ? denormal : normal;
  out = magnitude >= 0x477ff000u ? 0x7c00 : out;  // 65520 and above round to infinity
  out = magnitude > (0xffu << 23) ? 0x7e00 : out;
  h.bits = uint16_t(sign | out);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
