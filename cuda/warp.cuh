// Reductions over a warp, or over groups of kLanes neighbouring lanes of it. All 32 lanes must call them.
#pragma once

#include "cuda/device.cuh"

// sm_75 has no reduction in one instruction. The emulator runs both ways.
#if (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800) || defined(JAXINV_NO_REDUX)
#define JAXINV_REDUX 0
#else
#define JAXINV_REDUX 1
#endif

namespace jaxinv::cuda {

__device__ __forceinline__ int lane_index() { return int(threadIdx.x) % kWarpSize; }

// The largest value of each group, in all of its lanes.
template <int kLanes, class I>
__device__ __forceinline__ I group_max(I value) {
  if constexpr (sizeof(I) == 8 && kLanes >= 16 && JAXINV_REDUX) {
    // The upper halves, then the lower halves of those that have the largest.
    const int high = int(value >> 32), best = group_max<kLanes>(high);
    const unsigned low = group_max<kLanes>(high == best ? unsigned(value) : 0u);
    return I(uint64_t(unsigned(best)) << 32 | low);
  } else if constexpr (kLanes == 32 && JAXINV_REDUX) {
    return __reduce_max_sync(kAllLanes, value);
  } else if constexpr (kLanes == 16 && JAXINV_REDUX) {
    constexpr I kLeast = I(-1) < I(0) ? I(1u << 31) : I(0);
    const bool second = lane_index() >= 16;
    const I first_best = __reduce_max_sync(kAllLanes, second ? kLeast : value);
    const I second_best = __reduce_max_sync(kAllLanes, second ? value : kLeast);
    return second ? second_best : first_best;
  } else {
    JAXINV_UNROLL
    for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) {
      const I other = __shfl_xor_sync(kAllLanes, value, lanes);
      value = other > value ? other : value;
    }
    return value;
  }
}

// A bit for each lane of the caller's group, set where the vote is.
template <int kLanes>
__device__ __forceinline__ unsigned group_ballot(bool vote) {
  const unsigned votes = __ballot_sync(kAllLanes, vote);
  if constexpr (kLanes == kWarpSize) return votes;
  return votes >> (lane_index() / kLanes * kLanes) & ((1u << kLanes % kWarpSize) - 1);
}

// The first lane of each group, counted in the group, that has its largest key.
template <int kLanes, class I>
__device__ __forceinline__ int group_argmax(I key) {
  const I best = group_max<kLanes>(key);
  return __ffs(int(group_ballot<kLanes>(key == best))) - 1;
}

// |x| (|re| + |im|) as an integer of the same order, NaN above all numbers.
__device__ __forceinline__ int key_bits(float x) { return __float_as_int(x) & 0x7fffffff; }
__device__ __forceinline__ long long key_bits(double x) {
  return __double_as_longlong(x) & 0x7fffffffffffffffll;
}
template <class R>
__device__ __forceinline__ auto key_bits(Complex<R> x) {
  return key_bits(scalar::magnitude(x.re) + scalar::magnitude(x.im));
}

__device__ __forceinline__ float number_of_key(int key) { return __int_as_float(key); }
__device__ __forceinline__ double number_of_key(long long key) { return __longlong_as_double(key); }

}  // namespace jaxinv::cuda
