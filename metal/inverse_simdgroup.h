// Algorithm: in-place Gauss-Jordan with partial pivoting. Rows never move: a lane is marked as its row is chosen,
// and rows and columns are put in order at the store.
// Lanes: one row each, in registers; 1, 2 or 4 matrices per simdgroup. The pivot row comes by shuffles. At each step
// a row is rotated by one column: the column in turn is always the first, and the loop over steps stays a loop.
// n: above inverse_metal_thread_max to 32; registers for kN ≥ n columns. dtypes: float32, float16, bfloat16,
// complex64. Memory: a tile of n rows of odd length in threadgroup memory, for the way in and out.
#pragma once

#include "metal/simdgroup.h"
#include "metal/staging.h"

namespace jaxinv {
namespace metal {

template <class V, int kN>
struct InverseSimdgroupShared {
  enum : int { kSimdgroups = simdgroups_that_fit(tile_numbers(kN) * int(sizeof(V))) };
  typename Memory<V>::type tile[kSimdgroups][tile_numbers(kN)];
};

// What a lane knows beside its row.
template <class V>
struct SimdgroupLane {
  int i, base;    // its row; the first lane of the matrix
  int step;       // at which its row was chosen, or −1
  int pivot_row;  // the row chosen at step i
  V pivot;        // of its row
  int info;       // of the matrix
  bool zero_pivot;
};

// n steps of elimination on row[0 … kN − 1]. Column k of the result ends in row[kN − n + k].
template <class V, int kN>
JAXINV_INLINE void eliminate_rows(int n, thread V (&row)[kN], thread SimdgroupLane<V>& lane) {
  for (int k = 0; k < n; ++k) {
    const int key = lane.i < n && lane.step < 0 ? key_bits(row[0]) : -1;
    const int chosen = group_argmax(lanes_per_matrix(kN), key, lane.i);
    const int source = lane.base + chosen;
    const V pivot = shuffle(row[0], source);
    if (!lane.info && scalar::bad_pivot(pivot)) {
      lane.info = k + 1;
      lane.zero_pivot = is_zero(pivot);
    }
    const bool here = lane.i == chosen;
    if (here) {
      lane.step = k;
      lane.pivot = pivot;
    }
    if (lane.i == k) lane.pivot_row = chosen;
    // By way of an exact power of two: a denormal pivot must not make 0 · inf.
    const float scale = scalar::pivot_scale(pivot);
    const V inverse = scalar::reciprocal(pivot * scale);
    const V factor = row[0];
    JAXINV_UNROLL
    for (int j = 1; j < kN; ++j) {
      const V multiple = (shuffle(row[j], source) * scale) * inverse;
      row[j - 1] = scalar::select(here, multiple, scalar::fnma(factor, multiple, row[j]));
    }
    const V multiple = (V(1) * scale) * inverse;
    row[kN - 1] = scalar::select(here, multiple, scalar::fnma(factor, multiple, V(0)));
  }
}

// The determinant of each group's matrix. `finite`: of the lane's row.
template <class V>
JAXINV_INLINE void store_simdgroup_determinant(InverseBuffers b, int lanes, long index, bool mine,
                                               int n, thread const SimdgroupLane<V>& lane,
                                               int shift, bool finite) {
  // The sign of the permutation: pairs of rows that were chosen against their order.
  int odd = 0;
  for (int j = 1; j < n; ++j) {
    const int other = ::metal::simd_shuffle(lane.step, ushort(lane.base + j));
    odd ^= int(j > lane.i && lane.i < n && other < lane.step);
  }
  for (int d = 1; d < lanes; d *= 2) odd ^= shuffle_xor(odd, d);
  finite = group_max(lanes, int(!finite)) == 0;
  V mantissa = scalar::select(lane.i < n, lane.pivot, V(1));
  int exponent = take_exponent(mantissa);
  group_multiply(lanes, mantissa, exponent);
  if (!mine || lane.i != 0) return;
  store_determinant(b, index, scalar::select(odd, -mantissa, mantissa), exponent, shift, n,
                    lane.info, lane.zero_pivot, finite);
}

template <class V, int kN>
JAXINV_INLINE void inverse_simdgroup(InverseBuffers b, constant InverseParameters& p, Position at,
                                     threadgroup InverseSimdgroupShared<V, kN>& shared) {
  using Shared = InverseSimdgroupShared<V, kN>;
  const int lanes = simdgroup_lanes(), kLanes = lanes_per_matrix(kN), matrices = lanes / kLanes;
  const int n = p.n, stride = n | 1, matrix = at.lane / kLanes;
  threadgroup typename Memory<V>::type* tile = shared.tile[at.simdgroup];
  threadgroup typename Memory<V>::type* own = tile + matrix * n * stride;
  const Rows place(n, stride);
  const long step = long(at.groups) * Shared::kSimdgroups * matrices;
  for (long first = (long(at.group) * Shared::kSimdgroups + at.simdgroup) * matrices;
       first < p.batch; first += step) {
    const int count = int(p.batch - first < matrices ? p.batch - first : matrices);
    SimdgroupLane<V> lane = {at.lane % kLanes, matrix * kLanes, -1, 0, V(1), 0, false};
    const bool mine = matrix < count, has_row = mine && lane.i < n;
    Span<V>::load(b.a, first * n * n, p.storage, count * n * n, at.lane, lanes, place, tile);
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    V row[kN];
    int size = 0;
    bool finite = true;
    JAXINV_UNROLL
    for (int j = 0; j < kN; ++j) {
      row[j] = has_row && j < n ? number(own[lane.i * stride + j]) : V(0);
      size = ::metal::max(size, size_bits(row[j]));
      finite = finite && is_finite(row[j]);
    }
    const int shift = range_shift(group_max(kLanes, size));
    if (shift && has_row) {  // seldom: a loop
      threadgroup typename Memory<V>::type* from = own + lane.i * stride;
      for (int j = 0; j < n; ++j) from[j] = memory(scaled_in(number(from[j]), shift));
      JAXINV_UNROLL
      for (int j = 0; j < kN; ++j) row[j] = j < n ? number(from[j]) : V(0);
    }
    eliminate_rows(n, row, lane);
    if (p.with_info && mine && lane.i == 0) b.info[first + matrix] = lane.info;
    if (p.with_determinant) {
      store_simdgroup_determinant(b, kLanes, first + matrix, mine, n, lane, shift, finite);
    }
    JAXINV_UNROLL
    for (int j = 0; j < kN; ++j) {
      const int k = j - (kN - n);
      if (k < 0) continue;
      const int column = ::metal::simd_shuffle(lane.pivot_row, ushort(lane.base + k));
      if (has_row) {
        own[lane.step * stride + column] =
            memory(scalar::select(lane.info != 0, not_a_number<V>(), row[j]));
      }
    }
    threadgroup typename Memory<V>::type* to = own + lane.step * stride;
    for (int j = 0; j < n && shift && has_row; ++j) {
      to[j] = memory(scaled_out(number(to[j]), shift));
    }
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    Span<V>::store(b.x, first * n * n, p.storage, count * n * n, at.lane, lanes, place, tile, false,
                   0);
    // What the next round writes first, this lane alone has read.
  }
}

}  // namespace metal
}  // namespace jaxinv
