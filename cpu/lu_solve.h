// Algorithm: forward and back substitution with the factors of cpu/lu_*.h, in register tiles of rows by
// right-hand sides. Every solution sees its steps in order, so its bits depend on no tile.
// Lanes: consecutive right-hand sides.
// n, right-hand sides: any. dtypes: those that arithmetic is done in; complex in planar form.
// Memory: the right-hand sides of one task, padded to whole vectors, and a strip of factors.
#pragma once

#include "cpu/blocked.h"
#include "cpu/lu_lanes.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// The right-hand sides of one task, and the triangle they meet.
template <class S>
struct Substitution {
  using B = Blocked<S>;
  using R = typename B::R;
  using V = typename B::V;
  static constexpr int P = B::P, W = B::W;
  static constexpr int kTaskReals = 32768 * 4 / int(sizeof(R));  // half of a near cache

  int64_t n, vectors;  // vectors of one row
  const R* t;  // entry (i, j) of the triangle at t[(i · row_stride + j · column_stride) · P]
  int64_t row_stride, column_stride;
  R* x;      // n rows of `vectors` vectors
  R* strip;  // n steps of kTileRows factors

  // Right-hand sides of one task.
  static int64_t task_columns(int64_t n, int64_t columns) {
    int64_t most = kTaskReals / (n * P) / B::kTileColumns * B::kTileColumns;
    most = most < B::kTileColumns ? B::kTileColumns : most;
    return columns == 0 ? 1 : columns < most ? columns : most;
  }
  static size_t reals(int64_t n, int64_t columns) {
    const int64_t padded = (task_columns(n, columns) + W - 1) / W * W;
    return n * (padded + B::kTileRows) * P;
  }
  Substitution(int64_t n, int64_t columns, void* scratch) : n(n), vectors((columns + W - 1) / W) {
    x = static_cast<R*>(scratch);
    strip = x + n * vectors * W * P;
  }
  R* row(int64_t i) const { return x + i * vectors * W * P; }
};

// kRows rows from i of kVectors vectors: subtracts the solved rows, nearest to the start of the substitution
// first, then each other; scaled by the pivots where the triangle has a diagonal.
template <bool kForward, bool kUnit, int kRows, int kVectors, class S>
JAXINV_INLINE void substitute_tile(const Substitution<S>& s, int64_t i, int64_t vector,
                                   const typename Substitution<S>::R* factors, int64_t row_stride,
                                   int64_t step_stride, const typename Substitution<S>::V* inverses,
                                   const typename Substitution<S>::R* scales) {
  using B = Blocked<S>;
  using R = typename B::R;
  using V = typename B::V;
  using Real = typename Types<V>::Real;
  constexpr int P = B::P, W = B::W;
  const int64_t width = s.vectors * W * P;
  V sum[kRows][kVectors];
  const R* left[kRows];
  R* here = s.row(i) + vector * W * P;
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    left[r] = factors + r * row_stride;
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) sum[r][c] = V::load(here + r * width + c * W * P);
  }
  const int64_t steps = kForward ? i : s.n - i - kRows;
  const R* solved = s.row(kForward ? 0 : s.n - 1) + vector * W * P;
  for (int64_t k = 0; k < steps; ++k, solved += kForward ? width : -width) {
    V right[kVectors];
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) right[c] = V::load(solved + c * W * P);
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const V l = broadcast_entry<V>(left[r]);
      left[r] += step_stride;
      JAXINV_UNROLL
      for (int c = 0; c < kVectors; ++c) sum[r][c] = fnma(l, right[c], sum[r][c]);
    }
  }
  JAXINV_UNROLL
  for (int q = 0; q < kRows; ++q) {
    const int r = kForward ? q : kRows - 1 - q;
    if constexpr (!kUnit) {
      JAXINV_UNROLL
      for (int c = 0; c < kVectors; ++c) sum[r][c] = (sum[r][c] * Real(scales[r])) * inverses[r];
    }
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) sum[r][c].store(here + r * width + c * W * P);
    JAXINV_UNROLL
    for (int o = q + 1; o < kRows; ++o) {
      const int other = kForward ? o : kRows - 1 - o;
      const R* entry = s.t + ((i + other) * s.row_stride + (i + r) * s.column_stride) * P;
      const V l = broadcast_entry<V>(entry);
      JAXINV_UNROLL
      for (int c = 0; c < kVectors; ++c) sum[other][c] = fnma(l, sum[r][c], sum[other][c]);
    }
  }
}

