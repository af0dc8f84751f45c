// Algorithm: LU with partial pivoting. Rows never move: each lane keeps the place of every row, the pivot row
// is collected by selects. Right-hand sides are eliminated beside the matrix.
// Lanes: one matrix each.
// n: up to kLuLanesMax. dtypes: those that arithmetic is done in.
// Memory: the tile of n² vectors, the same for the rows of U in order, and one group for staging.
#pragma once

#include "cpu/determinant.h"
#include "cpu/lanes.h"
#include "cpu/lu_unrolled.h"
#include "cpu/range.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// State of a factorisation in lanes; arrays in scratch memory. Entry (i, j) of the matrix stands at
// tile[i · row_stride + j · column_stride]: the transposed matrix is another way to read it.
template <class V>
struct LaneLu {
  using Index = typename V::Index;
  using Real = typename Types<V>::Real;
  V* tile;       // n × n; below, in place, the multipliers of each row
  V* right;      // n × columns right-hand sides
  V* upper;      // n × n: row k of U, from its diagonal on
  V* y;          // n × columns: the right-hand sides of those rows
  V* factor;     // multiplier of each row in this step
  V* pivots;     // n
  V* inverses;   // 1 / (pivot · scale)
  Real* scales;  // a power of two for each pivot
  Index* place;  // where each row stands: k for the pivot row of step k
  Index info;    // first (1-based) bad step or 0
  int64_t row_stride, column_stride;

  static size_t vectors(int64_t n, int64_t columns) {
    return V::kParts * (2 * n * (n + columns) + 3 * n) + 2 * n;
  }
  LaneLu(void* scratch, int64_t n, int64_t columns, bool transpose) {
    tile = static_cast<V*>(scratch);
    right = tile + n * n;
    upper = right + n * columns;
    y = upper + n * n;
    factor = y + n * columns;
    pivots = factor + n;
    inverses = pivots + n;
    scales = reinterpret_cast<Real*>(inverses + n);
    place = reinterpret_cast<Index*>(scales + n);
    row_stride = transpose ? 1 : n;
    column_stride = transpose ? n : 1;
  }
};

// kColumns columns from x: collects their entries of the pivot row, then subtracts the multiples of that from
// all rows.
template <int kColumns, class V>
JAXINV_INLINE void eliminate_entries(int n, const V* factor, const typename V::Index* hot, V* x,
                                     int64_t row_stride, int64_t column_stride, V* rows) {
  V row[kColumns];
  JAXINV_UNROLL
  for (int c = 0; c < kColumns; ++c) row[c] = V(0);
  for (int i = 0; i < n; ++i) {
    const auto here = hot[i];
    JAXINV_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      row[c] = select(here, x[i * row_stride + c * column_stride], row[c]);
    }
  }
  for (int i = 0; i < n; ++i) {
    const V multiplier = factor[i];
    JAXINV_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      V& entry = x[i * row_stride + c * column_stride];
      entry = fnma(multiplier, row[c], entry);
    }
  }
  JAXINV_UNROLL
  for (int c = 0; c < kColumns; ++c) rows[c] = row[c];
}

template <class V>
JAXINV_INLINE void eliminate_between(int n, const V* factor, const typename V::Index* hot, V* x,
                                     int64_t row_stride, int64_t column_stride, int64_t count,
                                     V* rows) {
  constexpr int kColumns = V::kParts == 2 ? 2 : 4;
  int64_t j = 0;
  for (; j + kColumns <= count; j += kColumns) {
    eliminate_entries<kColumns>(n, factor, hot, x + j * column_stride, row_stride, column_stride,
                                rows + j);
  }
  for (; j < count; ++j) {
    eliminate_entries<1>(n, factor, hot, x + j * column_stride, row_stride, column_stride,
                         rows + j);
  }
}

// Factors the tile and eliminates the right-hand sides.
template <class V>
void factor_lanes(int n, int64_t columns, LaneLu<V>& state) {
  using Index = typename V::Index;
  using Real = typename Types<V>::Real;
  using R = typename Real::R;
  using I = typename Real::I;
  const LaneLu<V> e = state;  // pointers in registers: stores to the tile could alias the caller's
  const int64_t rs = e.row_stride, cs = e.column_stride;
  Index info(I(0)), hot[kLuLanesMax];
  for (int i = 0; i < n; ++i) e.place[i] = Index(I(i));
  for (int k = 0; k < n; ++k) {
    V* column = e.tile + k * cs;
    // NaN counts as the largest; ties take the lowest row as rows stand.
    Real best(R(-1));
    Index at{I(n)};
    for (int i = 0; i < n; ++i) {
      const Real key = select(e.place[i] > Index(I(k - 1)), pivot_key(column[i * rs]), Real(R(-1)));
      const Index larger = (key > best) | ((key == best) & (at > e.place[i]));
      best = select(larger, key, best);
      at = select(larger, e.place[i], at);
    }
    V pivot(0);
    for (int i = 0; i < n; ++i) {
      hot[i] = e.place[i] == at;
      e.place[i] = select(hot[i], Index(I(k)), select(e.place[i] == Index(I(k)), at, e.place[i]));
      pivot = select(hot[i], column[i * rs], pivot);
    }
    info = select(bad_pivot(pivot) & (info == Index(I(0))), Index(I(k + 1)), info);
    // Dividing by way of an exact power of two: a denormal pivot must not make 0 · inf.
    const Real scale = pivot_scale(pivot);
    const V inverse = reciprocal(pivot * scale);
    e.pivots[k] = e.upper[k * n + k] = pivot;
    e.scales[k] = scale;
    e.inverses[k] = inverse;
    for (int i = 0; i < n; ++i) {
      const Index below = e.place[i] > Index(I(k));
      const V x = column[i * rs], multiplier = (x * scale) * inverse;
      e.factor[i] = keep(below, multiplier);
      column[i * rs] = select(below, multiplier, x);
    }
    eliminate_between(n, e.factor, hot, e.tile + (k + 1) * cs, rs, cs, n - k - 1,
                      e.upper + k * n + k + 1);
    eliminate_between(n, e.factor, hot, e.right, columns, 1, columns, e.y + k * columns);
  }
  state.info = info;
}

