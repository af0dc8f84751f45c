// Algorithm: in-place Gauss-Jordan, partial pivoting, no branch on data; rows are swapped by select as the
// pivot is found, columns swapped back at the end. The columns take their steps one after another (left-looking).
// Lanes: V is a scalar (one matrix: a GPU thread) or a SIMD vector (one matrix per lane).
// n: template parameter, up to about 8. dtypes: whatever core/scalar.h or cpu/simd.h define.
// Memory: registers, as far as they go.
#pragma once

#include "core/scalar.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// What the body does about pivots near the ends of the floating-point range.
enum class Pivots {
  kUsual,    // nothing: `info` is not 0 where a pivot is too small for that, zero or NaN
  kGuarded,  // divides by way of an exact power of two; `info`: the first (1-based) bad step or 0
};

// What a pivot row is multiplied by.
template <Pivots kPivots, class V>
struct PivotInverse;

#ifndef __METAL_VERSION__
template <class V>
struct PivotInverse<Pivots::kUsual, V> {
  using Real = typename Types<V>::Real;
  using Index = typename Types<V>::Index;
  V inverse;

  // What the search for a pivot compares. Unusual matrices are done again: which pivot they get does not matter.
  static JAXINV_INLINE Real key(V x) { return magnitude(x); }
  // Of the pivot of step k, whose key is `best`.
  JAXINV_INLINE void of(V pivot, Real best, int k, Index& info) {
    inverse = reciprocal(pivot);
    info = select(best > Real(kUsualPivot<Real>), info, Index(k + 1));
  }
  JAXINV_INLINE V times(V x) const { return x * inverse; }
};
#endif

template <class V>
struct PivotInverse<Pivots::kGuarded, V> {
  using Real = typename Types<V>::Real;
  using Index = typename Types<V>::Index;
  V inverse;
  Real scale;

  static JAXINV_INLINE Real key(V x) { return pivot_key(x); }
  // `scale`: a denormal pivot must not make 0 · inf.
  JAXINV_INLINE void of(V pivot, Real, int k, JAXINV_THREAD Index& info) {
    scale = pivot_scale(pivot);
    info = select(bad_pivot(pivot) & (info == Index(0)), Index(k + 1), info);
    inverse = reciprocal(pivot * scale);
  }
  JAXINV_INLINE V times(V x) const { return (x * scale) * inverse; }
};

// The steps of one matrix. A column gets all before its own at once, then its own, and when all pivots are found those
// behind it: it is loaded and stored twice, not with every step. Step k finds its factors in column k.
template <int N, Pivots kPivots, class V>
struct SmallElimination {
  using Real = typename Types<V>::Real;
  using Index = typename Types<V>::Index;
  using Mask = typename Types<V>::Mask;
  using Inverse = PivotInverse<kPivots, V>;

  Inverse inverse[N];

  // Exchanges row k of column j with that of the pivot.
  static JAXINV_INLINE void exchange(JAXINV_THREAD V (&x)[N][N], Index row, int k, int j) {
    V own = x[k][j];
    V top = own;
    JAXINV_UNROLL
    for (int i = k + 1; i < N; ++i) {
      Mask here = row == Index(i);
      V other = x[i][j];
      top = select(here, other, top);
      x[i][j] = select(here, own, other);
    }
    x[k][j] = top;
  }
  // Finds the pivot of step k, whose row it returns.
  JAXINV_INLINE Index find(JAXINV_THREAD V (&x)[N][N], int k, JAXINV_THREAD Index& info) {
    Real best = Inverse::key(x[k][k]);
    Index row = Index(k);
    JAXINV_UNROLL
    for (int i = k + 1; i < N; ++i) {
      Real key = Inverse::key(x[i][k]);
      Mask larger = key > best;
      best = select(larger, key, best);
      row = select(larger, Index(i), row);
    }
    exchange(x, row, k, k);
    inverse[k].of(x[k][k], best, k, info);
    return row;
  }
  // Step k on another column.
  JAXINV_INLINE void apply(JAXINV_THREAD V (&x)[N][N], Index row, int k, int j) const {
    exchange(x, row, k, j);
    V top = inverse[k].times(x[k][j]);
    x[k][j] = top;
    JAXINV_UNROLL
    for (int i = 0; i < N; ++i) {
      if (i != k) x[i][j] = fnma(x[i][k], top, x[i][j]);
    }
  }
  // Step k on its own column.
  JAXINV_INLINE void finish(JAXINV_THREAD V (&x)[N][N], int k) const {
    V own = inverse[k].times(V(1));
    x[k][k] = own;
    JAXINV_UNROLL
    for (int i = 0; i < N; ++i) {
      if (i != k) x[i][k] = fnma(x[i][k], own, V(0));
    }
  }
};

// What small_inverse does between columns, such as to ask for memory ahead: nothing.
struct NothingMeanwhile {
  JAXINV_INLINE void fetch() const {}
};

// a: G matrices, replaced by their inverses; they take turns, since each step is one chain of dependent
// operations. pivots: the n pivots of each, for the determinant. swaps: the row swapped in at each step.
// meanwhile.fetch() is called n times.
template <int N, Pivots kPivots, int G, class V, class Meanwhile = NothingMeanwhile>
JAXINV_INLINE void small_inverse(JAXINV_THREAD V (&a)[G][N][N], JAXINV_THREAD V (&pivots)[G][N],
                                 JAXINV_THREAD typename Types<V>::Index (&swaps)[G][N],
                                 JAXINV_THREAD typename Types<V>::Index (&info)[G],
                                 Meanwhile meanwhile = Meanwhile()) {
  using Index = typename Types<V>::Index;
  using Mask = typename Types<V>::Mask;
  SmallElimination<N, kPivots, V> elimination[G];
  JAXINV_UNROLL
  for (int g = 0; g < G; ++g) info[g] = Index(0);
  JAXINV_UNROLL
  for (int j = 0; j < N; ++j) {
    meanwhile.fetch();
    JAXINV_UNROLL
    for (int g = 0; g < G; ++g) {
      JAXINV_UNROLL
      for (int k = 0; k < j; ++k) elimination[g].apply(a[g], swaps[g][k], k, j);
      swaps[g][j] = elimination[g].find(a[g], j, info[g]);
      pivots[g][j] = a[g][j][j];
    }
  }
  JAXINV_UNROLL
  for (int j = 0; j < N; ++j) {
    JAXINV_UNROLL
    for (int g = 0; g < G; ++g) {
      elimination[g].finish(a[g], j);
      JAXINV_UNROLL
      for (int k = j + 1; k < N; ++k) elimination[g].apply(a[g], swaps[g][k], k, j);
    }
  }
  JAXINV_UNROLL
  for (int g = 0; g < G; ++g) {
    JAXINV_UNROLL
    for (int i = 0; i < N; ++i) {
      JAXINV_UNROLL
      for (int k = N - 2; k >= 0; --k) {
        JAXINV_UNROLL
        for (int j = k + 1; j < N; ++j) {
          Mask here = swaps[g][k] == Index(j);
          V other = a[g][i][j];
          a[g][i][j] = select(here, a[g][i][k], other);
          a[g][i][k] = select(here, other, a[g][i][k]);
        }
      }
    }
  }
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
