// Algorithm: matrix −= factors · multiples, the product of all steps of a panel, for a batch of matrices, in the
// order of the steps.
// Lanes: a group of 128 threads per tile of 64 × 64 (complex64: 32 × 64), each with 8 × 4 (4 × 4) numbers in
// registers; factors and multiples come through threadgroup memory in slabs.
// n: any. dtypes: float32, complex64 in arithmetic. Memory: scratch, see metal/grid.h.
#pragma once

#include "metal/grid.h"

namespace jaxinv {
namespace metal {

template <class V>
struct GridUpdateShared {
  enum : int {
    kRows = grid_tile_rows(int(sizeof(V))),
    kColumns = grid_tile_columns(),
    kSlab = 16,        // steps
    kThreadsDown = 8,  // threads: 8 × 16
    kThreadsAcross = grid_update_threads() / kThreadsDown,
    kOwnRows = kRows / kThreadsDown,
    kOwnColumns = kColumns / kThreadsAcross
  };
  typename Memory<V>::type factors[kSlab][kRows];
  typename Memory<V>::type multiples[kSlab][kColumns];
};

// Numbers first … first + kLength − 1 of each of `steps` rows at `from`, of which there are `length`; zeros stand
// for the others.
template <int kSlab, int kLength, class M>
JAXINV_INLINE void load_slab(device const M* from, long stride, int first, int length, int steps,
                             Position at, threadgroup M (&to)[kSlab][kLength]) {
  for (int e = at.index; e < kSlab * kLength; e += grid_update_threads()) {
    const int d = e / kLength, i = e % kLength;
    const bool inside = d < steps && first + i < length;
    to[d][i] = inside ? from[d * stride + first + i] : M();
  }
}

// Groups along the rows of tiles, then along their columns, then along the batch.
template <class V>
JAXINV_INLINE void update_grid(InverseBuffers, device uchar* scratch, constant GridParameters& p,
                               Position at, threadgroup GridUpdateShared<V>& s) {
  typedef GridUpdateShared<V> Tile;
  const int n = p.inverse.n;
  const uint row_tiles = uint((n + Tile::kRows - 1) / Tile::kRows);
  const uint column_tiles = uint((p.column_end - p.column + Tile::kColumns - 1) / Tile::kColumns);
  const GridMatrix<V> m(scratch, p, at.group / (row_tiles * column_tiles));
  if (m.state[kInfo]) return;
  const long stride = p.stride;
  const int row = int(at.group % row_tiles) * Tile::kRows;
  const int column = p.column + int(at.group / row_tiles % column_tiles) * Tile::kColumns;
  // This thread's numbers: neighbouring rows, every sixteenth column.
  const int i0 = at.index / Tile::kThreadsAcross * Tile::kOwnRows;
  const int j0 = at.index % Tile::kThreadsAcross;
  V x[Tile::kOwnRows][Tile::kOwnColumns];
  JAXINV_UNROLL
  for (int r = 0; r < Tile::kOwnRows; ++r) {
    const int i = row + i0 + r;
    // Where a pivot row or a column of the panel stood, the product alone.
    const int order = i < n ? m.order[i] - p.k : p.first;
    const bool kept = order < p.first || order >= p.last;
    JAXINV_UNROLL
    for (int c = 0; c < Tile::kOwnColumns; ++c) {
      const int j = column + j0 + c * Tile::kThreadsAcross;
      const bool old = kept && j < p.column_end && (j < p.k || j >= p.own_end);
      x[r][c] = old ? number(m.matrix[i * stride + j]) : V(0);
    }
  }
  for (int d0 = p.first; d0 < p.last; d0 += Tile::kSlab) {
    load_slab(m.factors + d0 * stride, stride, row, n, p.last - d0, at, s.factors);
    load_slab(m.multiples + d0 * stride, stride, column, p.column_end, p.last - d0, at,
              s.multiples);
    ::metal::threadgroup_barrier(::metal::mem_flags::mem_threadgroup);
    for (int d = 0; d < Tile::kSlab; ++d) {
      V multiples[Tile::kOwnColumns];
      JAXINV_UNROLL
      for (int c = 0; c < Tile::kOwnColumns; ++c) {
        multiples[c] = number(s.multiples[d][j0 + c * Tile::kThreadsAcross]);
      }
      JAXINV_UNROLL
      for (int r = 0; r < Tile::kOwnRows; ++r) {
        const V factor = number(s.factors[d][i0 + r]);
        JAXINV_UNROLL
        for (int c = 0; c < Tile::kOwnColumns; ++c) {
          x[r][c] = scalar::fnma(factor, multiples[c], x[r][c]);
        }
      }
    }
    ::metal::threadgroup_barrier(::metal::mem_flags::mem_threadgroup);
  }
  JAXINV_UNROLL
  for (int r = 0; r < Tile::kOwnRows; ++r) {
    JAXINV_UNROLL
    for (int c = 0; c < Tile::kOwnColumns; ++c) {
      const int i = row + i0 + r, j = column + j0 + c * Tile::kThreadsAcross;
      if (i < n && j < p.column_end) m.matrix[i * stride + j] = memory(x[r][c]);
    }
  }
}

}  // namespace metal
}  // namespace jaxinv
