// Algorithm: Gauss-Jordan with partial pivoting. Few rows: cpu/inverse_unrolled.h; complex matrices of
// more: a tile of n × n vectors with implicit pivoting (rows never move, a lane mask says which row
// is the pivot; one permutation at the store).
// Lanes: one matrix each.
// n: up to inverse_lanes_max. dtypes: all; half types are computed in float32.
// Memory: the tile, n² vectors (14 KB at n = 15 with 8 complex64 lanes), and one group for staging.
#pragma once

#include "cpu/determinant.h"
#include "cpu/inverse_unrolled.h"
#include "cpu/lanes.h"
#include "cpu/range.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// State of an elimination on a tile; arrays of n, in scratch memory.
template <class V>
struct Elimination {
  using Index = typename V::Index;
  V* tile;           // n × n
  V* row;            // the pivot row of this step
  V* next;           // the pivot row of the next step
  V* factor;         // what each row subtracts of the pivot row
  V* pivots;         // pivot of each step
  Index* pivot_row;  // row chosen at each step
  Index* step_of;    // step at which each row was chosen, −1 before
  Index info;
};

// Chooses the pivot of column j among the unused rows; value(i) gives the column's current entry.
template <class V, class Value>
JAXINV_INLINE typename V::Index find_pivot(int n, const typename V::Index* step_of, Value&& value) {
  using Index = typename V::Index;
  using Real = typename Types<V>::Real;
  using I = typename Real::I;
  Real best(typename Real::R(-1));
  Index row(I(0));
  for (int i = 0; i < n; ++i) {
    Real key = select(step_of[i] > Index(I(-1)), Real(typename Real::R(-1)), pivot_key(value(i)));
    Index larger = key > best;
    best = select(larger, key, best);
    row = select(larger, Index(I(i)), row);
  }
  return row;
}

// One pass over kColumns columns from j: subtracts the pivot row from every row and, on the way,
// lifts the next pivot row out of the tile (it comes back, scaled, as the update of a row of
// zeros).
template <int kColumns, class V>
JAXINV_INLINE void update_columns(int n, int j, bool last, typename V::Index next_row,
                                  const Elimination<V>& e) {
  using Index = typename V::Index;
  using I = typename Types<V>::Real::I;
  V* __restrict a = e.tile + j;
  const V* __restrict factors = e.factor;
  V row[kColumns], next[kColumns];
  JAXINV_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    row[c] = e.row[j + c];
    next[c] = row[c];
  }
  if (last) {
    for (int i = 0; i < n; ++i, a += n) {
      V factor = factors[i];
      JAXINV_UNROLL
      for (int c = 0; c < kColumns; ++c) a[c] = fnma(factor, row[c], a[c]);
    }
    return;
  }
  Index index(I(0));
  for (int i = 0; i < n; ++i, a += n, index = index + Index(I(1))) {
    V factor = factors[i];
    Index here = next_row == index;
    JAXINV_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      V x = fnma(factor, row[c], a[c]);
      next[c] = select(here, x, next[c]);
      a[c] = select(here, V(0), x);
    }
  }
  JAXINV_UNROLL
  for (int c = 0; c < kColumns; ++c) e.next[j + c] = next[c];
}

template <class V>
void eliminate(int n, Elimination<V>& state) {
  using Index = typename V::Index;
  using Real = typename Types<V>::Real;
  using I = typename Real::I;
  Elimination<V> e = state;  // pointers in registers: stores to the tile could alias the caller's
  constexpr int kColumns = V::kParts == 2 ? 2 : 4;
  e.info = Index(I(0));
  for (int i = 0; i < n; ++i) e.step_of[i] = Index(I(-1));
  Index row = find_pivot<V>(n, e.step_of, [&](int i) { return e.tile[i * n]; });
  for (int j = 0; j < n; ++j) e.row[j] = V(0);
  for (int i = 0; i < n; ++i) {
    Index here = row == Index(I(i));
    for (int j = 0; j < n; ++j) {
      V x = e.tile[i * n + j];
      e.row[j] = select(here, x, e.row[j]);
      e.tile[i * n + j] = select(here, V(0), x);
    }
  }
  for (int k = 0; k < n; ++k) {
    V pivot = e.row[k];
    e.pivots[k] = pivot;
    e.pivot_row[k] = row;
    e.info = select(bad_pivot(pivot) & (e.info == Index(I(0))), Index(I(k + 1)), e.info);
    // Dividing by way of an exact power of two: a denormal pivot must not make 0 · inf.
    Real scale = pivot_scale(pivot);
    V inverse = reciprocal(pivot * scale);
    e.row[k] = V(1);
    for (int j = 0; j < n; ++j) e.row[j] = (e.row[j] * scale) * inverse;
    for (int i = 0; i < n; ++i) {
      Index here = row == Index(I(i));
      e.factor[i] = select(here, V(-1), e.tile[i * n + k]);
      e.step_of[i] = select(here, Index(I(k)), e.step_of[i]);
      e.tile[i * n + k] = V(0);
    }
    bool last = k + 1 == n;
    if (!last) {
      row = find_pivot<V>(n, e.step_of, [&](int i) {
        return fnma(e.factor[i], e.row[k + 1], e.tile[i * n + k + 1]);
      });
    }
    int j = 0;
    for (; j + kColumns <= n; j += kColumns) update_columns<kColumns>(n, j, last, row, e);
    for (; j < n; ++j) update_columns<1>(n, j, last, row, e);
    V* swap = e.row;
    e.row = e.next;
    e.next = swap;
  }
  state.info = e.info;
}

