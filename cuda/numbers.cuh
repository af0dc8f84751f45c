// Numbers as kernels see them: storage against arithmetic, determinants.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "core/problem.h"
#include "cuda/device.cuh"

namespace jaxinv::cuda {

// The real type of a number, and how many it is made of.
template <class V>
struct Parts {
  using Real = V;
  static constexpr int kCount = 1;
};
template <class R>
struct Parts<Complex<R>> {
  using Real = R;
  static constexpr int kCount = 2;
};

// From what is stored to what is computed with, and back with one rounding.
template <class V>
__device__ __forceinline__ V to_arithmetic(V x) {
  return x;
}
__device__ __forceinline__ float to_arithmetic(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_arithmetic(__nv_bfloat16 x) { return __bfloat162float(x); }
template <class V>
__device__ __forceinline__ void to_storage(V x, V& out) {
  out = x;
}
__device__ __forceinline__ void to_storage(float x, __half& out) { out = __float2half_rn(x); }
__device__ __forceinline__ void to_storage(float x, __nv_bfloat16& out) {
  out = __float2bfloat16_rn(x);
}

// Calls f with a value of the type that is stored; V is what is computed with.
template <class V, class F>
__device__ __forceinline__ void with_storage(DType dtype, F&& f) {
  if constexpr (sizeof(V) == 4) {
    if (dtype == DType::kF16) return f(__half());
    if (dtype == DType::kBF16) return f(__nv_bfloat16());
  }
  f(V());
}

__device__ __forceinline__ float largest_part(float x) { return fabsf(x); }
__device__ __forceinline__ double largest_part(double x) { return fabs(x); }
template <class R>
__device__ __forceinline__ R largest_part(Complex<R> x) {
  return fmax(largest_part(x.re), largest_part(x.im));
}

template <class V>
__device__ __forceinline__ V not_a_number() {
  using R = typename Parts<V>::Real;
  const R nan = R(__builtin_nanf(""));
  if constexpr (Parts<V>::kCount == 2) {
    return V(nan, nan);
  } else {
    return nan;
  }
}

__device__ __forceinline__ bool is_zero(float x) { return x == 0; }
__device__ __forceinline__ bool is_zero(double x) { return x == 0; }
template <class R>
__device__ __forceinline__ bool is_zero(Complex<R> x) {
  return x.re == 0 && x.im == 0;
}

__device__ __forceinline__ int biased_exponent(float x) { return __float_as_int(x) >> 23 & 0xff; }
__device__ __forceinline__ int biased_exponent(double x) { return __double2hiint(x) >> 20 & 0x7ff; }
// 2^e, within the normal range.
template <class R>
__device__ __forceinline__ R power_of_two(int e) {
  if constexpr (sizeof(R) == 4) {
    return __int_as_float((e + 127) << 23);
  } else {
    return __longlong_as_double((long long)(e + 1023) << 52);
  }
}

// Takes the power of two out of x: returns it, leaves x in [1, 2) (the larger part of a complex number).
// Exact for normal x; a denormal is first multiplied by 2^64.
template <class V>
__device__ __forceinline__ int take_exponent(V& x) {
  using R = typename Parts<V>::Real;
  constexpr int kBias = sizeof(R) == 4 ? 127 : 1023;
  const bool tiny = biased_exponent(largest_part(x)) == 0;
  x = x * (tiny ? R(18446744073709551616.0) : R(1));
  const int exponent = biased_exponent(largest_part(x)) - kBias;
  // 2^-exponent in two factors: for the largest numbers it is below the normal range.
  const int half = exponent >> 1;
  x = x * power_of_two<R>(-half);
  x = x * power_of_two<R>(half - exponent);
  return exponent - (tiny ? 64 : 0);
}

// Multiplies a determinant, mantissa · 2^exponent, by another.
template <class V>
__device__ __forceinline__ void multiply(V& mantissa, int& exponent, V other, int other_exponent) {
  mantissa = mantissa * other;
  exponent += other_exponent + take_exponent(mantissa);
}

// What stands for the mantissa of a matrix whose elimination failed: 0 where its pivot was exactly zero and
// every entry is finite, NaN otherwise.
template <class V>
__device__ __forceinline__ V failed_mantissa(bool zero_pivot, bool finite) {
  return zero_pivot && finite ? V(0) : not_a_number<V>();
}

template <class V>
__device__ __forceinline__ bool is_finite(V x) {
  if constexpr (Parts<V>::kCount == 2) {
    return x.re - x.re == 0 && x.im - x.im == 0;
  } else {
    return x - x == 0;
  }
}

}  // namespace jaxinv::cuda
