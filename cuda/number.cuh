// The arithmetic of block and grid kernels on one thread's numbers: real, complex, and halves in memory.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/device.cuh"

namespace jaxinv::cuda {

template <class R>
struct alignas(2 * sizeof(R)) Complex {
  R re, im;
  Complex() = default;
  __device__ __forceinline__ explicit Complex(R re, R im = 0) : re(re), im(im) {}
};

template <class T>
struct RealOf {
  using type = T;
};
template <class R>
struct RealOf<Complex<R>> {
  using type = R;
};
template <class T>
using Real = typename RealOf<T>::type;
template <class T>
constexpr int kParts = sizeof(T) / sizeof(Real<T>);

// c − a b, by fused multiply-adds in a fixed order.
__device__ __forceinline__ float fma_of(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double fma_of(double a, double b, double c) { return fma(a, b, c); }
template <class R>
__device__ __forceinline__ R fnma(R a, R b, R c) {
  return fma_of(-a, b, c);
}
template <class R>
__device__ __forceinline__ Complex<R> fnma(Complex<R> a, Complex<R> b, Complex<R> c) {
  return Complex<R>(fma_of(a.im, b.im, fma_of(-a.re, b.re, c.re)),
                    fma_of(-a.im, b.re, fma_of(-a.re, b.im, c.im)));
}
__device__ __forceinline__ float multiply(float a, float b) { return a * b; }
__device__ __forceinline__ double multiply(double a, double b) { return a * b; }
template <class R>
__device__ __forceinline__ Complex<R> multiply(Complex<R> a, Complex<R> b) {
  return Complex<R>(fma_of(a.re, b.re, -(a.im * b.im)), fma_of(a.re, b.im, a.im * b.re));
}
template <class R>
__device__ __forceinline__ Complex<R> multiply(Complex<R> a, R b) {
  return Complex<R>(a.re * b, a.im * b);
}

__device__ __forceinline__ float size_of(float x) { return fabsf(x); }
__device__ __forceinline__ double size_of(double x) { return fabs(x); }

// The larger part.
template <class R>
__device__ __forceinline__ R largest_part(R x) {
  return size_of(x);
}
template <class R>
__device__ __forceinline__ R largest_part(Complex<R> x) {
  const R re = size_of(x.re), im = size_of(x.im);
  return re > im ? re : im;
}

// What the pivot search compares: |x|, |re| + |im| for complex, as integers of the same order; NaN on top.
template <class T>
using PivotKey = std::conditional_t<sizeof(Real<T>) == 4, uint32_t, uint64_t>;
__device__ __forceinline__ uint32_t pivot_key(float x) {
  return uint32_t(__float_as_int(x)) & 0x7fffffff;
}
__device__ __forceinline__ uint64_t pivot_key(double x) {
  return uint64_t(__double_as_longlong(x)) & 0x7fffffffffffffff;
}
template <class R>
__device__ __forceinline__ PivotKey<R> pivot_key(Complex<R> x) {
  return pivot_key(size_of(x.re) + size_of(x.im));
}

// True for a pivot that is zero or not finite (x − x is NaN for both NaN and Inf).
template <class R>
__device__ __forceinline__ bool is_zero(R x) {
  return x == 0;
}
template <class R>
__device__ __forceinline__ bool is_zero(Complex<R> x) {
  return x.re == 0 && x.im == 0;
}
template <class R>
__device__ __forceinline__ bool is_finite(R x) {
  return x - x == 0;
}
template <class R>
__device__ __forceinline__ bool is_finite(Complex<R> x) {
  return is_finite(x.re) && is_finite(x.im);
}

// An exact power of two near 1/|x|: x · pivot_scale(x) lies in [1, 4) for every normal x, and stays normal
// for a denormal one, whose own reciprocal would overflow.
__device__ __forceinline__ float pivot_scale(float x) {
  return __int_as_float(max((254 << 23) - (__float_as_int(x) & (255 << 23)), 1 << 23));
}
__device__ __forceinline__ double pivot_scale(double x) {
  const long long one = 1ll << 52, mask = 2047 * one;
  return __longlong_as_double(max(2046 * one - (__double_as_longlong(x) & mask), one));
}
template <class R>
__device__ __forceinline__ R pivot_scale(Complex<R> x) {
  return pivot_scale(largest_part(x));
}
// 2^exponent, of a normal number; the exponent of a normal number.
__device__ __forceinline__ float power_of_two(float, int exponent) {
  return __int_as_float((exponent + 127) << 23);
}
__device__ __forceinline__ double power_of_two(double, int exponent) {
  return __longlong_as_double((long long)(exponent + 1023) << 52);
}
__device__ __forceinline__ int exponent_of(float x) {
  return (__float_as_int(x) >> 23 & 255) - 127;
}
__device__ __forceinline__ int exponent_of(double x) {
  return int(__double_as_longlong(x) >> 52 & 2047) - 1023;
}
template <class R>
__device__ __forceinline__ R reciprocal(R x) {
  return R(1) / x;
}
template <class R>
__device__ __forceinline__ Complex<R> reciprocal(Complex<R> x) {  // of a number already near 1
  const R r = R(1) / fma_of(x.re, x.re, x.im * x.im);
  return Complex<R>(x.re * r, -(x.im * r));
}

// Division by a pivot, by way of an exact power of two: a denormal one must not make 0 · inf.
template <class T>
struct Division {
  Real<T> scale;
  T inverse;
  Division() = default;
  __device__ __forceinline__ explicit Division(T pivot)
      : scale(pivot_scale(pivot)), inverse(reciprocal(multiply(pivot, scale))) {}
  __device__ __forceinline__ T operator()(T x) const {
    return multiply(multiply(x, scale), inverse);
  }
};

// Matrices near the ends of the floating-point range are multiplied by a power of two before their
// elimination: intermediate results would over- or underflow where the inverse does not (cpu/range.h).
template <class R>
struct Range {
  static constexpr int kShift = sizeof(R) == 4 ? 24 : 96;
  static constexpr R kUp = sizeof(R) == 4 ? R(0x1p24) : R(0x1p96);
  static constexpr R kHuge = sizeof(R) == 4 ? R(0x1p111) : R(0x1p991);
  static constexpr R kTiny = sizeof(R) == 4 ? R(0x1p-101) : R(0x1p-926);
  // Exponent of the power of two for a matrix whose largest entry is `size`; 0 for most.
  __device__ static int shift(R size) {
    return size > kHuge ? -kShift : size < kTiny && size > 0 ? kShift : 0;
  }
  __device__ static R power(int shift) { return shift > 0 ? kUp : shift < 0 ? 1 / kUp : R(1); }
};

// How numbers stand in memory: S there, T in arithmetic.
template <class S>
struct Storage {
  using T = S;
  __device__ static T load(S x) { return x; }
  __device__ static S store(T x) { return x; }
};
template <>
struct Storage<__half> {
  using T = float;
  __device__ static T load(__half x) { return __half2float(x); }
  __device__ static __half store(T x) { return __float2half_rn(x); }
};
template <>
struct Storage<__nv_bfloat16> {
  using T = float;
  __device__ static T load(__nv_bfloat16 x) { return __bfloat162float(x); }
  __device__ static __nv_bfloat16 store(T x) { return __float2bfloat16_rn(x); }
};
template <class R>
__device__ __forceinline__ R not_a_number(R) {
  return R(__builtin_nanf(""));
}
template <class R>
__device__ __forceinline__ Complex<R> not_a_number(Complex<R>) {
  return Complex<R>(R(__builtin_nanf("")), R(__builtin_nanf("")));
}

// Sixteen bytes of numbers: the unit of loads and stores.
template <class T>
struct alignas(16) Pack {
  static constexpr int kSize = 16 / sizeof(T);
  T v[kSize];
};
template <class T>
__device__ __forceinline__ Pack<T> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T>*>(p);
}
template <class T>
__device__ __forceinline__ void store_pack(T* p, const Pack<T>& x) {
  *reinterpret_cast<Pack<T>*>(p) = x;
}

// x, of which the compiler knows nothing any more.
__device__ __forceinline__ int opaque(int x) {
#ifdef __CUDA_ARCH__
  asm volatile("" : "+r"(x));
#endif
  return x;
}

// The largest of a warp's numbers, known to every lane.
__device__ __forceinline__ uint32_t warp_max(uint32_t x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  for (int lanes = 16; lanes; lanes /= 2) x = max(x, __shfl_xor_sync(~0u, x, lanes));
  return x;
#else
  return __reduce_max_sync(~0u, x);
#endif
}
__device__ __forceinline__ uint64_t warp_max(uint64_t x) {
  const uint32_t high = warp_max(uint32_t(x >> 32));
  const uint32_t low = warp_max(uint32_t(x >> 32) == high ? uint32_t(x) : 0);
  return uint64_t(high) << 32 | low;
}
template <class R>
__device__ __forceinline__ R from_lane(R x,
                                       int lanes) {  // of the lane whose number differs in this bit
  return __shfl_xor_sync(~0u, x, lanes);
}
template <class R>
__device__ __forceinline__ Complex<R> from_lane(Complex<R> x, int lanes) {
  return Complex<R>(from_lane(x.re, lanes), from_lane(x.im, lanes));
}
// The first lane of the warp where the condition holds; it must hold somewhere.
__device__ __forceinline__ int first_lane(bool condition) {
  return __ffs(int(__ballot_sync(~0u, condition))) - 1;
}

}  // namespace jaxinv::cuda