// kRows rows from i of all right-hand sides.
template <bool kForward, bool kUnit, int kRows, class S>
void substitute_rows(const Substitution<S>& s, int64_t i) {
  using B = Blocked<S>;
  using R = typename B::R;
  using V = typename B::V;
  constexpr int P = B::P;
  V inverses[kRows];
  R scales[kRows];
  if constexpr (!kUnit) {
    for (int r = 0; r < kRows; ++r) {
      const V pivot = broadcast_entry<V>(s.t + (i + r) * (s.row_stride + s.column_stride) * P);
      const auto scale = pivot_scale(pivot);
      inverses[r] = reciprocal(pivot * scale);
      scales[r] = scale.v[0];
    }
  }
  const int64_t steps = kForward ? i : s.n - i - kRows;
  int64_t row_stride = s.row_stride * P, step_stride = s.column_stride * P * (kForward ? 1 : -1);
  const R* factors = s.t + (i * s.row_stride + (kForward ? 0 : s.n - 1) * s.column_stride) * P;
  if (s.vectors > 2 * B::kTileVectors) {
    // Read often enough to bring them together first.
    for (int64_t k = 0; k < steps; ++k) {
      for (int r = 0; r < kRows; ++r) {
        const R* from = factors + k * step_stride + r * row_stride;
        for (int part = 0; part < P; ++part) s.strip[(k * kRows + r) * P + part] = from[part];
      }
    }
    factors = s.strip;
    row_stride = P;
    step_stride = kRows * P;
  }
  int64_t v = 0;
  for (; v + B::kTileVectors <= s.vectors; v += B::kTileVectors) {
    substitute_tile<kForward, kUnit, kRows, B::kTileVectors>(s, i, v, factors, row_stride,
                                                             step_stride, inverses, scales);
  }
  for (; v < s.vectors; ++v) {
    substitute_tile<kForward, kUnit, kRows, 1>(s, i, v, factors, row_stride, step_stride, inverses,
                                               scales);
  }
}

// Rows from the `done`-th of the substitution on, in tiles of kRows and the rest in smaller ones.
template <bool kForward, bool kUnit, int kRows, class S>
void substitute_from(const Substitution<S>& s, int64_t done) {
  for (; done + kRows <= s.n; done += kRows) {
    substitute_rows<kForward, kUnit, kRows>(s, kForward ? done : s.n - done - kRows);
  }
  if constexpr (kRows > 1) {
    substitute_from<kForward, kUnit, (kRows > 3 ? kRows / 2 : kRows - 1)>(s, done);
  }
}

// x ← t⁻¹ x for a lower (forward) or upper triangle.
template <bool kForward, bool kUnit, class S>
void substitute(const Substitution<S>& s) {
  substitute_from<kForward, kUnit, Blocked<S>::kTileRows>(s, 0);
}

// Row i of the right-hand sides, or back: real and imaginary parts in vectors of their own.
template <class S>
void load_row(const S* from, int64_t columns, typename Substitution<S>::R* to) {
  using B = Blocked<S>;
  if constexpr (B::P == 2) {
    const int64_t padded = (columns + B::W - 1) / B::W * B::W;
    for (int64_t j = 0; j < padded; ++j) {
      to[B::at(j)] = j < columns ? from[j].re : 0;
      to[B::at(j) + B::W] = j < columns ? from[j].im : 0;
    }
  } else {
    memcpy(to, from, sizeof(S) * columns);
    for (int64_t j = columns; j % B::W; ++j) to[j] = 0;
  }
}
template <class S>
void store_row(const typename Substitution<S>::R* from, int64_t columns, S* to) {
  using B = Blocked<S>;
  if constexpr (B::P == 2) {
    for (int64_t j = 0; j < columns; ++j) to[j] = {from[B::at(j)], from[B::at(j) + B::W]};
  } else {
    memcpy(to, from, sizeof(S) * columns);
  }
}

// Right-hand sides of task `part` of matrix `index`.
template <class S>
void lu_solve(const LuSolveProblem& p, int64_t index, int64_t part, void* scratch) {
  const int64_t n = p.n, most = Substitution<S>::task_columns(n, p.columns), first = part * most;
  const int64_t columns = p.columns - first < most ? p.columns - first : most;
  const S* lu = static_cast<const S*>(p.lu) + index * n * n;
  const int32_t* permutation = p.permutation + index * n;
  const S* b = static_cast<const S*>(p.b) + index * n * p.columns + first;
  S* x = static_cast<S*>(p.x) + index * n * p.columns + first;
  Substitution<S> s(n, columns, scratch);
  s.t = reinterpret_cast<const typename Substitution<S>::R*>(lu);
  s.row_stride = p.transpose ? 1 : n;
  s.column_stride = p.transpose ? n : 1;
  for (int64_t i = 0; i < n; ++i) {
    load_row(b + (p.transpose ? i : permutation[i]) * p.columns, columns, s.row(i));
  }
  if (p.transpose) {
    substitute<true, false>(s);
    substitute<false, true>(s);
  } else {
    substitute<true, true>(s);
    substitute<false, false>(s);
  }
  for (int64_t i = 0; i < n; ++i) {
    store_row(s.row(i), columns, x + (p.transpose ? permutation[i] : i) * p.columns);
  }
}

// Tasks of one matrix, and bytes of scratch for one worker.
template <class S>
int64_t lu_solve_parts(int64_t n, int64_t columns) {
  const int64_t most = Substitution<S>::task_columns(n, columns);
  return (columns + most - 1) / most;
}
template <class S>
size_t lu_solve_scratch(int64_t n, int64_t columns) {
  return Substitution<S>::reals(n, columns) * sizeof(typename Substitution<S>::R);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
