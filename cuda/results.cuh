// What block and grid kernels do before and after the elimination: the visit of all numbers, the range of their
// sizes, and what stands beside the inverse: info, the determinant as mantissa and power of two.
#pragma once

#include "core/problem.h"
#include "cuda/panel.cuh"

namespace jaxinv::cuda {

// Visits rows × n numbers, row after row: consecutive threads take consecutive numbers.
template <class Visit>
__device__ __forceinline__ void each_number(int rows, int n, Visit&& visit) {
  const int threads = int(blockDim.x), down = threads / n, across = threads % n;
  int i = int(threadIdx.x) / n, j = int(threadIdx.x) % n;
  while (i < rows) {
    visit(i, j);
    i += down;
    j += across;
    if (j >= n) {
      j -= n;
      ++i;
    }
  }
}

template <class R>
struct SizeShared {
  R sizes[kWarp];
  int32_t votes[kWarp];
};

// The largest of the threads' sizes, and whether one of them is spoiled, known to all.
template <class R>
__device__ __forceinline__ R block_size(SizeShared<R>& s, R size, bool& spoiled) {
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  for (int lanes = kWarp / 2; lanes; lanes /= 2) size = fmax(size, from_lane(size, lanes));
  const bool any = __ballot_sync(~0u, spoiled) != 0;
  if (lane == 0) {
    s.sizes[warp] = size;
    s.votes[warp] = any;
  }
  __syncthreads();
  spoiled = false;
  for (int w = 0; w < int(blockDim.x) / kWarp; ++w) {
    size = fmax(size, s.sizes[w]);
    spoiled |= s.votes[w] != 0;
  }
  return size;
}

// Takes the power of two out of x: returns it, leaves x in [1, 2) (the larger part of a complex number).
template <class T>
__device__ __forceinline__ int take_exponent(T& x) {
  using R = Real<T>;
  int extra = 0;
  if (largest_part(x) < Range<R>::kTiny) {  // may be denormal
    x = multiply(x, R(0x1p64));
    extra = -64;
  }
  const int exponent = exponent_of(largest_part(x));
  // 2^−exponent in two factors: for the largest numbers it is below the normal range.
  const int half = exponent >> 1;
  x = multiply(multiply(x, power_of_two(R(), -half)), power_of_two(R(), half - exponent));
  return exponent + extra;
}

// True where the pivot rows are an odd permutation, known to the whole block. votes: one per warp.
__device__ __forceinline__ bool is_odd(const int32_t* rows, int n, int32_t* votes) {
  unsigned inversions = 0;
  for (int k = int(threadIdx.x); k < n; k += int(blockDim.x)) {
    for (int l = k + 1; l < n; ++l) inversions += rows[l] < rows[k];
  }
  const unsigned odd = __popc(__ballot_sync(~0u, inversions & 1));
  if (threadIdx.x % kWarp == 0) votes[threadIdx.x / kWarp] = int32_t(odd & 1);
  __syncthreads();
  int sum = 0;
  for (int w = 0; w < int(blockDim.x) / kWarp; ++w) sum += votes[w];
  return sum & 1;
}

// info, mantissa and exponent where asked for; the whole block takes part. spoiled: an entry of the matrix is
// NaN or Inf; shift: the power of two it was multiplied by.
template <class T>
__device__ __forceinline__ void store_results(const InverseProblem& p, int64_t index, int info,
                                              const T* pivots, const int32_t* pivot_rows,
                                              bool spoiled, int shift, int32_t* votes) {
  const int lane = int(threadIdx.x), n = int(p.n);
  if (p.info && lane == 0) p.info[index] = info;
  if (!p.mantissa) return;
  T* out = static_cast<T*>(p.mantissa) + index;
  if (info) {
    if (lane == 0) {
      *out = is_zero(pivots[info - 1]) && !spoiled ? T(0) : not_a_number(T(0));
      p.exponent[index] = 0;
    }
    return;
  }
  const bool odd = is_odd(pivot_rows, n, votes);
  if (lane >= kWarp) return;
  T mantissa = T(1);
  int exponent = 0;
  for (int k = lane; k < n; k += kWarp) {
    T pivot = pivots[k];
    exponent += take_exponent(pivot);
    mantissa = multiply(mantissa, pivot);
    exponent += take_exponent(mantissa);
  }
  for (int lanes = kWarp / 2; lanes; lanes /= 2) {
    mantissa = multiply(mantissa, from_lane(mantissa, lanes));
    exponent += __shfl_xor_sync(~0u, exponent, lanes) + take_exponent(mantissa);
  }
  if (lane == 0) {
    *out = odd ? multiply(mantissa, Real<T>(-1)) : mantissa;
    // Of the matrix before it was multiplied.
    p.exponent[index] = exponent - shift * n;
  }
}

}  // namespace jaxinv::cuda
