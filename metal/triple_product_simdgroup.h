// Algorithm: y = −op(l) op(g) op(r), fused: t = op(g) op(r), then −op(l) t, as sums of multiples of rows.
// Lanes: one row of t and of y each, in registers; 1, 2 or 4 triples per simdgroup. The lanes of a matrix read the
// rows of op(r) and of t together, one number at a time.
// n: above kTripleProductThreadMax to 32; registers for kN ≥ n columns. dtypes: float32, float16, bfloat16,
// complex64. Memory: g (later t and y), l and r in threadgroup memory, rows of odd length; each operand is read
// once, also where l is r.
#pragma once

#include "metal/staging.h"
#include "metal/triple_product.h"

namespace jaxinv {
namespace metal {

template <class V, int kN>
struct TripleProductSimdgroupShared {
  enum : int { kSimdgroups = simdgroups_that_fit(3 * tile_numbers(kN) * int(sizeof(V))) };
  typename Memory<V>::type tiles[kSimdgroups][3][tile_numbers(kN)];
};

// A matrix in threadgroup memory, or its transpose: number (i, j) stands at numbers[i * down + j * across].
template <class V>
struct Operand {
  threadgroup const typename Memory<V>::type* numbers;
  int down, across;
  JAXINV_INLINE Operand(threadgroup const typename Memory<V>::type* numbers, int stride,
                        bool transpose)
      : numbers(numbers), down(transpose ? 1 : stride), across(transpose ? stride : 1) {}
  JAXINV_INLINE V at(int i, int j) const { return number(numbers[i * down + j * across]); }
};

// Row i of left · right. Columns from n on hold anything.
template <class V, int kN>
JAXINV_INLINE void row_times(int n, int i, Operand<V> left, Operand<V> right, thread V (&row)[kN]) {
  JAXINV_UNROLL
  for (int j = 0; j < kN; ++j) row[j] = V(0);
  for (int k = 0; k < n; ++k) {
    const V factor = left.at(i, k);
    JAXINV_UNROLL
    for (int j = 0; j < kN; ++j) {
      if (j < n) row[j] = scalar::fma(factor, right.at(k, j), row[j]);
    }
  }
}

template <class V, int kN>
JAXINV_INLINE void triple_product_simdgroup(
    TripleProductBuffers b, constant TripleProductParameters& p, Position at,
    threadgroup TripleProductSimdgroupShared<V, kN>& shared) {
  using Shared = TripleProductSimdgroupShared<V, kN>;
  const int lanes = simdgroup_lanes(), kLanes = lanes_per_matrix(kN), matrices = lanes / kLanes;
  const int n = p.n, stride = n | 1, matrix = at.lane / kLanes, i = at.lane % kLanes;
  threadgroup typename Memory<V>::type* l_tile = shared.tiles[at.simdgroup][0];
  threadgroup typename Memory<V>::type* g_tile = shared.tiles[at.simdgroup][1];
  threadgroup typename Memory<V>::type* r_tile = shared.tiles[at.simdgroup][p.same ? 0 : 2];
  const int own = matrix * n * stride;
  const Operand<V> l(l_tile + own, stride, p.transpose_l);
  const Operand<V> g(g_tile + own, stride, p.transpose_g);
  const Operand<V> r(r_tile + own, stride, p.transpose_r);
  const Operand<V> t(g_tile + own, stride, false);
  const Rows place(n, stride);
  const long step = long(at.groups) * Shared::kSimdgroups * matrices;
  for (long first = (long(at.group) * Shared::kSimdgroups + at.simdgroup) * matrices;
       first < p.batch; first += step) {
    const int count = int(p.batch - first < matrices ? p.batch - first : matrices);
    const int all = count * n * n;
    const long offset = first * n * n;
    const bool has_row = matrix < count && i < n;
    Span<V>::load(b.l, offset, p.storage, all, at.lane, lanes, place, l_tile);
    Span<V>::load(b.g, offset, p.storage, all, at.lane, lanes, place, g_tile);
    if (!p.same) Span<V>::load(b.r, offset, p.storage, all, at.lane, lanes, place, r_tile);
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    V row[kN];
    if (has_row) row_times(n, i, g, r, row);
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    if (has_row) {
      JAXINV_UNROLL
      for (int j = 0; j < kN; ++j) {
        if (j < n) g_tile[own + i * stride + j] = memory(row[j]);
      }
    }
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    if (has_row) row_times(n, i, l, t, row);
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    if (has_row) {
      JAXINV_UNROLL
      for (int j = 0; j < kN; ++j) {
        if (j < n) g_tile[own + i * stride + j] = memory(-row[j]);
      }
    }
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    Span<V>::store(b.y, offset, p.storage, all, at.lane, lanes, place, g_tile, false, 0);
    // What the next round writes first, this lane alone has read, or nobody since a barrier.
  }
}

}  // namespace metal
}  // namespace jaxinv
