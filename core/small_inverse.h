// Algorithm: in-place Gauss-Jordan, partial pivoting, no branch on data; rows are swapped by select as the
// pivot is found, columns swapped back at the end.
// Lanes: V is a scalar (one matrix: a GPU thread) or a SIMD vector (one matrix per lane).
// n: template parameter, up to about 8. dtypes: whatever core/scalar.h or cpu/simd.h define.
// Memory: registers, as far as they go.
#pragma once

#include "core/scalar.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// a: the matrix, replaced by its inverse. pivots: the n pivots, for the determinant. Returns
// through `info` the first (1-based) bad step or 0, through `swaps` the row swapped in at each
// step.
template <int N, class V>
JAXINV_INLINE void small_inverse(V (&a)[N][N], V (&pivots)[N], typename Types<V>::Index (&swaps)[N],
                                 typename Types<V>::Index& info) {
  using Real = typename Types<V>::Real;
  using Index = typename Types<V>::Index;
  using Mask = typename Types<V>::Mask;
  info = Index(0);
  JAXINV_UNROLL
  for (int k = 0; k < N; ++k) {
    Real best = pivot_key(a[k][k]);
    Index row = Index(k);
    JAXINV_UNROLL
    for (int i = k + 1; i < N; ++i) {
      Real key = pivot_key(a[i][k]);
      Mask larger = key > best;
      best = select(larger, key, best);
      row = select(larger, Index(i), row);
    }
    swaps[k] = row;
    JAXINV_UNROLL
    for (int i = k + 1; i < N; ++i) {
      Mask here = row == Index(i);
      JAXINV_UNROLL
      for (int j = 0; j < N; ++j) {
        V other = a[i][j];
        a[i][j] = select(here, a[k][j], other);
        a[k][j] = select(here, other, a[k][j]);
      }
    }
    V pivot = a[k][k];
    pivots[k] = pivot;
    info = select(bad_pivot(pivot) & (info == Index(0)), Index(k + 1), info);
    // Dividing by way of an exact power of two: a denormal pivot must not make 0 · inf.
    Real scale = pivot_scale(pivot);
    V inverse = reciprocal(pivot * scale);
    a[k][k] = V(1);
    JAXINV_UNROLL
    for (int j = 0; j < N; ++j) a[k][j] = (a[k][j] * scale) * inverse;
    JAXINV_UNROLL
    for (int i = 0; i < N; ++i) {
      if (i == k) continue;
      V factor = a[i][k];
      a[i][k] = V(0);
      JAXINV_UNROLL
      for (int j = 0; j < N; ++j) a[i][j] = fnma(factor, a[k][j], a[i][j]);
    }
  }
  JAXINV_UNROLL
  for (int k = N - 2; k >= 0; --k) {
    JAXINV_UNROLL
    for (int j = k + 1; j < N; ++j) {
      Mask here = swaps[k] == Index(j);
      JAXINV_UNROLL
      for (int i = 0; i < N; ++i) {
        V other = a[i][j];
        a[i][j] = select(here, a[i][k], other);
        a[i][k] = select(here, other, a[i][k]);
      }
    }
  }
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
