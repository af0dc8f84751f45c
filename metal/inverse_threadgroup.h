// Algorithm: in-place Gauss-Jordan with partial pivoting, one matrix at a time. Rows never move: a step marks its
// row, and rows and columns are put in order at the store.
// Lanes: 16 × 16 threads, each with the numbers of every sixteenth row and column in registers. A step publishes its
// column, then its pivot row; every simdgroup looks for the pivot itself: two barriers.
// n: above kInverseSimdgroupMax to inverse_threadgroup_max; kTile numbers a side in each thread. dtypes: float32,
// float16, bfloat16, complex64. Memory: the column, the row and, on the way in and out, 16 rows in threadgroup memory.
#pragma once

#include "metal/results.h"
#include "metal/staging.h"

namespace jaxinv {
namespace metal {

template <class V, int kTile>
struct InverseThreadgroupShared {
  enum : int { kSide = threadgroup_side(), kMax = kSide * kTile };
  typename Memory<V>::type column[2][kMax];  // steps take turns
  typename Memory<V>::type row[kMax];
  typename Memory<V>::type staging[kSide * kMax];
  int32_t order[kMax];  // the step that a row was the pivot row of
  int32_t pivot_rows[kMax];
  GroupShared group;
};

// One of kTile numbers, the index known at run time only.
template <class V, int kTile>
JAXINV_INLINE V pick(thread const V (&x)[kTile], int index) {
  V out = x[0];
  JAXINV_UNROLL
  for (int c = 1; c < kTile; ++c) out = scalar::select(c == index, x[c], out);
  return out;
}

template <class V, int kTile>
struct InverseThreadgroup {
  int i, j;           // row and column of this thread's first number
  V x[kTile][kTile];  // those of rows i + 16 r and columns j + 16 c
  int taken;          // a bit for each of the rows lane, lane + 32, ... that were pivot rows
  V mantissa;         // of the determinant so far
  int exponent;
  bool zero_pivot;
};

// Step k: false where its pivot is bad.
template <class V, int kTile>
JAXINV_INLINE bool threadgroup_step(thread InverseThreadgroup<V, kTile>& m, Position at,
                                    threadgroup InverseThreadgroupShared<V, kTile>& s, int n, int k,
                                    bool with_determinant) {
  const int side = threadgroup_side(), turn = k & 1, lanes = simdgroup_lanes();
  if (m.j == k % side) {
    JAXINV_UNROLL
    for (int r = 0; r < kTile; ++r) {
      s.column[turn][m.i + side * r] = memory(pick(m.x[r], k / side));
      JAXINV_UNROLL
      for (int c = 0; c < kTile; ++c) {
        m.x[r][c] = scalar::select(c == k / side, V(0), m.x[r][c]);
      }
    }
  }
  ::metal::threadgroup_barrier(::metal::mem_flags::mem_threadgroup);
  int best = -1, place = 0;
  for (int q = 0; q * lanes < n; ++q) {
    const int row = at.lane + q * lanes;
    if (row >= n || m.taken >> q & 1) continue;
    const int key = key_bits(number(s.column[turn][row]));
    place = key > best ? row : place;
    best = ::metal::max(key, best);
  }
  const int top = ::metal::simd_max(best);
  const int pivot_row = ::metal::simd_min(best == top ? place : n);
  const V pivot = number(s.column[turn][pivot_row]);
  if (pivot_row % lanes == at.lane) m.taken |= 1 << (pivot_row / lanes);
  if (scalar::bad_pivot(pivot)) {
    m.zero_pivot = is_zero(pivot);
    return false;
  }
  if (with_determinant) multiply(m.mantissa, m.exponent, pivot, 0);
  const bool here = m.i == pivot_row % side;
  if (here) {
    JAXINV_UNROLL
    for (int c = 0; c < kTile; ++c) {
      V number = V(0);
      JAXINV_UNROLL
      for (int r = 0; r < kTile; ++r) {
        number = scalar::select(r == pivot_row / side, m.x[r][c], number);
      }
      const int column = m.j + side * c;
      s.row[column] = memory(scalar::select(column == k, V(1), number));
    }
  }
  if (at.index == 0) {
    s.order[pivot_row] = k;
    s.pivot_rows[k] = pivot_row;
  }
  ::metal::threadgroup_barrier(::metal::mem_flags::mem_threadgroup);
  const Division<V> divided(pivot);
  V multiples[kTile];
  JAXINV_UNROLL
  for (int c = 0; c < kTile; ++c) multiples[c] = divided.of(number(s.row[m.j + side * c]));
  JAXINV_UNROLL
  for (int r = 0; r < kTile; ++r) {
    const V factor = number(s.column[turn][m.i + side * r]);
    JAXINV_UNROLL
    for (int c = 0; c < kTile; ++c) {
      m.x[r][c] = scalar::fnma(factor, multiples[c], m.x[r][c]);
    }
  }
  if (here) {
    JAXINV_UNROLL
    for (int r = 0; r < kTile; ++r) {
      JAXINV_UNROLL
      for (int c = 0; c < kTile; ++c) {
        m.x[r][c] = scalar::select(r == pivot_row / side, multiples[c], m.x[r][c]);
      }
    }
  }
  return true;
}

// The rows of a matrix, 16 at a time by way of the staging; a simdgroup moves a row.
template <class V, int kTile>
JAXINV_INLINE void load_tiles(thread InverseThreadgroup<V, kTile>& m, InverseBuffers b, long offset,
                              constant InverseParameters& p, Position at,
                              threadgroup InverseThreadgroupShared<V, kTile>& s) {
  const int n = p.n, side = threadgroup_side(), lanes = simdgroup_lanes(), most = side * kTile;
  for (int r = 0; r < kTile; ++r) {
    for (int i = at.simdgroup; i < side && side * r + i < n; i += at.threads / lanes) {
      Span<V>::load(b.a, offset + (side * r + i) * n, p.storage, n, at.lane, lanes, InPlace(),
                    s.staging + i * most);
    }
    ::metal::threadgroup_barrier(::metal::mem_flags::mem_threadgroup);
    JAXINV_UNROLL
    for (int own = 0; own < kTile; ++own) {  // rows keep their place in registers
      JAXINV_UNROLL
      for (int c = 0; c < kTile; ++c) {
        const int j = m.j + side * c;
        const bool inside = side * r + m.i < n && j < n;
        if (own == r) m.x[own][c] = inside ? number(s.staging[m.i * most + j]) : V(0);
      }
    }
    ::metal::threadgroup_barrier(::metal::mem_flags::mem_threadgroup);
  }
}
template <class V, int kTile>
JAXINV_INLINE void store_tiles(thread InverseThreadgroup<V, kTile>& m, InverseBuffers b,
                               long offset, constant InverseParameters& p, Position at,
                               threadgroup InverseThreadgroupShared<V, kTile>& s, bool failed,
                               int shift) {
  const int n = p.n, side = threadgroup_side(), lanes = simdgroup_lanes(), most = side * kTile;
  for (int r = 0; r < kTile; ++r) {
    JAXINV_UNROLL
    for (int own = 0; own < kTile; ++own) {
      JAXINV_UNROLL
      for (int c = 0; c < kTile; ++c) {
        const int j = m.j + side * c;
        if (own == r && j < n && !failed) {
          s.staging[m.i * most + s.pivot_rows[j]] = memory(m.x[own][c]);
        }
      }
    }
    ::metal::threadgroup_barrier(::metal::mem_flags::mem_threadgroup);
    for (int i = at.simdgroup; i < side && side * r + i < n; i += at.threads / lanes) {
      const int row = failed ? side * r + i : s.order[side * r + i];
      Span<V>::store(b.x, offset + row * n, p.storage, n, at.lane, lanes, InPlace(),
                     s.staging + i * most, failed, shift);
    }
    ::metal::threadgroup_barrier(::metal::mem_flags::mem_threadgroup);
  }
}

template <class V, int kTile>
JAXINV_INLINE void inverse_threadgroup(InverseBuffers b, constant InverseParameters& p, Position at,
                                       threadgroup InverseThreadgroupShared<V, kTile>& s) {
  const int n = p.n;
  for (long index = at.group; index < p.batch; index += at.groups) {
    InverseThreadgroup<V, kTile> m;
    m.i = at.index / threadgroup_side();
    m.j = at.index % threadgroup_side();
    m.taken = m.exponent = 0;
    m.mantissa = V(1);
    m.zero_pivot = false;
    load_tiles(m, b, index * n * n, p, at, s);
    int size = 0;
    bool finite = true;
    JAXINV_UNROLL
    for (int e = 0; e < kTile * kTile; ++e) {
      size = ::metal::max(size, size_bits(m.x[e / kTile][e % kTile]));
      finite = finite && is_finite(m.x[e / kTile][e % kTile]);
    }
    size = group_size(s.group, at, size, finite);
    const int shift = range_shift(size);
    if (shift) {
      JAXINV_UNROLL
      for (int e = 0; e < kTile * kTile; ++e) {
        m.x[e / kTile][e % kTile] = scaled_in(m.x[e / kTile][e % kTile], shift);
      }
    }
    int info = 0;
    for (int k = 0; k < n && !info; ++k) {
      info = threadgroup_step(m, at, s, n, k, p.with_determinant) ? 0 : k + 1;
    }
    store_tiles(m, b, index * n * n, p, at, s, info != 0, shift);
    if (p.with_info && at.index == 0) b.info[index] = info;
    if (p.with_determinant) {
      const bool odd = !info && is_odd(s.group, at, s.pivot_rows, n);
      if (at.index == 0) {
        store_determinant(b, index, scalar::select(odd, -m.mantissa, m.mantissa), m.exponent, shift,
                          n, info, m.zero_pivot, finite);
      }
    }
    // The shared memory changes its owner behind the barriers of the store and of the next load.
  }
}

}  // namespace metal
}  // namespace jaxinv
