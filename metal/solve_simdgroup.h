// Algorithm: systems op(a) x = b, by L U with partial pivoting, of positive definite matrices by L D Lᴴ, of triangles
// as they are, or by factors that are there; forward and back substitution.
// Lanes: one row of the matrix each, in threadgroup memory, spread over rows and columns of right-hand sides; 1, 2, 4
// or 8 systems per simdgroup. More right-hand sides than system_columns are systems of their own with the same matrix.
// n: to kSystemSimdgroupMax, at run time; right-hand sides: any. dtypes: float32, complex64.
// Memory: matrix and right-hand sides are read once, no factor is written.
#pragma once

#include "metal/elimination.h"

namespace jaxinv {
namespace metal {

struct SolveBuffers {
  device const void* a;
  device const void* b;
  device void* x;
  device int32_t* info;
};

// Some right-hand sides of a matrix, or their solutions: in device memory from `offset` on, rows of `columns`
// numbers, and y in threadgroup memory, rows of `stride`.
template <class V>
struct RightHandSides {
  typedef typename Memory<V>::type M;
  threadgroup M* y;
  long offset, columns;
  int n, stride, width;

  JAXINV_INLINE RightHandSides(threadgroup M* y, constant SolveParameters& p, long index, long part,
                               bool mine)
      : y(y), columns(p.columns), n(p.n), stride(system_stride(p.columns)) {
    const long first = part * system_columns(), rest = columns - first;
    offset = index * n * columns + first;
    width = !mine ? 0 : rest < system_columns() ? int(rest) : system_columns();
  }
  JAXINV_INLINE int numbers() const { return n * width; }
};

// Row i of y is row order[i] of b.
template <class V>
JAXINV_INLINE void load_columns(RightHandSides<V> r, int i, int lanes, device const void* b,
                                threadgroup const int32_t* order, bool conjugated) {
  device const typename Memory<V>::type* from =
      static_cast<device const typename Memory<V>::type*>(b) + r.offset;
  const Rows place(r.width, r.stride);
  for (int e = i; e < r.numbers(); e += lanes) {
    const int row = place.row(e), c = e - row * r.width;
    const V x = number(from[order[row] * r.columns + c]);
    r.y[place(e)] = memory(scalar::select(conjugated, conjugate(x), x));
  }
}
// Row order[i] of x is row i of y.
template <class V>
JAXINV_INLINE void store_columns(RightHandSides<V> r, int i, int lanes, device void* x,
                                 threadgroup const int32_t* order, bool conjugated, bool failed,
                                 int shift) {
  device typename Memory<V>::type* to = static_cast<device typename Memory<V>::type*>(x) + r.offset;
  const Rows place(r.width, r.stride);
  for (int e = i; e < r.numbers(); e += lanes) {
    const int row = place.row(e), c = e - row * r.width;
    const V y = scaled_out(number(r.y[place(e)]), shift);
    const V known = scalar::select(conjugated, conjugate(y), y);
    to[order[row] * r.columns + c] = memory(scalar::select(failed, not_a_number<V>(), known));
  }
}

template <class V>
JAXINV_INLINE void solve_simdgroup(SolveBuffers b, constant SolveParameters& p, Position at,
                                   threadgroup SystemShared<V>& shared) {
  const int n = p.n, each = systems_per_simdgroup(n);
  const SystemRounds rounds(n, at);
  threadgroup typename Memory<V>::type* tile =
      shared.pool + (at.simdgroup * each + rounds.group) * system_numbers(n, p.columns);
  // A triangle is read as a lower one, also where the other is stored; what is solved with is that or its transpose.
  const bool turned = p.positive || p.triangular ? p.upper : p.transpose;
  const bool conjugated = p.positive && p.transpose;
  for (long first = rounds.first; first < p.batch * p.parts; first += rounds.step) {
    const long unit = first + rounds.group, index = p.parts > 1 ? unit / p.parts : unit,
               part = unit - index * p.parts;
    const bool mine = index < p.batch;
    System<V> s(tile, n, at);
    threadgroup int32_t* order = shared.order[at.simdgroup] + s.base;
    const RightHandSides<V> r(tile + system_numbers(n), p, index, part, mine);
    Span<V>::load(b.a, index * n * n, p.storage, mine ? n * n : 0, s.i, s.lanes,
                  Turned(n, s.stride, turned), tile);
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    read_rows(s, p.positive || p.triangular, p.positive, p.positive && p.upper, !p.triangular);
    if (p.triangular) {
      find_pivots(s, p.upper);
    } else {
      factor_rows(s, p.positive);
    }
    order[s.i] = s.row;
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    load_columns(r, s.i, s.lanes, b.b, order, conjugated);
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    if (p.triangular) {
      const bool forward = p.upper == p.transpose;
      substitute(s, forward, false, !forward, r.y, r.stride, r.width);
    } else {
      substitute(s, true, true, false, r.y, r.stride, r.width);
      substitute(s, false, false, false, r.y, r.stride, r.width);
    }
    order[s.i] = s.i;
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    if (mine && p.with_info && s.i == 0 && part == 0) b.info[index] = s.info;
    store_columns(r, s.i, s.lanes, b.x, order, conjugated, s.info != 0, s.shift);
    // What the next round writes before its barrier, nobody has read since the last.
  }
}

struct LuSolveBuffers {
  device const void* lu;
  device const int32_t* permutation;
  device const void* b;
  device void* x;
};

template <class V>
JAXINV_INLINE void lu_solve_simdgroup(LuSolveBuffers b, constant SolveParameters& p, Position at,
                                      threadgroup SystemShared<V>& shared) {
  const int n = p.n, each = systems_per_simdgroup(n);
  const SystemRounds rounds(n, at);
  threadgroup typename Memory<V>::type* tile =
      shared.pool + (at.simdgroup * each + rounds.group) * system_numbers(n, p.columns);
  for (long first = rounds.first; first < p.batch * p.parts; first += rounds.step) {
    const long unit = first + rounds.group, index = p.parts > 1 ? unit / p.parts : unit,
               part = unit - index * p.parts;
    const bool mine = index < p.batch;
    System<V> s(tile, n, at);
    threadgroup int32_t* order = shared.order[at.simdgroup] + s.base;
    const RightHandSides<V> r(tile + system_numbers(n), p, index, part, mine);
    Span<V>::load(b.lu, index * n * n, p.storage, mine ? n * n : 0, s.i, s.lanes, Rows(n, s.stride),
                  tile);
    const int row = mine && s.has_row() ? b.permutation[index * n + s.i] : s.i;
    order[s.i] = p.transpose ? s.i : row;
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    set_pivot(s, s.has_row() ? number(s.at(s.i)[s.i]) : V(1));
    load_columns(r, s.i, s.lanes, b.b, order, false);
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    substitute(s, true, !p.transpose, p.transpose, r.y, r.stride, r.width);
    substitute(s, false, p.transpose, p.transpose, r.y, r.stride, r.width);
    order[s.i] = p.transpose ? row : s.i;
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    store_columns(r, s.i, s.lanes, b.x, order, false, false, 0);
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
  }
}

}  // namespace metal
}  // namespace jaxinv
