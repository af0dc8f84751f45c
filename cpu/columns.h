// Storage of the elimination by columns: a tile of columns for one matrix, and the ways between it and memory,
// which transpose and put rows and columns back in order.
#pragma once

#include "cpu/lanes.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

constexpr int kColumnPanel = 4;  // more steps at once save loads and stores, but cost registers

// State of the elimination of one matrix, in scratch memory.
template <class V>
struct ColumnElimination {
  using R = typename V::R;
  using Index = typename Types<V>::Index;
  static constexpr int W = V::W, P = V::kParts;
  int64_t n, vectors;  // vectors of a column
  R* tile;             // n columns
  R* factors;          // what each step of a panel subtracts of its pivot row, one column a step
  Index* taken;        // −1 for rows that had their step, and for those below the matrix
  Index* others;       // −1 for rows that are no pivot row of this panel
  Index* largest;      // one vector: magnitude of the factors so far, as bits
  R* pivots;           // pivot of each step
  int64_t* row;        // its row
  int64_t* step;       // the step of each row
  int64_t info;
  bool awkward;  // the reciprocal of a pivot or a factor is out of range: not for this kernel

  // Where number i of a column starts (its real part; the imaginary part W further).
  static int64_t at(int64_t i) { return P == 1 ? i : i / W * W * P + i % W; }
  static size_t bytes(int64_t n) {
    size_t vectors = (n + W - 1) / W;
    return sizeof(V) * (n + kColumnPanel) * vectors + sizeof(Index) * (2 * vectors + 1) +
           (sizeof(R) * P * n + 7) / 8 * 8 + sizeof(int64_t) * 2 * n;
  }
  ColumnElimination(int64_t n, void* scratch) : n(n), vectors((n + W - 1) / W) {
    tile = static_cast<R*>(scratch);
    factors = tile + n * vectors * W * P;
    taken = reinterpret_cast<Index*>(factors + kColumnPanel * vectors * W * P);
    others = taken + vectors;
    largest = others + vectors;
    row = reinterpret_cast<int64_t*>(largest + 1);
    step = row + n;
    pivots = reinterpret_cast<R*>(step + n);
  }
};

template <class V>
JAXINV_INLINE V broadcast_lane(const typename V::R* p) {
  using Real = typename Types<V>::Real;
  if constexpr (V::kParts == 2) {
    return {Real(p[0]), Real(p[V::W])};
  } else {
    return V(p[0]);
  }
}

// W numbers from or to memory, where parts of a complex number stand side by side.
template <class V>
JAXINV_INLINE V load_numbers(const typename V::R* p) {
  using Real = typename Types<V>::Real;
  if constexpr (V::kParts == 2) {
    typename Real::Raw low = Real::load(p).v, high = Real::load(p + V::W).v;
    return {Real(every_second<0>(low, high)), Real(every_second<1>(low, high))};
  } else {
    return V::load(p);
  }
}
template <class V>
JAXINV_INLINE void store_numbers(V x, typename V::R* p) {
  using Real = typename Types<V>::Real;
  if constexpr (V::kParts == 2) {
    Real(alternate<false>(x.re.v, x.im.v)).store(p);
    Real(alternate<true>(x.re.v, x.im.v)).store(p + V::W);
  } else {
    x.store(p);
  }
}

template <class V>
JAXINV_INLINE void transpose_numbers(V (&x)[V::W]) {
  using Raw = typename Types<V>::Real::Raw;
  Raw part[V::W];
  JAXINV_UNROLL
  for (int i = 0; i < V::W; ++i) part[i] = real_part(x[i]).v;
  transpose<V::W>(part);
  JAXINV_UNROLL
  for (int i = 0; i < V::W; ++i) real_part(x[i]).v = part[i];
  if constexpr (V::kParts == 2) {
    JAXINV_UNROLL
    for (int i = 0; i < V::W; ++i) part[i] = x[i].im.v;
    transpose<V::W>(part);
    JAXINV_UNROLL
    for (int i = 0; i < V::W; ++i) x[i].im.v = part[i];
  }
}

// The last row of an n × n matrix, where n < W: a whole vector would end behind the matrix.
template <class V>
JAXINV_INLINE V load_last_row(const typename V::R* a, int64_t n) {
  typename V::R buffer[2 * V::W * V::kParts] = {};
  V::load(a + (n * n - V::W) * V::kParts).store(buffer);  // a plain move, whatever the parts
  return load_numbers<V>(buffer + (V::W - n) * V::kParts);
}