// y ← U⁻¹ y
template <class V>
void substitute_lanes(int n, int64_t columns, const LaneLu<V>& e) {
  for (int64_t c = 0; c < columns; ++c) {
    for (int k = n - 1; k >= 0; --k) {
      const V x = (e.y[k * columns + c] * e.scales[k]) * e.inverses[k];
      e.y[k * columns + c] = x;
      for (int i = 0; i < k; ++i) {
        e.y[i * columns + c] = fnma(e.upper[i * n + k], x, e.y[i * columns + c]);
      }
    }
  }
}

// Writes the factors of each lane, rows in order, and the order.
template <class S, class V>
void store_factors(const LuProblem& p, int64_t index, int64_t count, const LaneLu<V>& e) {
  using R = typename V::R;
  constexpr int P = V::kParts;
  const int64_t n = p.n;
  const R* tile = reinterpret_cast<const R*>(e.tile);
  for (int lane = 0; lane < V::W; ++lane) {
    const int64_t matrix = matrix_of_lane<R, V::W>(lane, n * n * P);
    if (matrix >= count) continue;
    R* lu = static_cast<R*>(p.lu) + (index + matrix) * n * n * P;
    int32_t* permutation = p.permutation + (index + matrix) * n;
    if (e.info.v[lane]) fill_nan(reinterpret_cast<S*>(lu), n * n);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t k = e.place[i].v[lane];
      permutation[k] = int32_t(i);
      if (e.info.v[lane]) continue;
      const R* from = tile + i * n * V::W * P + lane;
      R* to = lu + k * n * P;
      for (int64_t j = 0; j < n * P; ++j) to[j] = from[j * V::W];
    }
  }
}

// Whether the permutation that brought each row to its place is odd, per lane.
template <class Index>
JAXINV_INLINE Index odd_places(int64_t n, const Index* place) {
  Index odd = place[0] ^ place[0];
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t l = i + 1; l < n; ++l) odd = odd ^ (place[i] > place[l]);
  }
  return odd;
}

template <class S>
void lu_tiled(const LuProblem& p, int64_t begin, int64_t end, void* scratch) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts, W = kVectorBytes / int(sizeof(R));
  using V = Value<R, W, P>;
  using Index = typename V::Index;
  const int64_t n = p.n, reals = n * n * P;
  LaneLu<V> e(scratch, n, 0, false);
  R* staging = static_cast<R*>(scratch) + LaneLu<V>::vectors(n, 0) * W;
  for (int64_t index = begin; index < end; index += W) {
    const int64_t count = end - index < W ? end - index : W;
    const R* a = group_in<S, W>(p.a, index, end, reals, staging);
    R* tile = reinterpret_cast<R*>(e.tile);
    load_lanes<R, W>(a, reals, tile);
    Index shift{typename Types<V>::Real::I(0)};
    if (!p.lu) {
      const LaneRange<R, W> range(tile, reals);
      range.apply(tile, reals);
      shift = range.shift;
    }
    factor_lanes(int(n), 0, e);
    store_group_by_products<V>(p, index, count, a, e.pivots, e.info, odd_places(n, e.place), shift);
    if (p.lu) store_factors<S>(p, index, count, e);
  }
}

// Determinants without factors are unrolled from N down to 1.
template <class S, int N = kLuUnrolledMax>
void lu_lanes(const LuProblem& p, int64_t begin, int64_t end, void* scratch) {
  if constexpr (N == 0) {
    return lu_tiled<S>(p, begin, end, scratch);
  } else {
    if (p.n == N && !p.lu) return determinant_unrolled<S, N>(p, begin, end, scratch);
    return lu_lanes<S, N - 1>(p, begin, end, scratch);
  }
}

// Bytes of scratch for one worker.
template <class S>
size_t lu_lanes_scratch(int64_t n) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts, W = kVectorBytes / int(sizeof(R));
  return (LaneLu<Value<R, W, P>>::vectors(n, 0) + n * n * P) * W * sizeof(R);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
