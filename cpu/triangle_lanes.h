// Algorithm: inverse of a triangle by substitution, of a Hermitian positive definite matrix by L D Lᴴ, the inverse of
// L and the product L⁻ᴴ D⁻¹ L⁻¹, in place and without pivoting: n³/3 and n³ flop. An upper triangle is a lower one of
// the transposed matrix, whose inverse is the transposed inverse.
// Lanes: one matrix each.
// n: up to triangle_lanes_max, systems to kLuLanesMax. dtypes: all; half types are computed in float32.
// Memory: the tile, n² vectors, what belongs to its diagonal, and one group for staging.
#pragma once

#include "cpu/determinant.h"
#include "cpu/lanes.h"
#include "cpu/lu_unrolled.h"
#include "cpu/range.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// A tile in scratch memory, entry (i, j) of the lower triangle at tile[i · row + j · column].
template <class V>
struct LaneTriangle {
  using Index = typename V::Index;
  using Real = typename Types<V>::Real;
  V* tile;
  V* factor;    // n: a column, for the time of one step
  V* pivots;    // n
  V* inverses;  // 1 / (pivot · scale)
  Real* scales;
  Index info;
  int64_t row, column;

  static size_t vectors(int64_t n) { return V::kParts * (n * n + 3 * n) + n; }
  LaneTriangle(void* scratch, int64_t n, bool upper) {
    tile = static_cast<V*>(scratch);
    factor = tile + n * n;
    pivots = factor + n;
    inverses = pivots + n;
    scales = reinterpret_cast<Real*>(inverses + n);
    row = upper ? 1 : n;
    column = upper ? n : 1;
  }
  JAXINV_INLINE V& at(int64_t i, int64_t j) const { return tile[i * row + j * column]; }
};

template <class R, int W>
JAXINV_INLINE RVec<R, W> without_imaginary(RVec<R, W> x) {
  return x;
}
template <class R, int W>
JAXINV_INLINE CVec<R, W> without_imaginary(CVec<R, W> x) {
  return {x.re, RVec<R, W>(R(0))};
}

// Step k has this pivot. Dividing by way of an exact power of two: a denormal pivot must not make 0 · inf.
template <class V>
JAXINV_INLINE void set_pivot(LaneTriangle<V>& e, int64_t k, V pivot, typename V::Index bad) {
  using Index = typename V::Index;
  using I = typename Types<V>::Real::I;
  e.pivots[k] = pivot;
  e.scales[k] = pivot_scale(pivot);
  e.inverses[k] = reciprocal(pivot * e.scales[k]);
  e.info = select(bad & (e.info == Index(I(0))), Index(I(k + 1)), e.info);
}

// Columns j … j + kColumns − 1 of the inverse of the triangle, whose diagonal is 1 where kUnit, in place.
template <bool kUnit, int kColumns, class V>
JAXINV_INLINE void invert_columns(int64_t n, const LaneTriangle<V>& e, int64_t j) {
  for (int64_t i = j; i < n; ++i) {
    V sum[kColumns];
    const int64_t own = i - j;  // the first column that this row has its diagonal in
    JAXINV_UNROLL
    for (int c = 0; c < kColumns; ++c) sum[c] = V(0);
    // Row i of the triangle times what stands above, first the rows of the block's own diagonal.
    V left[kColumns];
    JAXINV_UNROLL
    for (int c = 0; c < kColumns; ++c) left[c] = c < own ? e.at(i, j + c) : V(0);
    JAXINV_UNROLL
    for (int d = 0; d < kColumns; ++d) {
      JAXINV_UNROLL
      for (int c = 0; c <= d; ++c) {
        if (d >= own) continue;
        const bool one = kUnit && c == d;
        sum[c] = one ? sum[c] + left[d] : fma(left[d], e.at(j + d, j + c), sum[c]);
      }
    }
    for (int64_t k = j + kColumns; k < i; ++k) {
      const V factor = e.at(i, k);
      JAXINV_UNROLL
      for (int c = 0; c < kColumns; ++c) sum[c] = fma(factor, e.at(k, j + c), sum[c]);
    }
    JAXINV_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      if (c < own) {
        e.at(i, j + c) = kUnit ? -sum[c] : -((sum[c] * e.scales[i]) * e.inverses[i]);
      } else if (c == own && !kUnit) {
        e.at(i, i) = e.inverses[i] * e.scales[i];
      }
    }
  }
}

template <bool kUnit, class V>
void invert_triangle(int64_t n, const LaneTriangle<V>& state) {
  const LaneTriangle<V> e = state;  // pointers in registers
  constexpr int kColumns = V::kParts == 2 ? 2 : 4;
  int64_t j = 0;
  for (; j + kColumns <= n; j += kColumns) invert_columns<kUnit, kColumns>(n, e, j);
  for (; j < n; ++j) invert_columns<kUnit, 1>(n, e, j);
}

