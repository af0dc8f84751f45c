// What block and grid kernels do before and after the elimination: the visit of all numbers, the range of their
// sizes, and what stands beside the inverse: info, the determinant as mantissa and power of two.
#pragma once

#include "core/range.h"
#include "cuda/panel.cuh"

namespace jaxinv::cuda {

// Moves rows × n numbers, row after row, consecutive ones by consecutive threads: put(i, j, get(i, j)), a few
// of them under way at once.
template <class Get, class Put>
__device__ __forceinline__ void move_numbers(int rows, int n, Get&& get, Put&& put) {
  constexpr int kBatch = 4;
  const int down = int(blockDim.x) / n, across = int(blockDim.x) % n;
  int i = int(threadIdx.x) / n, j = int(threadIdx.x) % n;
  while (i < rows) {
    decltype(get(0, 0)) numbers[kBatch] = {};
    int is[kBatch], js[kBatch];
    JAXINV_UNROLL
    for (int b = 0; b < kBatch; ++b) {
      is[b] = i;
      js[b] = j;
      if (i < rows) numbers[b] = get(i, j);
      i += down;
      j += across;
      if (j >= n) {
        j -= n;
        ++i;
      }
    }
    JAXINV_UNROLL
    for (int b = 0; b < kBatch; ++b) {
      if (is[b] < rows) put(is[b], js[b], numbers[b]);
    }
  }
}

template <class R>
struct SizeShared {
  R sizes[kWarpSize];
  int32_t votes[kWarpSize];
};

// The largest of the threads' sizes, and whether all have seen finite numbers only, known to all.
template <class R>
__device__ __forceinline__ R block_size(SizeShared<R>& s, R size, bool& finite) {
  const int warp = int(threadIdx.x) / kWarpSize;
  size = number_of_key(group_max<kWarpSize>(key_bits(size)));
  const bool all = __all_sync(kAllLanes, finite);
  if (lane_index() == 0) {
    s.sizes[warp] = size;
    s.votes[warp] = all;
  }
  __syncthreads();
  for (int w = 0; w < int(blockDim.x) / kWarpSize; ++w) {
    size = fmax(size, s.sizes[w]);
    finite &= s.votes[w] != 0;
  }
  return size;
}

// True where the pivot rows are an odd permutation, known to the whole block. votes: one per warp.
__device__ __forceinline__ bool is_odd(const int32_t* rows, int n, int32_t* votes) {
  unsigned inversions = 0;
  for (int k = int(threadIdx.x); k < n; k += int(blockDim.x)) {
    for (int l = k + 1; l < n; ++l) inversions += rows[l] < rows[k];
  }
  const unsigned odd = __popc(__ballot_sync(kAllLanes, inversions & 1));
  if (threadIdx.x % kWarpSize == 0) votes[threadIdx.x / kWarpSize] = int32_t(odd & 1);
  __syncthreads();
  int sum = 0;
  for (int w = 0; w < int(blockDim.x) / kWarpSize; ++w) sum += votes[w];
  return sum & 1;
}

template <class R>
__device__ __forceinline__ R shuffle_xor(R x, int lanes) {
  return __shfl_xor_sync(kAllLanes, x, lanes);
}
template <class R>
__device__ __forceinline__ Complex<R> shuffle_xor(Complex<R> x, int lanes) {
  return {shuffle_xor(x.re, lanes), shuffle_xor(x.im, lanes)};
}

// info, mantissa and exponent where asked for; the whole block takes part. finite: all entries of the matrix;
// shift: the power of two that it was multiplied by.
template <class V>
__device__ __forceinline__ void store_results(const InverseProblem& p, int64_t index, int info,
                                              const V* pivots, const int32_t* pivot_rows,
                                              bool finite, int shift, int32_t* votes) {
  const int thread = int(threadIdx.x), n = int(p.n);
  if (p.info && thread == 0) p.info[index] = info;
  if (!p.mantissa) return;
  V* out = static_cast<V*>(p.mantissa) + index;
  if (info) {
    if (thread == 0) {
      *out = failed_mantissa<V>(is_zero(pivots[info - 1]), finite);
      p.exponent[index] = 0;
    }
    return;
  }
  const bool odd = is_odd(pivot_rows, n, votes);
  if (thread >= kWarpSize) return;
  V mantissa = V(1);
  int exponent = 0;
  for (int k = thread; k < n; k += kWarpSize) {
    V pivot = pivots[k];
    const int other = take_exponent(pivot);
    multiply(mantissa, exponent, pivot, other);
  }
  for (int lanes = 1; lanes < kWarpSize; lanes *= 2) {
    multiply(mantissa, exponent, shuffle_xor(mantissa, lanes), shuffle_xor(exponent, lanes));
  }
  if (thread != 0) return;
  *out = odd ? -mantissa : mantissa;
  // The determinant of the matrix before it was multiplied by 2^shift.
  p.exponent[index] = exponent - shift * n;
}

}  // namespace jaxinv::cuda
