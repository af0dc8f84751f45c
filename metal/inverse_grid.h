// Algorithm: blocked in-place Gauss-Jordan with partial pivoting over a batch, a fixed sequence of runs for each n:
// panels of 16 columns (metal/grid_panel.h) until 64 steps are done, each applied to the rest of these columns; then
// all to the whole matrix by register-tiled products (metal/grid_update.h).
// Lanes: a group of threads per panel; a group per tile in the products, many groups per matrix.
// n: above inverse_threadgroup_max. dtypes: float32, float16, bfloat16, complex64.
// Memory: scratch holds the matrix, factors and multiples; a and x are touched once.
#pragma once

#include "metal/grid_panel.h"
#include "metal/grid_update.h"

namespace jaxinv {
namespace metal {

JAXINV_INLINE int grid_chunks(int n) { return (n + grid_chunk() - 1) / grid_chunk(); }

// Brings a matrix into its scratch, a group per chunk of rows.
template <class V>
JAXINV_INLINE void load_grid(InverseBuffers b, device uchar* scratch, constant GridParameters& p,
                             Position at, threadgroup GroupShared& s) {
  const int n = p.inverse.n, chunks = grid_chunks(n);
  const long index = at.group / uint(chunks);
  const int chunk = int(at.group % uint(chunks)), first = chunk * grid_chunk();
  const int rows = ::metal::min(grid_chunk(), n - first);
  const GridMatrix<V> m(scratch, p, index);
  device typename Memory<V>::type* matrix = m.matrix + long(first) * p.stride;
  const Rows place(n, p.stride);
  Span<V>::load(b.a, (index * n + first) * n, p.inverse.storage, rows * n, at.index, at.threads,
                place, matrix);
  int size = 0;
  bool finite = true;
  for (int e = at.index; e < rows * n; e += at.threads) {  // those that this thread has brought
    const V x = number(matrix[place(e)]);
    size = ::metal::max(size, size_bits(x));
    finite = finite && is_finite(x);
  }
  if (at.index < rows) m.order[first + at.index] = -1;
  size = group_size(s, at, size, finite);
  if (at.index == 0) {
    m.sizes[chunk] = size;
    m.finite[chunk] = finite;
  }
}

// Multiplies the matrices that are too large or too small by a power of two, in the same groups.
template <class V>
JAXINV_INLINE void scale_grid(InverseBuffers, device uchar* scratch, constant GridParameters& p,
                              Position at, threadgroup GroupShared& s) {
  const int n = p.inverse.n, chunks = grid_chunks(n), chunk = int(at.group % uint(chunks));
  const GridMatrix<V> m(scratch, p, at.group / uint(chunks));
  int size = 0;
  bool finite = true;
  for (int c = at.index; c < chunks; c += at.threads) {
    size = ::metal::max(size, m.sizes[c]);
    finite = finite && m.finite[c] != 0;
  }
  size = group_size(s, at, size, finite);
  const int shift = range_shift(size);
  if (chunk == 0 && at.index == 0) {
    m.state[kInfo] = 0;
    m.state[kShift] = shift;
    m.state[kFinite] = finite;
  }
  if (!shift) return;
  const int first = chunk * grid_chunk(), rows = ::metal::min(grid_chunk(), n - first);
  device typename Memory<V>::type* matrix = m.matrix + long(first) * p.stride;
  const Rows place(n, p.stride);
  for (int e = at.index; e < rows * n; e += at.threads) {
    matrix[place(e)] = memory(scaled_in(number(matrix[place(e)]), shift));
  }
}

// Where the columns of the inverse stand.
struct Gather {
  device const int32_t* order;
  JAXINV_INLINE int operator()(int e) const { return order[e]; }
};

// Writes the inverse, rows and columns put in order, a row per simdgroup; the first group writes the determinant.
template <class V>
JAXINV_INLINE void store_grid(InverseBuffers b, device uchar* scratch, constant GridParameters& p,
                              Position at, threadgroup GroupShared& s) {
  const int n = p.inverse.n, lanes = simdgroup_lanes(), rows = at.threads / lanes;
  const uint groups = uint((n + rows - 1) / rows);
  const long index = at.group / groups;
  const int chunk = int(at.group % groups), i = chunk * rows + at.simdgroup;
  const GridMatrix<V> m(scratch, p, index);
  const int info = m.state[kInfo], shift = m.state[kShift];
  if (i < n) {
    const int row = info ? 0 : m.pivot_rows[i];
    const long offset = (index * n + i) * n;
    if (info) {
      Span<V>::store(b.x, offset, p.inverse.storage, n, at.lane, lanes, InPlace(), m.matrix, true,
                     0);
    } else {
      const Gather place = {m.order};
      Span<V>::store(b.x, offset, p.inverse.storage, n, at.lane, lanes, place,
                     m.matrix + long(row) * p.stride, false, shift);
    }
  }
  if (chunk != 0) return;
  if (p.inverse.with_info && at.index == 0) b.info[index] = info;
  if (!p.inverse.with_determinant) return;
  const bool odd = !info && is_odd(s, at, m.pivot_rows, n);
  if (at.simdgroup != 0) return;
  V mantissa = V(1);
  int exponent = 0;
  for (int k = at.lane; k < n && !info; k += lanes) {
    multiply(mantissa, exponent, number(m.pivots[k]), 0);
  }
  group_multiply(simdgroup_lanes(), mantissa, exponent);
  if (at.lane != 0) return;
  store_determinant(b, index, scalar::select(odd, -mantissa, mantissa), exponent, shift, n, info,
                    info && is_zero(number(m.pivots[info - 1])), m.state[kFinite] != 0);
}

}  // namespace metal
}  // namespace jaxinv
