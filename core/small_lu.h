// Algorithm: LU with partial pivoting and solutions by its factors, no branch on data; rows are swapped by select
// as the pivot is found.
// Lanes: V is a scalar (one matrix: a GPU thread) or a SIMD vector (one matrix per lane).
// n: template parameter, up to about 8. dtypes: whatever core/scalar.h or cpu/simd.h define.
// Memory: registers, as far as they go.
#pragma once

#include "core/scalar.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

template <int N, class V>
struct SmallLu {
  using Index = typename Types<V>::Index;
  V a[N][N];  // the matrix; after small_lu U, and below its diagonal the multipliers
  V inverses[N];
  typename Types<V>::Real scales[N];  // 1 / pivot = scale · inverse, scale a power of two
  Index swaps[N];                     // the row swapped in at each step
  Index info;                         // first (1-based) bad step or 0
};

template <int N, class V>
JAXINV_INLINE void small_lu(SmallLu<N, V>& lu) {
  using Real = typename Types<V>::Real;
  using Index = typename Types<V>::Index;
  using Mask = typename Types<V>::Mask;
  V(&x)[N][N] = lu.a;
  lu.info = Index(0);
  JAXINV_UNROLL
  for (int k = 0; k < N; ++k) {
    Real best = pivot_key(x[k][k]);
    Index row = Index(k);
    JAXINV_UNROLL
    for (int i = k + 1; i < N; ++i) {
      const Real key = pivot_key(x[i][k]);
      const Mask larger = key > best;
      best = select(larger, key, best);
      row = select(larger, Index(i), row);
    }
    lu.swaps[k] = row;
    JAXINV_UNROLL
    for (int i = k + 1; i < N; ++i) {
      const Mask here = row == Index(i);
      JAXINV_UNROLL
      for (int j = 0; j < N; ++j) {
        const V other = x[i][j];
        x[i][j] = select(here, x[k][j], other);
        x[k][j] = select(here, other, x[k][j]);
      }
    }
    const V pivot = x[k][k];
    lu.info = select(bad_pivot(pivot) & (lu.info == Index(0)), Index(k + 1), lu.info);
    // Dividing by way of an exact power of two: a denormal pivot must not make 0 · inf.
    const Real scale = pivot_scale(pivot);
    const V inverse = reciprocal(pivot * scale);
    lu.scales[k] = scale;
    lu.inverses[k] = inverse;
    JAXINV_UNROLL
    for (int i = k + 1; i < N; ++i) {
      const V multiplier = (x[i][k] * scale) * inverse;
      x[i][k] = multiplier;
      JAXINV_UNROLL
      for (int j = k + 1; j < N; ++j) x[i][j] = fnma(multiplier, x[k][j], x[i][j]);
    }
  }
}

// y ← A⁻¹ y
template <int N, class V>
JAXINV_INLINE void small_lu_solve(const SmallLu<N, V>& lu, V (&y)[N]) {
  using Index = typename Types<V>::Index;
  using Mask = typename Types<V>::Mask;
  JAXINV_UNROLL
  for (int k = 0; k < N; ++k) {
    JAXINV_UNROLL
    for (int i = k + 1; i < N; ++i) {
      const Mask here = lu.swaps[k] == Index(i);
      const V other = y[i];
      y[i] = select(here, y[k], other);
      y[k] = select(here, other, y[k]);
    }
  }
  JAXINV_UNROLL
  for (int k = 0; k < N; ++k) {
    JAXINV_UNROLL
    for (int i = k + 1; i < N; ++i) y[i] = fnma(lu.a[i][k], y[k], y[i]);
  }
  JAXINV_UNROLL
  for (int k = N - 1; k >= 0; --k) {
    y[k] = (y[k] * lu.scales[k]) * lu.inverses[k];
    JAXINV_UNROLL
    for (int i = k - 1; i >= 0; --i) y[i] = fnma(lu.a[i][k], y[k], y[i]);
  }
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
