// Algorithm: Gauss-Jordan with partial pivoting, the body of core/small_inverse.h, unrolled.
// Lanes: one matrix per thread, in its registers.
// n: 1 to inverse_thread_max, a template parameter. dtypes: all; half types are computed in float32.
// Memory: a warp's 32 matrices are one contiguous span, brought in and taken out by way of shared memory in
// 16-byte accesses; each thread finds its matrix there in a padded slot.
#pragma once

#include "core/range.h"
#include "core/small_inverse.h"
#include "cuda/staging.cuh"

namespace jaxinv::cuda {

// Warps of a block: as many as the shared memory that needs no asking for holds, up to four.
constexpr int warps_that_fit(size_t bytes_per_warp) {
  return bytes_per_warp * 4 <= kSharedDefault ? 4 : bytes_per_warp * 2 <= kSharedDefault ? 2 : 1;
}

template <class V, int N>
constexpr int kInverseThreadWarps = warps_that_fit(sizeof(Slots<V, N * N>));

// info, mantissa and exponent of one matrix, where asked for. slot: the matrix as it was.
template <class V, int N>
__device__ __forceinline__ void store_determinant(const InverseProblem& p, int64_t index,
                                                  const V (&pivots)[N], const int (&swaps)[N],
                                                  int info, int shift, const V (&matrix)[N * N]) {
  V mantissa = V(1);
  int exponent = 0;
  bool odd = false, zero = false, finite = true;
  JAXINV_UNROLL
  for (int k = 0; k < N; ++k) {
    multiply(mantissa, exponent, pivots[k], 0);
    odd ^= swaps[k] != k;
    zero |= info == k + 1 && is_zero(pivots[k]);
  }
  JAXINV_UNROLL
  for (int e = 0; e < N * N; ++e) finite &= is_finite(matrix[e]);
  mantissa = odd ? -mantissa : mantissa;
  static_cast<V*>(p.mantissa)[index] = info ? failed_mantissa<V>(zero, finite) : mantissa;
  // The determinant of the matrix before it was multiplied by 2^shift.
  p.exponent[index] = info ? 0 : exponent - shift * N;
}

// One block on a multiprocessor will do for complex128, or ptxas saves registers by spilling on sm_80 and sm_86.
template <class V, int N>
__global__ void __launch_bounds__(kWarpSize* kInverseThreadWarps<V, N>, sizeof(V) == 16)
    inverse_thread(InverseProblem p) {
  using R = typename Parts<V>::Real;
  constexpr int kWarps = kInverseThreadWarps<V, N>;
  const int warp = int(threadIdx.x) / kWarpSize, lane = lane_index();
  auto& slots = shared_memory<Slots<V, N * N>[kWarps]>()[warp];
  const int64_t stride = int64_t(gridDim.x) * kWarps * kWarpSize;
  for (int64_t first = (int64_t(blockIdx.x) * kWarps + warp) * kWarpSize; first < p.batch;
       first += stride) {
    const int count = int(p.batch - first < kWarpSize ? p.batch - first : kWarpSize);
    with_storage<V>(p.dtype, [&](auto s) {
      load_slots(static_cast<const decltype(s)*>(p.a) + first * (N * N), count, slots);
    });
    __syncwarp();
    const bool mine = lane < count;
    V entries[N * N];
    slots.read(mine ? lane : 0, entries);  // a lane without a matrix repeats the first, for nothing
    R size = 0;
    JAXINV_UNROLL
    for (int e = 0; e < N * N; ++e) size = fmax(size, largest_part(entries[e]));
    const int shift = scalar::Range<R>::shift(size);
    V a[1][N][N], pivots[1][N];
    int swaps[1][N], info[1];
    JAXINV_UNROLL
    for (int e = 0; e < N * N; ++e) a[0][e / N][e % N] = entries[e];
    auto scale = [&] {
      const R power = shift > 0 ? scalar::Range<R>::kUp : 1 / scalar::Range<R>::kUp;
      JAXINV_UNROLL
      for (int e = 0; e < N * N; ++e) a[0][e / N][e % N] = a[0][e / N][e % N] * power;
    };
    if (shift) scale();
    scalar::small_inverse<N, scalar::Pivots::kGuarded>(a, pivots, swaps, info);
    if (shift) scale();
    if (p.info && mine) p.info[first + lane] = info[0];
    if (p.mantissa && mine) {
      slots.read(lane, entries);
      store_determinant(p, first + lane, pivots[0], swaps[0], info[0], shift, entries);
    }
    JAXINV_UNROLL
    for (int e = 0; e < N * N; ++e) {
      entries[e] = info[0] ? not_a_number<V>() : a[0][e / N][e % N];
    }
    if (mine) slots.write(lane, entries);
    __syncwarp();
    with_storage<V>(p.dtype, [&](auto s) {
      store_slots(slots, count, static_cast<decltype(s)*>(p.x) + first * (N * N));
    });
    __syncwarp();
  }
}

}  // namespace jaxinv::cuda
