// Algorithm: y = −op(l) op(g) op(r), fused, unrolled.
// Lanes: one triple of matrices per thread, in its registers.
// n: 1 to kTripleProductThreadMax, a template parameter. dtypes: float32, float16, bfloat16, complex64.
// Memory: as in inverse_thread; l is read once where it is r as well.
#pragma once

#include "metal/staging.h"
#include "metal/triple_product.h"

namespace jaxinv {
namespace metal {

template <class V, int N>
struct TripleProductThreadShared {
  enum : int {
    kStride = slot_stride(N * N),
    kSimdgroups = simdgroups_that_fit(3 * inverse_thread_bytes(N, int(sizeof(V))))
  };
  typename Memory<V>::type slots[kSimdgroups][3][simdgroup_lanes() * kStride];
};

// op(m), from its slot.
template <class V, int N>
JAXINV_INLINE void read_matrix(threadgroup const typename Memory<V>::type* slot, bool transpose,
                               thread V (&out)[N][N]) {
  JAXINV_UNROLL
  for (int i = 0; i < N; ++i) {
    JAXINV_UNROLL
    for (int j = 0; j < N; ++j) out[i][j] = number(slot[transpose ? j * N + i : i * N + j]);
  }
}

// m ← m · right
template <class V, int N>
JAXINV_INLINE void times(thread V (&m)[N][N], thread const V (&right)[N][N]) {
  JAXINV_UNROLL
  for (int i = 0; i < N; ++i) {
    V sum[N];
    JAXINV_UNROLL
    for (int j = 0; j < N; ++j) {
      sum[j] = V(0);
      JAXINV_UNROLL
      for (int k = 0; k < N; ++k) sum[j] = scalar::fma(m[i][k], right[k][j], sum[j]);
    }
    JAXINV_UNROLL
    for (int j = 0; j < N; ++j) m[i][j] = sum[j];
  }
}

template <class V, int N>
JAXINV_INLINE void triple_product_thread(TripleProductBuffers b,
                                         constant TripleProductParameters& p, Position at,
                                         threadgroup TripleProductThreadShared<V, N>& shared) {
  using Shared = TripleProductThreadShared<V, N>;
  const int lanes = simdgroup_lanes(), slot = at.lane * Shared::kStride;
  threadgroup typename Memory<V>::type* l_slots = shared.slots[at.simdgroup][0];
  threadgroup typename Memory<V>::type* g_slots = shared.slots[at.simdgroup][1];
  threadgroup typename Memory<V>::type* r_slots = shared.slots[at.simdgroup][p.same ? 0 : 2];
  const Rows place(N * N, Shared::kStride);
  const long step = long(at.groups) * Shared::kSimdgroups * lanes;
  for (long first = (long(at.group) * Shared::kSimdgroups + at.simdgroup) * lanes; first < p.batch;
       first += step) {
    const int count = int(p.batch - first < lanes ? p.batch - first : lanes), all = count * N * N;
    const long offset = first * (N * N);
    Span<V>::load(b.l, offset, p.storage, all, at.lane, lanes, place, l_slots);
    Span<V>::load(b.g, offset, p.storage, all, at.lane, lanes, place, g_slots);
    if (!p.same) Span<V>::load(b.r, offset, p.storage, all, at.lane, lanes, place, r_slots);
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    if (at.lane < count) {
      V r[N][N], x[N][N];
      read_matrix<V, N>(r_slots + slot, p.transpose_r, r);
      read_matrix<V, N>(g_slots + slot, p.transpose_g, x);
      times(x, r);
      read_matrix<V, N>(l_slots + slot, p.transpose_l, r);
      times(r, x);
      JAXINV_UNROLL
      for (int e = 0; e < N * N; ++e) g_slots[slot + e] = memory(-r[e / N][e % N]);
    }
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    Span<V>::store(b.y, offset, p.storage, all, at.lane, lanes, place, g_slots, false, 0);
    // What the next round writes first, this lane alone has read, or nobody since the barrier.
  }
}

}  // namespace metal
}  // namespace jaxinv