// Pivots of a triangle: its diagonal, NaN where the column has an entry that is not finite.
template <class V>
void find_triangle_pivots(int64_t n, bool upper, LaneTriangle<V>& e) {
  using Real = typename Types<V>::Real;
  for (int64_t k = 0; k < n; ++k) {
    Real zeros(typename Real::R(0));
    // Column k of an upper triangle is row k of the transposed.
    for (int64_t i = upper ? 0 : k; i < (upper ? k + 1 : n); ++i) {
      zeros = add_zeros(upper ? e.at(k, i) : e.at(i, k), zeros);
    }
    V pivot = e.at(k, k);
    real_part(pivot) = real_part(pivot) + zeros;
    set_pivot(e, k, pivot, bad_pivot(pivot));
  }
}

// L D Lᴴ: L below the diagonal, D in the pivots.
template <class V>
void factor_positive(int64_t n, LaneTriangle<V>& state) {
  using Real = typename Types<V>::Real;
  LaneTriangle<V> e = state;
  for (int64_t k = 0; k < n; ++k) {
    const V pivot = without_imaginary(e.at(k, k));
    V same = pivot;
    const auto positive = real_part(same) > Real(typename Real::R(0));
    set_pivot(e, k, pivot, bad_pivot(pivot) | (positive ^ typename V::Index(-1)));
    const Real scale = e.scales[k];
    const V inverse = e.inverses[k];
    for (int64_t i = k + 1; i < n; ++i) e.factor[i] = conjugate(e.at(i, k));
    for (int64_t i = k + 1; i < n; ++i) {
      const V multiplier = (e.at(i, k) * scale) * inverse;
      e.at(i, k) = multiplier;
      for (int64_t j = k + 1; j <= i; ++j) e.at(i, j) = fnma(multiplier, e.factor[j], e.at(i, j));
    }
  }
  state.info = e.info;
}

// Row i of L⁻ᴴ D⁻¹ L⁻¹ in its columns j …, over the row of L⁻¹.
template <int kColumns, class V>
JAXINV_INLINE void multiply_columns(int64_t n, const LaneTriangle<V>& e, int64_t i, int64_t j) {
  V sum[kColumns];
  JAXINV_UNROLL
  for (int c = 0; c < kColumns; ++c) sum[c] = (e.at(i, j + c) * e.scales[i]) * e.inverses[i];
  for (int64_t k = i + 1; k < n; ++k) {
    const V factor = e.factor[k];
    JAXINV_UNROLL
    for (int c = 0; c < kColumns; ++c) sum[c] = fma(factor, e.at(k, j + c), sum[c]);
  }
  JAXINV_UNROLL
  for (int c = 0; c < kColumns; ++c) e.at(i, j + c) = sum[c];
}

template <class V>
void multiply_triangles(int64_t n, const LaneTriangle<V>& state) {
  const LaneTriangle<V> e = state;
  constexpr int kColumns = V::kParts == 2 ? 2 : 4;
  for (int64_t i = 0; i < n; ++i) {
    e.at(i, i) = V(1);
    for (int64_t k = i + 1; k < n; ++k) {
      e.factor[k] = (conjugate(e.at(k, i)) * e.scales[k]) * e.inverses[k];
    }
    int64_t j = 0;
    for (; j + kColumns <= i + 1; j += kColumns) multiply_columns<kColumns>(n, e, i, j);
    for (; j <= i; ++j) multiply_columns<1>(n, e, i, j);
    e.at(i, i) = without_imaginary(e.at(i, i));
    for (j = 0; j < i; ++j) e.at(j, i) = conjugate(e.at(i, j));
  }
}

template <bool kHermitian, class S>
void inverse_triangle_lanes(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts, W = kVectorBytes / int(sizeof(R));
  using V = Value<R, W, P>;
  using Index = typename V::Index;
  using I = typename Types<V>::Real::I;
  const int64_t n = p.n, reals = n * n * P;
  const bool upper = is_upper(p.structure);
  LaneTriangle<V> e(scratch, n, upper);
  R* staging = static_cast<R*>(scratch) + LaneTriangle<V>::vectors(n) * W;
  R* tile = reinterpret_cast<R*>(e.tile);
  for (int64_t index = begin; index < end; index += W) {
    const int64_t count = end - index < W ? end - index : W;
    const R* a = group_in<S, W>(p.a, index, end, reals, staging);
    load_lanes<R, W>(a, reals, tile);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = i + 1; j < n; ++j) e.at(i, j) = V(0);
      if (kHermitian) e.at(i, i) = without_imaginary(e.at(i, i));
    }
    const LaneRange<R, W> range(tile, reals);
    range.apply(tile, reals);
    e.info = Index(I(0));
    if constexpr (kHermitian) {
      factor_positive(n, e);
      if (p.x) {
        invert_triangle<true>(n, e);
        multiply_triangles(n, e);
      }
    } else {
      find_triangle_pivots(n, upper, e);
      invert_triangle<false>(n, e);
    }
    range.apply(tile, reals);
    if (p.info || p.mantissa) {
      store_group_by_products<V>(p, index, count, a, e.pivots, e.info, Index(I(0)), range.shift);
    }
    if (!p.x) continue;  // the determinant alone
    spoil<R, W>(e.info == Index(I(0)), reals, tile);
    R* x = group_out<S, W>(p.x, index, end, reals, staging);
    store_lanes<R, W>(tile, reals, x);
    group_done<S, W>(p.x, index, end, reals, x);
  }
}

