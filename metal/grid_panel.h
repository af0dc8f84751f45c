// Algorithm: the panel of the grid range: pivot search and single steps over a few columns and all rows of one
// matrix, then its pivot rows brought to their own steps over all columns. Pivoting is implicit: rows never move, a
// step marks its row. What a step subtracts of its scaled pivot row stays as the panel's factors (docs/adr/0002).
// Lanes: a group of threads per panel, a thread for every 512th row; in the pivot rows a thread per column.
// n: any. dtypes: float32, complex64 in arithmetic. Memory: scratch, see metal/grid.h.
#pragma once

#include "metal/grid.h"

namespace jaxinv {
namespace metal {

template <class V>
struct GridPanelShared {
  int32_t keys[32];
  int32_t rows[32];
  typename Memory<V>::type multiples[grid_width()];
  int32_t pivot_rows[grid_width()];
};

// The largest key among the threads' best rows, lowest row first; every thread gets the row.
template <class V>
JAXINV_INLINE int best_row(threadgroup GridPanelShared<V>& s, Position at, int key, int row) {
  const int none = 0x7fffffff;
  int top = ::metal::simd_max(key);
  row = ::metal::simd_min(key == top ? row : none);
  if (at.lane == 0) {
    s.keys[at.simdgroup] = top;
    s.rows[at.simdgroup] = row;
  }
  // What the rows' owners have left in the scratch, others read now.
  ::metal::threadgroup_barrier(::metal::mem_flags::mem_threadgroup |
                               ::metal::mem_flags::mem_device);
  const bool inside = at.lane < at.threads / simdgroup_lanes();
  key = inside ? s.keys[at.lane] : -1;
  top = ::metal::simd_max(key);
  return ::metal::simd_min(inside && key == top ? s.rows[at.lane] : none);
}

// Steps k + first … k + last − 1.
template <class V>
JAXINV_INLINE void panel_grid(InverseBuffers, device uchar* scratch, constant GridParameters& p,
                              Position at, threadgroup GridPanelShared<V>& s) {
  typedef typename Memory<V>::type M;
  const GridMatrix<V> m(scratch, p, at.group);
  if (m.state[kInfo]) return;
  const int n = p.inverse.n, start = p.k + p.first, width = p.last - p.first;
  const long stride = p.stride;
  device M* panel = m.factors + p.first * stride;
  for (int i = at.index; i < n; i += at.threads) {
    for (int c = 0; c < width; ++c) panel[c * stride + i] = m.matrix[i * stride + start + c];
  }
  for (int c = 0; c < width; ++c) {
    device M* column = panel + c * stride;
    int best = -1, row = 0;
    for (int i = at.index; i < n; i += at.threads) {
      const int key = m.order[i] < 0 ? key_bits(number(column[i])) : -1;
      row = key > best ? i : row;
      best = ::metal::max(key, best);
    }
    row = best_row(s, at, best, row);
    const V pivot = number(column[row]);
    if (at.index == 0) {
      m.pivots[start + c] = memory(pivot);
      m.pivot_rows[start + c] = s.pivot_rows[c] = row;
    }
    if (scalar::bad_pivot(pivot)) {
      if (at.index == 0) m.state[kInfo] = start + c + 1;
      return;
    }
    const Division<V> divided(pivot);
    if (at.index < width - c) {
      s.multiples[at.index] = memory(divided.of(number(column[at.index * stride + row])));
    }
    ::metal::threadgroup_barrier(::metal::mem_flags::mem_threadgroup |
                                 ::metal::mem_flags::mem_device);
    for (int i = at.index; i < n; i += at.threads) {
      const bool own = i == row;  // becomes the multiple: 0 − (−1) · multiple
      const V factor = own ? V(-1) : number(column[i]);
      if (own) {
        column[i] = memory(factor);
        m.order[i] = start + c;
      }
      for (int j = 1; j < width - c; ++j) {
        const V x = own ? V(0) : number(column[j * stride + i]);
        column[j * stride + i] = memory(scalar::fnma(factor, number(s.multiples[j]), x));
      }
    }
  }
  // Takes the factors of the pivot rows apart: those of earlier steps go to `lower`, for a row to be brought to its
  // own step; what stays finishes it from there. None of them has changed since the last barrier.
  for (int c = at.simdgroup; c < width; c += at.threads / simdgroup_lanes()) {
    for (int d = at.lane; d < p.first + c; d += simdgroup_lanes()) {
      device M& factor = m.factors[d * stride + s.pivot_rows[c]];
      m.lower[d * grid_most_steps() + p.first + c] = factor;
      factor = memory(V(0));
    }
  }
}

struct Nothing {
  int32_t unused;
};

// The multiples of these steps; groups along the columns, then along the batch.
template <class V>
JAXINV_INLINE void pivot_rows_grid(InverseBuffers, device uchar* scratch,
                                   constant GridParameters& p, Position at, threadgroup Nothing&) {
  const int groups = (p.column_end - p.column + at.threads - 1) / at.threads;
  const GridMatrix<V> m(scratch, p, at.group / uint(groups));
  const int j = p.column + int(at.group % uint(groups)) * at.threads + at.index;
  if (m.state[kInfo] || j >= p.column_end) return;
  const long stride = p.stride;
  device typename Memory<V>::type* multiples = m.multiples + j;
  // The step that a column of the inverse starts with: it takes the place of that step's own column.
  const int start = j >= p.k && j < p.own_end ? j - p.k : -1;
  for (int c = p.first; c < p.last; ++c) {
    V y = start >= 0 ? V(float(start == c)) : number(m.matrix[m.pivot_rows[p.k + c] * stride + j]);
    for (int d = start > p.first ? start : p.first; d < c; ++d) {
      y = scalar::fnma(number(m.lower[d * grid_most_steps() + c]), number(multiples[d * stride]),
                       y);
    }
    multiples[c * stride] = memory(Division<V>(number(m.pivots[p.k + c])).of(y));
  }
}

}  // namespace metal
}  // namespace jaxinv
