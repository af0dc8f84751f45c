// Algorithm: systems with a triangle of the matrix by the substitution of cpu/lu_solve.h; its inverse by the same, in
// strips of columns, each with the part of the triangle that it meets: n³/3 flop.
// Lanes: consecutive right-hand sides, or columns of the inverse.
// n: any. dtypes: those that arithmetic is done in; inverses also of half types, computed in float32.
// Memory: that of cpu/lu_solve.h; for half types a widened copy of the matrix.
#pragma once

#include "cpu/lu_solve.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// info of a triangle: the first (1-based) column with a zero on the diagonal or an entry that is not finite, else 0;
// and whether all entries are finite.
struct TriangleInfo {
  int64_t column;
  bool finite;
};
template <class S>
TriangleInfo scan_triangle(int64_t n, bool upper, const S* a) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts, W = kVectorBytes / int(sizeof(R));
  using Real = RVec<R, W>;
  const R* reals = reinterpret_cast<const R*>(a);
  auto real_zero = [&](int64_t i, int64_t j) {
    const R* entry = reals + (i * n + j) * P;
    return (entry[0] - entry[0]) + (entry[P - 1] - entry[P - 1]);
  };
  auto zero = [&](int64_t k) {
    const R* entry = reals + k * (n + 1) * P;
    return entry[0] == 0 && entry[P - 1] == 0;
  };
  Real zeros(R(0));  // stay zero as long as all entries are finite
  R rest = 0;
  bool singular = false;
  for (int64_t i = 0; i < n; ++i) {
    int64_t r = (i * n + (upper ? i : 0)) * P;
    const int64_t end = (i * n + (upper ? n : i + 1)) * P;
    for (; r + W <= end; r += W) zeros = add_zeros(Real::load(reals + r), zeros);
    for (; r < end; ++r) rest += reals[r] - reals[r];
    singular |= zero(i);
  }
  const bool finite = rest == 0 && all_set(zeros == Real(R(0)));
  if (!singular && finite) return {0, true};
  for (int64_t k = 0; k < n; ++k) {
    R sum = 0;
    for (int64_t i = upper ? 0 : k; i < (upper ? k + 1 : n); ++i) sum += real_zero(i, k);
    if (sum != sum || zero(k)) return {k + 1, finite};
  }
  return {0, finite};
}

// Right-hand sides of task `part` of matrix `index`; info with the first.
template <class S>
void triangle_solve(const LuSolveProblem& p, int64_t index, int64_t part, void* scratch) {
  const int64_t n = p.n, most = Substitution<S>::task_columns(n, p.columns), first = part * most;
  const int64_t columns = p.columns - first < most ? p.columns - first : most;
  const bool upper = p.structure == Structure::kUpper;
  const S* a = static_cast<const S*>(p.lu) + index * n * n;
  const S* b = static_cast<const S*>(p.b) + index * n * p.columns + first;
  S* x = static_cast<S*>(p.x) + index * n * p.columns + first;
  const int64_t info = scan_triangle(n, upper, a).column;
  if (p.info && part == 0) p.info[index] = int32_t(info);
  if (columns == 0) return;
  if (info) {
    for (int64_t i = 0; i < n; ++i) fill_nan(x + i * p.columns, columns);
    return;
  }
  Substitution<S> s(n, columns, scratch);
  s.t = reinterpret_cast<const typename Substitution<S>::R*>(a);
  s.row_stride = p.transpose ? 1 : n;
  s.column_stride = p.transpose ? n : 1;
  for (int64_t i = 0; i < n; ++i) load_row(b + i * p.columns, columns, s.row(i));
  upper == p.transpose ? substitute<true, false>(s) : substitute<false, false>(s);
  for (int64_t i = 0; i < n; ++i) store_row(s.row(i), columns, x + i * p.columns);
}

// Columns first … first + columns − 1 of the inverse of a triangle, in rows of x. Returns the row of the triangle that
// the first of them belongs to.
template <bool kUnit, class S>
int64_t invert_strip(Substitution<S>& s, bool upper, const S* a, int64_t n, int64_t first,
                     int64_t columns) {
  using B = Blocked<S>;
  const int64_t start = upper ? 0 : first;
  s.t = reinterpret_cast<const typename B::R*>(a + start * (n + 1));
  s.row_stride = n;
  s.column_stride = 1;
  memset(s.x, 0, sizeof(typename B::R) * s.n * s.vectors * B::W * B::P);
  for (int64_t c = 0; c < columns; ++c) s.row(first - start + c)[B::at(c)] = 1;
  upper ? substitute<false, kUnit>(s) : substitute<true, kUnit>(s);
  return start;
}

template <class S>
void inverse_triangle(const InverseProblem& p, int64_t index, void* scratch) {
  using B = Blocked<S>;
  using R = typename B::R;
  constexpr int P = B::P;
  const int64_t n = p.n;
  const bool upper = p.structure == Structure::kUpper;
  const S* a = static_cast<const S*>(p.a) + index * n * n;
  S* x = static_cast<S*>(p.x) + index * n * n;
  const TriangleInfo info = scan_triangle(n, upper, a);
  if (info.column) {
    fill_nan(x, n * n);
    if (p.info) p.info[index] = int32_t(info.column);
    if (!p.mantissa) return;
    for (int part = 0; part < P; ++part) {
      static_cast<R*>(p.mantissa)[index * P + part] = info.finite ? R(0) : R(__builtin_nan(""));
    }
    p.exponent[index] = 0;
    return;
  }
  memset(static_cast<void*>(x), 0, sizeof(S) * n * n);
  for (int64_t first = 0; first < n; first += B::kTileColumns) {
    const int64_t columns = n - first < B::kTileColumns ? n - first : B::kTileColumns;
    Substitution<S> s(upper ? first + columns : n - first, columns, scratch);
    const int64_t start = invert_strip<false>(s, upper, a, n, first, columns);
    for (int64_t i = 0; i < s.n; ++i) {
      // Of the rows that meet the diagonal what lies in the triangle.
      const int64_t own = start + i - first;
      const int64_t begin = upper && own > 0 ? own : 0;
      const int64_t end = upper || own >= columns ? columns : own + 1;
      R row[2 * B::kTileColumns];
      S* to = reinterpret_cast<S*>(row);
      store_row(s.row(i), columns, to);
      memcpy(static_cast<void*>(x + (start + i) * n + first + begin), to + begin,
             sizeof(S) * (end - begin));
    }
  }
  if (!p.info && !p.mantissa) return;
  R* pivots = static_cast<R*>(scratch);
  for (int64_t k = 0; k < n; ++k) memcpy(pivots + k * P, a + k * (n + 1), sizeof(S));
  store_by_products<S>(p, index, 0, pivots, false, 0);
}

// Bytes of scratch for one worker.
template <class S>
size_t inverse_triangle_scratch(int64_t n) {
  return (Substitution<S>::reals(n, Blocked<S>::kTileColumns) + n * Blocked<S>::P) *
         sizeof(typename Blocked<S>::R);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