// Rows of y solved for by the triangle, whose diagonal is 1 where kUnit: by the lower one forward, by its transpose
// (conjugated where kConjugate) backward. Every solution sees the steps of cpu/lu_solve.h in their order.
template <bool kForward, bool kUnit, bool kConjugate, class V>
void substitute_lanes(int64_t n, int64_t columns, const LaneTriangle<V>& e, V* y) {
  for (int64_t step = 0; step < n; ++step) {
    const int64_t k = kForward ? step : n - 1 - step;
    V* solved = y + k * columns;
    for (int64_t c = 0; c < columns && !kUnit; ++c) {
      solved[c] = (solved[c] * e.scales[k]) * e.inverses[k];
    }
    for (int64_t i = kForward ? k + 1 : 0; i < (kForward ? n : k); ++i) {
      const V entry = kForward ? e.at(i, k) : e.at(k, i), l = kConjugate ? conjugate(entry) : entry;
      for (int64_t c = 0; c < columns; ++c) {
        y[i * columns + c] = fnma(l, solved[c], y[i * columns + c]);
      }
    }
  }
}

template <bool kHermitian, class S>
void solve_triangle_lanes(const SolveProblem& p, int64_t begin, int64_t end, void* scratch) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts, W = kVectorBytes / int(sizeof(R));
  using V = Value<R, W, P>;
  using Index = typename V::Index;
  using I = typename Types<V>::Real::I;
  const int64_t n = p.n, columns = p.columns, reals = n * n * P, right = n * columns * P;
  const bool upper = is_upper(p.structure);
  LaneTriangle<V> e(scratch, n, upper);
  R* y = static_cast<R*>(scratch) + LaneTriangle<V>::vectors(n) * W;
  R* staging = y + right * W;
  R* tile = reinterpret_cast<R*>(e.tile);
  V* rows = reinterpret_cast<V*>(y);
  // What is solved with is the lower triangle or, where this is false, its transpose.
  const bool own = upper == p.transpose;
  for (int64_t index = begin; index < end; index += W) {
    load_systems<R, W>(group_in<S, W>(p.a, index, end, reals, staging), reals, tile);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = i + 1; j < n; ++j) e.at(i, j) = V(0);
    }
    load_systems<R, W>(group_in<S, W>(p.b, index, end, right, staging), right, y);
    e.info = Index(I(0));
    if constexpr (kHermitian) {
      const LaneRange<R, W> range(tile, reals);
      range.apply(tile, reals);
      factor_positive(n, e);
      // The transpose of a Hermitian matrix is its conjugate.
      for (int64_t i = 0; i < n * columns && !own; ++i) rows[i] = conjugate(rows[i]);
      substitute_lanes<true, true, false>(n, columns, e, rows);
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t c = 0; c < columns; ++c) {
          V& x = rows[i * columns + c];
          x = (x * e.scales[i]) * e.inverses[i];
        }
      }
      substitute_lanes<false, true, true>(n, columns, e, rows);
      for (int64_t i = 0; i < n * columns && !own; ++i) rows[i] = conjugate(rows[i]);
      range.apply(y, right);
    } else {
      find_triangle_pivots(n, upper, e);
      own ? substitute_lanes<true, false, false>(n, columns, e, rows)
          : substitute_lanes<false, false, false>(n, columns, e, rows);
    }
    store_solutions<S, W>(p, index, end, e.info, y, staging);
  }
}

// Bytes of scratch for one worker.
template <class S>
size_t solve_triangle_lanes_scratch(int64_t n, int64_t columns) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts, W = kVectorBytes / int(sizeof(R));
  const int64_t largest = n > columns ? n : columns;
  return (LaneTriangle<Value<R, W, P>>::vectors(n) + n * (columns + largest) * P) * W * sizeof(R);
}
template <class S>
size_t inverse_triangle_lanes_scratch(int64_t n) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts, W = kVectorBytes / int(sizeof(R));
  return (LaneTriangle<Value<R, W, P>>::vectors(n) + n * n * P) * W * sizeof(R);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
