// Algorithm: in-place Gauss-Jordan, partial pivoting, no branch on data; rows are swapped by select as the
// pivot is found, columns swapped back at the end.
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

template <Pivots kPivots>
struct PivotRow;

#ifndef __METAL_VERSION__
template <>
struct PivotRow<Pivots::kUsual> {
  // Unusual matrices are done again: which of their pivots is found does not matter.
  template <class V>
  static JAXINV_INLINE typename Types<V>::Real key(V x) {
    return magnitude(x);
  }
  // Divides row x of step k by its pivot, whose key is `best`.
  template <int N, class V>
  static JAXINV_INLINE void divide(V (&x)[N], V pivot, typename Types<V>::Real best, int k,
                                   typename Types<V>::Index& info) {
    using Real = typename Types<V>::Real;
    using Index = typename Types<V>::Index;
    info = select(best > Real(kUsualPivot<Real>), info, Index(k + 1));
    V inverse = reciprocal(pivot);
    JAXINV_UNROLL
    for (int j = 0; j < N; ++j) x[j] = x[j] * inverse;
  }
};
#endif

template <>
struct PivotRow<Pivots::kGuarded> {
  template <class V>
  static JAXINV_INLINE typename Types<V>::Real key(V x) {
    return pivot_key(x);
  }
  template <int N, class V>
  static JAXINV_INLINE void divide(JAXINV_THREAD V (&x)[N], V pivot, typename Types<V>::Real, int k,
                                   JAXINV_THREAD typename Types<V>::Index& info) {
    using Real = typename Types<V>::Real;
    using Index = typename Types<V>::Index;
    info = select(bad_pivot(pivot) & (info == Index(0)), Index(k + 1), info);
    // A denormal pivot must not make 0 · inf.
    Real scale = pivot_scale(pivot);
    V inverse = reciprocal(pivot * scale);
    JAXINV_UNROLL
    for (int j = 0; j < N; ++j) x[j] = (x[j] * scale) * inverse;
  }
};

// a: G matrices, replaced by their inverses; they take turns, since each step is one chain of dependent
// operations. pivots: the n pivots of each, for the determinant. swaps: the row swapped in at each step.
template <int N, Pivots kPivots, int G, class V>
JAXINV_INLINE void small_inverse(JAXINV_THREAD V (&a)[G][N][N], JAXINV_THREAD V (&pivots)[G][N],
                                 JAXINV_THREAD typename Types<V>::Index (&swaps)[G][N],
                                 JAXINV_THREAD typename Types<V>::Index (&info)[G]) {
  using Real = typename Types<V>::Real;
  using Index = typename Types<V>::Index;
  using Mask = typename Types<V>::Mask;
  JAXINV_UNROLL
  for (int g = 0; g < G; ++g) info[g] = Index(0);
  JAXINV_UNROLL
  for (int k = 0; k < N; ++k) {
    JAXINV_UNROLL
    for (int g = 0; g < G; ++g) {
      JAXINV_THREAD V(&x)[N][N] = a[g];
      Real best = PivotRow<kPivots>::key(x[k][k]);
      Index row = Index(k);
      JAXINV_UNROLL
      for (int i = k + 1; i < N; ++i) {
        Real key = PivotRow<kPivots>::key(x[i][k]);
        Mask larger = key > best;
        best = select(larger, key, best);
        row = select(larger, Index(i), row);
      }
      swaps[g][k] = row;
      JAXINV_UNROLL
      for (int i = k + 1; i < N; ++i) {
        Mask here = row == Index(i);
        JAXINV_UNROLL
        for (int j = 0; j < N; ++j) {
          V other = x[i][j];
          x[i][j] = select(here, x[k][j], other);
          x[k][j] = select(here, other, x[k][j]);
        }
      }
      V pivot = x[k][k];
      pivots[g][k] = pivot;
      x[k][k] = V(1);
      PivotRow<kPivots>::divide(x[k], pivot, best, k, info[g]);
      JAXINV_UNROLL
      for (int i = 0; i < N; ++i) {
        if (i == k) continue;
        V factor = x[i][k];
        x[i][k] = V(0);
        JAXINV_UNROLL
        for (int j = 0; j < N; ++j) x[i][j] = fnma(factor, x[k][j], x[i][j]);
      }
    }
  }
  JAXINV_UNROLL
  for (int g = 0; g < G; ++g) {
    JAXINV_UNROLL
    for (int k = N - 2; k >= 0; --k) {
      JAXINV_UNROLL
      for (int j = k + 1; j < N; ++j) {
        Mask here = swaps[g][k] == Index(j);
        JAXINV_UNROLL
        for (int i = 0; i < N; ++i) {
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
