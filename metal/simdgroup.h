// Exchanges between the lanes of a simdgroup, or of groups of kLanes neighbouring lanes of it. All 32 lanes must
// call them.
#pragma once

#include "metal/numbers.h"

namespace jaxinv {
namespace metal {

JAXINV_INLINE float shuffle(float x, int lane) { return ::metal::simd_shuffle(x, ushort(lane)); }
JAXINV_INLINE Complex64 shuffle(Complex64 x, int lane) {
  return Complex64(shuffle(x.re, lane), shuffle(x.im, lane));
}
JAXINV_INLINE float shuffle_xor(float x, int lanes) {
  return ::metal::simd_shuffle_xor(x, ushort(lanes));
}
JAXINV_INLINE int shuffle_xor(int x, int lanes) {
  return ::metal::simd_shuffle_xor(x, ushort(lanes));
}
JAXINV_INLINE Complex64 shuffle_xor(Complex64 x, int lanes) {
  return Complex64(shuffle_xor(x.re, lanes), shuffle_xor(x.im, lanes));
}

// The largest value of each group, in all of its lanes.
JAXINV_INLINE int group_max(int lanes, int value) {
  if (lanes == simdgroup_lanes()) return ::metal::simd_max(value);
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    value = ::metal::max(value, shuffle_xor(value, distance));
  }
  return value;
}

// |x| (|re| + |im|) as an integer of the same order, NaN above all numbers.
JAXINV_INLINE int key_bits(float x) { return as_type<int>(x) & 0x7fffffff; }
JAXINV_INLINE int key_bits(Complex64 x) { return key_bits(scalar::magnitude(x)); }

// The first of the group's lanes that has its largest key; `i` counts them.
JAXINV_INLINE int group_argmax(int lanes, int key, int i) {
  const int best = group_max(lanes, key);
  return lanes - group_max(lanes, key == best ? lanes - i : 0);
}

// The product of the determinants of a group's lanes.
template <class V>
JAXINV_INLINE void group_multiply(int lanes, thread V& mantissa, thread int& exponent) {
  for (int distance = 1; distance < lanes; distance *= 2) {
    const V other = shuffle_xor(mantissa, distance);
    multiply(mantissa, exponent, other, shuffle_xor(exponent, distance));
  }
}

}  // namespace metal
}  // namespace jaxinv
