// Numbers as kernels see them: storage against arithmetic, the ends of the range, determinants.
#pragma once

#include "metal/kernel.h"

namespace jaxinv {
namespace metal {

// From what is stored to what is computed with. bfloat16 goes by its bits: its type is younger than the language
// versions that are asked for.
JAXINV_INLINE float number(float x) { return x; }
JAXINV_INLINE float number(half x) { return float(x); }
JAXINV_INLINE float number(ushort bits) { return as_type<float>(uint(bits) << 16); }
JAXINV_INLINE Complex64 number(float2 x) { return Complex64(x.x, x.y); }
// And back, rounded once, to nearest even.
template <class S>
struct Stored;
template <>
struct Stored<float> {
  static JAXINV_INLINE float of(float x) { return x; }
};
template <>
struct Stored<half> {
  static JAXINV_INLINE half of(float x) { return half(x); }
};
template <>
struct Stored<ushort> {
  static JAXINV_INLINE ushort of(float x) {
    const uint bits = as_type<uint>(x);
    return ushort(x == x ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : bits >> 16 | 0x40);
  }
};
template <>
struct Stored<float2> {
  static JAXINV_INLINE float2 of(Complex64 x) { return float2{x.re, x.im}; }
};

// What numbers in arithmetic are in memory.
template <class V>
struct Memory;
template <>
struct Memory<float> {
  using type = float;
};
template <>
struct Memory<Complex64> {
  using type = float2;
};
template <class V>
JAXINV_INLINE typename Memory<V>::type memory(V x) {
  return Stored<typename Memory<V>::type>::of(x);
}

JAXINV_INLINE float largest_part(float x) { return ::metal::fabs(x); }
JAXINV_INLINE float largest_part(Complex64 x) {
  return ::metal::fmax(::metal::fabs(x.re), ::metal::fabs(x.im));
}
JAXINV_INLINE bool is_zero(float x) { return x == 0; }
JAXINV_INLINE bool is_zero(Complex64 x) { return x.re == 0 && x.im == 0; }
JAXINV_INLINE bool is_finite(float x) { return x - x == 0; }
JAXINV_INLINE bool is_finite(Complex64 x) { return is_finite(x.re) && is_finite(x.im); }
JAXINV_INLINE void make_nan(thread float& x) { x = NAN; }
JAXINV_INLINE void make_nan(thread Complex64& x) { x = Complex64(NAN, NAN); }
template <class V>
JAXINV_INLINE V not_a_number() {
  V x;
  make_nan(x);
  return x;
}

// 2^e, within the normal range.
JAXINV_INLINE float power_of_two(int e) { return as_type<float>((e + 127) << 23); }

// Exponent of the power of two that a matrix whose largest entry is `size` is multiplied by before its
// elimination; 0 for most. Near the ends of the range intermediate results would leave it where the inverse does
// not.
JAXINV_INLINE int range_shift(float size) {
  return size > power_of_two(111) ? -24 : size < power_of_two(-101) && size > 0 ? 24 : 0;
}

JAXINV_INLINE int biased_exponent(float x) { return as_type<int>(x) >> 23 & 0xff; }

// Takes the power of two out of x: returns it, leaves x in [1, 2) (the larger part of a complex number). Exact for
// normal x; a denormal is first multiplied by 2^64.
template <class V>
JAXINV_INLINE int take_exponent(thread V& x) {
  const bool tiny = biased_exponent(largest_part(x)) == 0;
  x = x * (tiny ? power_of_two(64) : 1.0f);
  const int exponent = biased_exponent(largest_part(x)) - 127;
  // 2^-exponent in two factors: for the largest numbers it is below the normal range.
  const int half_exponent = exponent >> 1;
  x = x * power_of_two(-half_exponent);
  x = x * power_of_two(half_exponent - exponent);
  return exponent - (tiny ? 64 : 0);
}

// Multiplies a determinant, mantissa · 2^exponent, by another.
template <class V>
JAXINV_INLINE void multiply(thread V& mantissa, thread int& exponent, V other, int other_exponent) {
  mantissa = mantissa * other;
  exponent += other_exponent + take_exponent(mantissa);
}

// Writes a determinant. shift: the power of two that the matrix was multiplied by. Of a matrix whose elimination
// failed: 0 where its pivot was exactly zero and every entry is finite, NaN otherwise.
template <class V>
JAXINV_INLINE void store_determinant(InverseBuffers b, long index, V mantissa, int exponent,
                                     int shift, int n, int info, bool zero_pivot, bool finite) {
  if (info) mantissa = zero_pivot && finite ? V(0) : not_a_number<V>();
  static_cast<device typename Memory<V>::type*>(b.mantissa)[index] = memory(mantissa);
  b.exponent[index] = info ? 0 : exponent - shift * n;
}

}  // namespace metal
}  // namespace jaxinv