// Reads the matrix into columns. Returns the bits of its largest |real|.
template <class V>
JAXINV_INLINE typename Types<V>::Real::I load_columns(const ColumnElimination<V>& e,
                                                      const typename V::R* a) {
  using Index = typename Types<V>::Index;
  using I = typename Types<V>::Real::I;
  constexpr int W = V::W, P = V::kParts;
  const int64_t n = e.n, stride = e.vectors * W * P;
  Index size(I(0));
  for (int64_t v = 0; v < e.vectors; ++v) {
    const int64_t rows = n - v * W < W ? n - v * W : W;
    for (int64_t j = 0;; j += W) {
      if (j && j + W > n) j = n - W;  // the last columns again, with those left
      const typename V::R* from = a + (v * W * n + j) * P;
      V x[W];
      if (n < W) {
        JAXINV_UNROLL
        for (int l = 0; l < W; ++l) {
          x[l] = l + 1 < n    ? load_numbers<V>(from + l * n * P)
                 : l + 1 == n ? load_last_row<V>(a, n)
                              : V(0);
        }
      } else if (rows < W) {
        JAXINV_UNROLL
        for (int l = 0; l < W; ++l) x[l] = l < rows ? load_numbers<V>(from + l * n * P) : V(0);
      } else {
        JAXINV_UNROLL
        for (int l = 0; l < W; ++l) x[l] = load_numbers<V>(from + l * n * P);
      }
      JAXINV_UNROLL
      for (int l = 0; l < W; ++l) size = larger_magnitude(size, x[l]);
      transpose_numbers(x);
      typename V::R* to = e.tile + j * stride + v * W * P;
      JAXINV_UNROLL
      for (int l = 0; l < W; ++l) {
        if (l < n) x[l].store(to + l * stride);
      }
      if (j + W >= n) break;
    }
  }
  return largest_lane(size).v[0];
}

// Writes the inverse: entry (k, c) stands in the row of step k, in the column of the step of row c.
template <class V>
JAXINV_INLINE void store_columns(const ColumnElimination<V>& e, typename V::R* dst) {
  constexpr int W = V::W, P = V::kParts;
  const int64_t n = e.n, stride = e.vectors * W * P;
  if (n < W) {
    V x[W], rows[W];
    JAXINV_UNROLL
    for (int l = 0; l < W; ++l) x[l] = V::load(e.tile + e.step[l < n ? l : 0] * stride);
    transpose_numbers(x);
    JAXINV_UNROLL
    for (int l = 0; l < W; ++l) rows[l] = x[l];
    // Rows in order, each over the end of the one before; the last two in one vector.
    typename V::R buffer[4 * W * P];
    for (int64_t k = 0; k + 1 < n; ++k) store_numbers(rows[e.row[k]], dst + k * n * P);
    store_numbers(rows[e.row[n - 2]], buffer);
    store_numbers(rows[e.row[n - 1]], buffer + n * P);
    V last = V::load(buffer + (2 * n - W) * P);
    last.store(dst + (n * n - W) * P);
    return;
  }
  for (int64_t v = 0; v < e.vectors; ++v) {
    const int64_t rows = n - v * W < W ? n - v * W : W;
    const int64_t* steps = e.step + v * W;
    for (int64_t j = 0;; j += W) {
      if (j + W > n) j = n - W;
      V x[W];
      JAXINV_UNROLL
      for (int l = 0; l < W; ++l) x[l] = V::load(e.tile + e.step[j + l] * stride + v * W * P);
      transpose_numbers(x);
      if (rows == W) {
        JAXINV_UNROLL
        for (int l = 0; l < W; ++l) store_numbers(x[l], dst + (steps[l] * n + j) * P);
      } else {
        JAXINV_UNROLL
        for (int l = 0; l < W; ++l) {
          if (l < rows) store_numbers(x[l], dst + (steps[l] * n + j) * P);
        }
      }
      if (j + W >= n) break;
    }
  }
}

template <class V>
void scale_columns(const ColumnElimination<V>& e, typename V::R power) {
  for (int64_t i = 0; i < e.n * e.vectors * V::W * V::kParts; ++i) e.tile[i] *= power;
}

// Whether the permutation that took row[k] at step k is odd: by its cycles. `step`, its inverse, is used up.
inline bool odd_permutation(int64_t n, const int64_t* row, int64_t* step) {
  bool odd = false;
  for (int64_t k = 0; k < n; ++k) {
    for (int64_t i = k; step[i] >= 0;) {
      step[i] = -1;
      i = row[i];
      odd ^= i != k;
    }
  }
  return odd;
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
