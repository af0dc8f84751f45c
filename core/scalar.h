// The arithmetic that the small-matrix bodies ask of a value type, for plain scalars, real and complex (a GPU
// thread, a test). cpu/simd.h gives the same functions for SIMD vectors. JAXINV_NAMESPACE keeps each
// instruction set's copies apart: the linker must never pick an AVX-512 copy for an older machine.
// Metal's language is C++14 without double, lambdas and the standard library, and asks for the address space
// of every reference.
#pragma once

#ifdef __METAL_VERSION__
#include <metal_stdlib>
#else
#include <cstdint>
#include <cstring>
#endif

#ifndef JAXINV_NAMESPACE
#define JAXINV_NAMESPACE scalar
#endif
#ifdef __METAL_VERSION__
#define JAXINV_THREAD thread  // the address space of registers
#else
#define JAXINV_THREAD
#endif
// Tests of GPU kernels on the CPU compile faster without these.
#ifndef JAXINV_INLINE
#ifdef __CUDACC__
#define JAXINV_INLINE __host__ __device__ __forceinline__
#else
#define JAXINV_INLINE inline __attribute__((always_inline))
#endif
#endif
// Of loops whose number of rounds is known when compiling: others become sixteen copies that still loop.
#ifndef JAXINV_UNROLL
#if defined(__CUDACC__)
#define JAXINV_UNROLL _Pragma("unroll")
#elif defined(__METAL_VERSION__)
#define JAXINV_UNROLL _Pragma("clang loop unroll(full)")
#else
#define JAXINV_UNROLL _Pragma("GCC unroll 16")
#endif
#endif

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// Type of masks, row indices and magnitudes that go with a value type.
template <class V>
struct Types;

template <>
struct Types<float> {
  using Real = float;
  using Index = int32_t;
  using Mask = bool;
};
#ifndef __METAL_VERSION__
template <>
struct Types<double> {
  using Real = double;
  using Index = int32_t;
  using Mask = bool;
};
#endif

