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

JAXINV_INLINE bool is_zero(float x) { return x == 0; }
JAXINV_INLINE bool is_zero(Complex64 x) { return x.re == 0 && x.im == 0; }
JAXINV_INLINE bool is_finite(float x) { return x - x == 0; }
JAXINV_INLINE bool is_finite(Complex64 x) { return is_finite(x.re) && is_finite(x.im); }
JAXINV_INLINE float conjugate(float x) { return x; }
JAXINV_INLINE Complex64 conjugate(Complex64 x) { return Complex64(x.re, -x.im); }
JAXINV_INLINE float real_part(float x) { return x; }
JAXINV_INLINE float real_part(Complex64 x) { return x.re; }
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

// The size of a number (of a complex one's larger part) as an integer of the same order; 0 for NaN. Integers,
// since Apple's GPUs take denormals for zero.
JAXINV_INLINE int size_bits(float x) {
  const int bits = as_type<int>(x) & 0x7fffffff;
  return bits > 255 << 23 ? 0 : bits;
}
JAXINV_INLINE int size_bits(Complex64 x) { return ::metal::max(size_bits(x.re), size_bits(x.im)); }

// Exponent of the power of two that a matrix of this size is multiplied by before its elimination; 0 for most:
// core/range.h, by the bits.
JAXINV_INLINE int range_shift(int size) {
  return size > (111 + 127) << 23 ? -24 : size < (127 - 101) << 23 && size > 0 ? 24 : 0;
}
// x · 2^shift: the matrix before its elimination, none of its numbers above 2^-101 where shift > 0.
JAXINV_INLINE float scaled_in(float x, int shift) {
  const int bits = as_type<int>(x);
  if (shift <= 0 || (bits & 255 << 23)) return x * power_of_two(shift);
  const float size = float(bits & 0x7fffff) * power_of_two(24 - 149);  // of a denormal
  return bits < 0 ? -size : size;
}
// And the inverse after it.
JAXINV_INLINE float scaled_out(float x, int shift) {
  if (!shift) return x;  // also a denormal
  const float size = x < 0 ? -x : x;
  if (shift >= 0 || !(size < power_of_two(-126 - shift))) return x * power_of_two(shift);
  const int bits = int(::metal::rint(size * power_of_two(149 + shift)));  // of a denormal
  return as_type<float>(x < 0 ? bits | int(0x80000000) : bits);
}
JAXINV_INLINE Complex64 scaled_in(Complex64 x, int shift) {
  return Complex64(scaled_in(x.re, shift), scaled_in(x.im, shift));
}
JAXINV_INLINE Complex64 scaled_out(Complex64 x, int shift) {
  return Complex64(scaled_out(x.re, shift), scaled_out(x.im, shift));
}

// Of the larger part.
template <class V>
JAXINV_INLINE int biased_exponent(V x) {
  return size_bits(x) >> 23;
}

// Takes the power of two out of x: returns it, leaves x in [1, 2) (the larger part of a complex number). Exact for
// normal x; a denormal is first multiplied by 2^64.
template <class V>
JAXINV_INLINE int take_exponent(thread V& x) {
  const bool tiny = biased_exponent(x) == 0;
  x = x * (tiny ? power_of_two(64) : 1.0f);
  const int exponent = biased_exponent(x) - 127;
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
template <class Buffers, class V>
JAXINV_INLINE void store_determinant(Buffers b, long index, V mantissa, int exponent, int shift,
                                     int n, int info, bool zero_pivot, bool finite) {
  if (info) mantissa = zero_pivot && finite ? V(0) : not_a_number<V>();
  static_cast<device typename Memory<V>::type*>(b.mantissa)[index] = memory(mantissa);
  b.exponent[index] = info ? 0 : exponent - shift * n;
}

}  // namespace metal
}  // namespace jaxinv
