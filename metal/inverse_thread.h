// Algorithm: Gauss-Jordan with partial pivoting, the body of core/small_inverse.h, unrolled.
// Lanes: one matrix per thread, in its registers.
// n: 1 to inverse_metal_thread_max, a template parameter. dtypes: float32, float16, bfloat16, complex64.
// Memory: a simdgroup's 32 matrices are one contiguous span, brought in and taken out by way of threadgroup memory;
// each lane finds its matrix there in a slot of odd length.
#pragma once

#include "core/small_inverse.h"
#include "metal/staging.h"

namespace jaxinv {
namespace metal {

template <class V, int N>
struct InverseThreadShared {
  enum : int {
    kStride = slot_stride(N * N),
    kSimdgroups = simdgroups_that_fit(inverse_thread_bytes(N, int(sizeof(V))))
  };
  typename Memory<V>::type slots[kSimdgroups][simdgroup_lanes() * kStride];
};

// slot: the matrix as it was.
template <class V, int N>
JAXINV_INLINE void store_thread_determinant(InverseBuffers b, long index,
                                            thread const V (&pivots)[N],
                                            thread const int (&swaps)[N], int info, int shift,
                                            threadgroup const typename Memory<V>::type* slot) {
  V mantissa = V(1);
  int exponent = 0;
  bool odd = false, zero = false, finite = true;
  JAXINV_UNROLL
  for (int k = 0; k < N; ++k) {
    multiply(mantissa, exponent, pivots[k], 0);
    odd = odd != (swaps[k] != k);
    zero = zero || (info == k + 1 && is_zero(pivots[k]));
  }
  for (int e = 0; e < N * N; ++e) finite = finite && is_finite(number(slot[e]));
  store_determinant(b, index, scalar::select(odd, -mantissa, mantissa), exponent, shift, N, info,
                    zero, finite);
}

template <class V, int N>
JAXINV_INLINE void inverse_thread(InverseBuffers b, constant InverseParameters& p, Position at,
                                  threadgroup InverseThreadShared<V, N>& shared) {
  using Shared = InverseThreadShared<V, N>;
  const int lanes = simdgroup_lanes();
  threadgroup typename Memory<V>::type* slots = shared.slots[at.simdgroup];
  threadgroup typename Memory<V>::type* slot = slots + at.lane * Shared::kStride;
  const Rows place(N * N, Shared::kStride);
  const long step = long(at.groups) * Shared::kSimdgroups * lanes;
  for (long first = (long(at.group) * Shared::kSimdgroups + at.simdgroup) * lanes; first < p.batch;
       first += step) {
    const int count = int(p.batch - first < lanes ? p.batch - first : lanes);
    Span<V>::load(b.a, first * (N * N), p.storage, count * N * N, at.lane, lanes, place, slots);
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    const bool mine = at.lane < count;
    V a[1][N][N], pivots[1][N];
    int swaps[1][N], info[1];
    int size = 0;
    JAXINV_UNROLL
    for (int e = 0; e < N * N; ++e) {
      a[0][e / N][e % N] = mine ? number(slot[e]) : V(0);
      size = ::metal::max(size, size_bits(a[0][e / N][e % N]));
    }
    const int shift = range_shift(size);
    if (shift) {  // seldom: a loop
      for (int e = 0; e < N * N; ++e) slot[e] = memory(scaled_in(number(slot[e]), shift));
      JAXINV_UNROLL
      for (int e = 0; e < N * N; ++e) a[0][e / N][e % N] = number(slot[e]);
    }
    scalar::small_inverse<N, scalar::Pivots::kGuarded>(a, pivots, swaps, info);
    if (mine) {
      if (p.with_info) b.info[first + at.lane] = info[0];
      if (p.with_determinant) {
        store_thread_determinant<V, N>(b, first + at.lane, pivots[0], swaps[0], info[0], shift,
                                       slot);
      }
    }
    if (mine) {
      JAXINV_UNROLL
      for (int e = 0; e < N * N; ++e) {
        slot[e] = memory(scalar::select(info[0] != 0, not_a_number<V>(), a[0][e / N][e % N]));
      }
      for (int e = 0; e < N * N && shift; ++e) {
        slot[e] = memory(scaled_out(number(slot[e]), shift));
      }
    }
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    Span<V>::store(b.x, first * (N * N), p.storage, count * N * N, at.lane, lanes, place, slots,
                   false, 0);
    // What the next round writes first, this lane alone has read.
  }
}

}  // namespace metal
}  // namespace jaxinv