template <class R>
struct alignas(2 * sizeof(R)) Complex {
  R re, im;
  Complex() = default;
  JAXINV_INLINE constexpr Complex(R re, R im) : re(re), im(im) {}
  JAXINV_INLINE constexpr explicit Complex(R re) : re(re), im(0) {}
};
template <class R>
struct Types<Complex<R>> {
  using Real = R;
  using Index = int32_t;
  using Mask = bool;
};
template <class R>
JAXINV_INLINE Complex<R> operator-(Complex<R> a) {
  return {-a.re, -a.im};
}
template <class R>
JAXINV_INLINE Complex<R> operator*(Complex<R> a, R b) {
  return {a.re * b, a.im * b};
}
template <class R>
JAXINV_INLINE Complex<R> operator*(Complex<R> a, Complex<R> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

// The scalar a value type is made of.
template <class Real>
struct Scalar {
  using type = typename Real::R;
};
template <>
struct Scalar<float> {
  using type = float;
};
#ifndef __METAL_VERSION__
template <>
struct Scalar<double> {
  using type = double;
};
JAXINV_INLINE double select(bool mask, double a, double b) { return mask ? a : b; }
#endif

JAXINV_INLINE float select(bool mask, float a, float b) { return mask ? a : b; }
JAXINV_INLINE int32_t select(bool mask, int32_t a, int32_t b) { return mask ? a : b; }
JAXINV_INLINE int64_t select(bool mask, int64_t a, int64_t b) { return mask ? a : b; }
template <class R>
JAXINV_INLINE Complex<R> select(bool mask, Complex<R> a, Complex<R> b) {
  return {mask ? a.re : b.re, mask ? a.im : b.im};
}

// |x|; |re| + |im| for complex.
JAXINV_INLINE float magnitude(float x) { return x < 0 ? -x : x; }
#ifndef __METAL_VERSION__
JAXINV_INLINE double magnitude(double x) { return x < 0 ? -x : x; }
#endif
template <class R>
JAXINV_INLINE R magnitude(Complex<R> x) {
  return magnitude(x.re) + magnitude(x.im);
}

// What the pivot search compares: |x| (|re| + |im| for complex), infinite for NaN.
JAXINV_INLINE float pivot_key(float x) {
  float size = x < 0 ? -x : x;
#ifdef __METAL_VERSION__
  return size == size ? size : INFINITY;
#else
  return size == size ? size : __builtin_inff();
#endif
}
#ifndef __METAL_VERSION__
JAXINV_INLINE double pivot_key(double x) {
  double size = x < 0 ? -x : x;
  return size == size ? size : __builtin_inf();
}
#endif
template <class R>
JAXINV_INLINE R pivot_key(Complex<R> x) {
  return pivot_key(magnitude(x));
}

// True for a pivot that is zero or not finite (x - x is NaN for both NaN and Inf).
template <class S>
JAXINV_INLINE bool bad_pivot(S x) {
  return x == 0 || x - x != 0;
}
template <class R>
JAXINV_INLINE bool bad_pivot(Complex<R> x) {
  return (x.re == 0 && x.im == 0) || x.re - x.re != 0 || x.im - x.im != 0;
}

// An exact power of two near 1/|x|: x · pivot_scale(x) lies in [1, 4) for every normal x, and stays
// normal for a denormal one, whose own reciprocal would overflow.
#ifdef __METAL_VERSION__
JAXINV_INLINE float pivot_scale(float x) {
  const int32_t bits = (254 << 23) - (as_type<int32_t>(x) & (255 << 23));
  return as_type<float>(bits < (1 << 23) ? (1 << 23) : bits);
}
#else
JAXINV_INLINE float pivot_scale(float x) {
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits = (254 << 23) - (bits & (255 << 23));
  bits = bits < (1 << 23) ? (1 << 23) : bits;
  memcpy(&x, &bits, sizeof bits);
  return x;
}
JAXINV_INLINE double pivot_scale(double x) {
  int64_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits = (int64_t{2046} << 52) - (bits & (int64_t{2047} << 52));
  bits = bits < (int64_t{1} << 52) ? (int64_t{1} << 52) : bits;
  memcpy(&x, &bits, sizeof bits);
  return x;
}
#endif
template <class R>
JAXINV_INLINE R pivot_scale(Complex<R> x) {
  R re = magnitude(x.re), im = magnitude(x.im);
  return pivot_scale(re > im ? re : im);
}

// Pivots above kUsualPivot, of matrices whose squares add up to less than kUsualSquares, need no care: far from
// where squares, reciprocals and their products leave the range. A thread of Metal guards every pivot.
#ifndef __METAL_VERSION__
template <class Real>
constexpr double kUsualPivot = sizeof(typename Scalar<Real>::type) == 4 ? 0x1p-50 : 0x1p-400;
template <class Real>
constexpr double kUsualSquares = sizeof(typename Scalar<Real>::type) == 4 ? 0x1p100 : 0x1p800;
#endif

#if defined(__METAL_VERSION__)
JAXINV_INLINE float reciprocal(float x) { return 1 / x; }
#elif defined(__CUDA_ARCH__)
// The hardware's estimate, refined: for numbers scaled near 1, as pivots are, without the branches of a
// division.
JAXINV_INLINE float reciprocal(float x) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return __fmaf_rn(r, __fmaf_rn(-x, r, 1.f), r);
}
JAXINV_INLINE double reciprocal(double x) {
  double r;
  asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(r) : "d"(x));
  r = __fma_rn(r, __fma_rn(-x, r, 1.), r);
  return __fma_rn(r, __fma_rn(-x, r, 1.), r);
}
#else
JAXINV_INLINE float reciprocal(float x) { return 1 / x; }
JAXINV_INLINE double reciprocal(double x) { return 1 / x; }
#endif
template <class R>
JAXINV_INLINE Complex<R> reciprocal(Complex<R> x) {  // of a number already scaled near 1
  R r = reciprocal(x.re * x.re + x.im * x.im);
  return {x.re * r, -(x.im * r)};
}

#ifdef __METAL_VERSION__
// c − a b and c + a b, rounded once each: bits do not depend on what a compiler makes of a product and a sum.
JAXINV_INLINE float fnma(float a, float b, float c) { return ::metal::fma(-a, b, c); }
JAXINV_INLINE float fma(float a, float b, float c) { return ::metal::fma(a, b, c); }
JAXINV_INLINE Complex<float> fnma(Complex<float> a, Complex<float> b, Complex<float> c) {
  return {fma(a.im, b.im, fnma(a.re, b.re, c.re)), fnma(a.im, b.re, fnma(a.re, b.im, c.im))};
}
JAXINV_INLINE Complex<float> fma(Complex<float> a, Complex<float> b, Complex<float> c) {
  return {fnma(a.im, b.im, fma(a.re, b.re, c.re)), fma(a.im, b.re, fma(a.re, b.im, c.im))};
}
#else
// c − a b
template <class S>
JAXINV_INLINE S fnma(S a, S b, S c) {
  return c - a * b;
}
template <class R>
JAXINV_INLINE Complex<R> fnma(Complex<R> a, Complex<R> b, Complex<R> c) {
  return {c.re - a.re * b.re + a.im * b.im, c.im - a.re * b.im - a.im * b.re};
}
// c + a b
template <class S>
JAXINV_INLINE S fma(S a, S b, S c) {
  return c + a * b;
}
template <class R>
JAXINV_INLINE Complex<R> fma(Complex<R> a, Complex<R> b, Complex<R> c) {
  return {c.re + a.re * b.re - a.im * b.im, c.im + a.re * b.im + a.im * b.re};
}
#endif

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