// Writes each lane's matrix to dst, rows and columns put back in order; NaN where info says so.
template <class V>
JAXINV_INLINE void store_permuted(int n, const Elimination<V>& e, typename V::R* dst) {
  using R = typename V::R;
  constexpr int kParts = V::kParts;
  const R* tile = reinterpret_cast<const R*>(e.tile);
  for (int lane = 0; lane < V::W; ++lane) {
    R* out = dst + int64_t(lane) * n * n * kParts;
    if (e.info.v[lane]) {
      for (int i = 0; i < n * n * kParts; ++i) out[i] = R(__builtin_nan(""));
      continue;
    }
    // Column c of the inverse stands where the step that chose row c put it.
    constexpr int kMax = inverse_lanes_max(DType::kC64);
    int64_t place[kMax], row[kMax];
    for (int i = 0; i < n; ++i) {
      int64_t step = e.step_of[i].v[lane];
      place[i] = step * V::W * kParts;
      row[step] = i;
    }
    for (int k = 0; k < n; ++k) {
      const R* from = tile + row[k] * n * V::W * kParts + lane;
      for (int c = 0; c < n; ++c, out += kParts) {
        out[0] = from[place[c]];
        if constexpr (kParts == 2) out[1] = from[place[c] + V::W];
      }
    }
  }
}

// Whether the permutation that took row pivot_row[k] at step k is odd, per lane.
template <class Index>
JAXINV_INLINE Index odd_permutation(int n, const Index* pivot_row) {
  Index odd = pivot_row[0] ^ pivot_row[0];
  for (int k = 0; k < n; ++k) {
    for (int l = k + 1; l < n; ++l) odd = odd ^ (pivot_row[k] > pivot_row[l]);
  }
  return odd;
}

template <class S>
void inverse_tiled(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  using R = typename Storage<S>::R;
  constexpr int kParts = Storage<S>::kParts;
  constexpr int W = kVectorBytes / int(sizeof(R));
  using V = Value<R, W, kParts>;
  using Index = typename V::Index;
  int n = int(p.n);
  int64_t reals = p.n * p.n * kParts;
  Elimination<V> e;
  e.tile = static_cast<V*>(scratch);
  e.row = e.tile + n * n;
  e.next = e.row + n;
  e.factor = e.next + n;
  e.pivots = e.factor + n;
  e.pivot_row = reinterpret_cast<Index*>(e.pivots + n);
  e.step_of = e.pivot_row + n;
  R* staging = reinterpret_cast<R*>(e.step_of + n);
  for (int64_t index = begin; index < end; index += W) {
    const R* a = group_in<S, W>(p.a, index, end, reals, staging);
    R* tile = reinterpret_cast<R*>(e.tile);
    load_lanes<R, W>(a, reals, tile);
    const LaneRange<R, W> range(tile, reals);
    range.apply(tile, reals);
    eliminate(n, e);
    range.apply(tile, reals);
    if (p.info || p.mantissa) {
      Index odd = odd_permutation(n, e.pivot_row);
      store_group_by_products<V>(p, index, end - index < W ? end - index : W, a, e.pivots, e.info,
                                 odd, range.shift);
    }
    R* x = group_out<S, W>(p.x, index, end, reals, staging);
    store_permuted(n, e, x);
    group_done<S, W>(p.x, index, end, reals, x);
  }
}

// Bytes of scratch for one worker.
template <class S>
size_t inverse_lanes_scratch(int64_t n) {
  using R = typename Storage<S>::R;
  constexpr int W = kVectorBytes / int(sizeof(R));
  size_t number = sizeof(R) * W * Storage<S>::kParts;
  size_t tiled = (2 * n * n + 4 * n) * number + 2 * n * sizeof(R) * W;
  size_t unrolled = inverse_unrolled_scratch<S>(n);
  return tiled > unrolled ? tiled : unrolled;
}

// Unrolled from N down to 1, tiled above.
template <class S, int N>
void inverse_up_to(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  if constexpr (N > 0) {
    if (p.n == N) return inverse_unrolled<S, N>(p, begin, end, scratch);
    return inverse_up_to<S, N - 1>(p, begin, end, scratch);
  } else if constexpr (Storage<S>::kParts == 2) {
    return inverse_tiled<S>(p, begin, end, scratch);
  }
}

template <class S>
void inverse_lanes(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  inverse_up_to<S, Storage<S>::kParts == 2 ? 3 : inverse_lanes_max(DType::kF32)>(p, begin, end,
                                                                                 scratch);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
