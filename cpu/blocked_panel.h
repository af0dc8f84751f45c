// The panel of the blocked elimination: pivot search and single steps over a few columns,
// column-major.
#pragma once

#include "cpu/blocked.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// The row of the largest entry of a panel column at or below row k; ties take the lowest row.
template <class B>
int64_t find_pivot_row(const B& b, const typename B::R* column, int64_t k) {
  using R = typename B::R;
  using Real = RVec<R, B::W>;
  using Index = typename B::Index;
  using I = typename Real::I;
  Real best(R(-1));
  int64_t start = k / B::W * B::W;
  Index index = Index(I(start)), row = Index(I(k));
  for (int l = 0; l < B::W; ++l) index.v[l] += l;
  for (int64_t i = start; i < b.n; i += B::W, index = index + Index(I(B::W))) {
    Index inside = (index > Index(I(k - 1))) & (Index(I(b.n)) > index);
    Real key = select(inside, pivot_key(B::V::load(column + i * B::P)), Real(R(-1)));
    Index larger = key > best;
    best = select(larger, key, best);
    row = select(larger, index, row);
  }
  int winner = 0;
  for (int l = 1; l < B::W; ++l) {
    bool first = best.v[l] == best.v[winner] && row.v[l] < row.v[winner];
    if (best.v[l] > best.v[winner] || first) winner = l;
  }
  return row.v[winner];
}

template <class R>
JAXINV_INLINE void exchange(R& x, R& y) {
  R z = x;
  x = y;
  y = z;
}

// kColumns panel columns from j: subtracts factor · multiple.
template <int kColumns, class B>
JAXINV_INLINE void update_panel_columns(B& b, const typename B::R* factors, int64_t j) {
  using V = typename B::V;
  V multiple[kColumns];
  typename B::R* column = b.panel + j * b.rows * B::P;
  for (int c = 0; c < kColumns; ++c) multiple[c] = broadcast_number<B>(b.multiple + B::at(j + c));
  for (int64_t i = 0; i < b.rows * B::P; i += B::W * B::P) {
    V factor = V::load(factors + i);
    JAXINV_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      typename B::R* x = column + c * b.rows * B::P + i;
      fnma(factor, multiple[c], V::load(x)).store(x);
    }
  }
}

template <class B>
JAXINV_INLINE void put_number(typename B::R* p, typename B::V x) {
  if constexpr (B::P == 2) {
    p[0] = x.re.v[0];
    p[B::W] = x.im.v[0];
  } else {
    p[0] = x.v[0];
  }
}

// Exchanges two rows in `count` columns of a panel.
template <class B>
void swap_panel_rows(const B& b, typename B::R* panel, int64_t count, int64_t row, int64_t other) {
  for (int64_t j = 0; j < count; ++j, panel += b.rows * B::P) {
    for (int part = 0; part < B::P; ++part) {
      exchange(panel[B::at(row) + part * B::W], panel[B::at(other) + part * B::W]);
    }
  }
}

// One step of the panel of columns k …: step c, on the panel columns first … last − 1. Returns false where its
// pivot is bad.
template <class B>
bool eliminate_step(B& b, int64_t k, int64_t width, int64_t c, int64_t first, int64_t last) {
  using V = typename B::V;
  using R = typename B::R;
  const int64_t stride = b.rows * B::P;
  R* column = b.panel + c * stride;
  R* factors = b.factors + c * stride;
  int64_t step = k + c, row = find_pivot_row(b, column, step);
  b.swap[step] = row;
  if (row != step) {
    exchange(b.origin[step], b.origin[row]);
    swap_panel_rows(b, b.panel, width, step, row);
    swap_panel_rows(b, b.factors, c, step, row);
  }
  R* here = b.panel + B::at(step);
  V pivot = broadcast_number<B>(here + c * stride);
  for (int part = 0; part < B::P; ++part) {
    b.pivots[step * B::P + part] = here[c * stride + part * B::W];
  }
  if (bad_pivot(pivot).v[0]) return false;
  // Dividing by way of an exact power of two: a denormal pivot must not make 0 · inf.
  auto scale = pivot_scale(pivot);
  V inverse = reciprocal(pivot * scale);
  b.scales[c * 2 * B::P] = scale.v[0];
  if constexpr (B::P == 2) {
    b.scales[c * 4 + 1] = inverse.re.v[0];
    b.scales[c * 4 + 2] = inverse.im.v[0];
  } else {
    b.scales[c * 2 + 1] = inverse.v[0];
  }
  for (int64_t j = first; j < last; ++j) {
    V x = (broadcast_number<B>(here + j * stride) * scale) * inverse;
    put_number<B>(b.multiple + B::at(j), j == c ? V(0) : x);
    put_number<B>(here + j * stride, V(0));
  }
  for (int64_t i = 0; i < stride; i += B::W * B::P) {
    V x = V::load(column + i);
    x.store(factors + i);
    (-((x * scale) * inverse)).store(column + i);
  }
  int64_t j = first;
  for (; j + 4 <= last; j += 4) update_panel_columns<4>(b, factors, j);
  for (; j < last; ++j) update_panel_columns<1>(b, factors, j);
  for (j = first; j < last; ++j) {
    put_number<B>(here + j * stride,
                  j == c ? V(1) * scale * inverse : broadcast_number<B>(b.multiple + B::at(j)));
  }
  return true;
}

// Steps first … first + kSteps − 1 of a panel, whose pivot rows start at `row`, on kColumns other columns of
// it from j: the entries of the pivot rows as each step finds them, then one pass over all rows.
template <int kSteps, int kColumns, class B>
JAXINV_INLINE void apply_steps(const B& b, int64_t row, int64_t first, int64_t j) {
  using R = typename B::R;
  using V = typename B::V;
  const int64_t stride = b.rows * B::P;
  const R* __restrict factors = b.factors + first * stride;
  R* __restrict column = b.panel + j * stride;
  auto factor = [&](int64_t step, int64_t i) {
    return broadcast_number<B>(factors + step * stride + B::at(row + i));
  };
  V multiple[kColumns][kSteps], left[kColumns][kSteps];
  for (int q = 0; q < kColumns; ++q) {
    V* m = multiple[q];
    for (int c = 0; c < kSteps; ++c) {
      V x = broadcast_number<B>(column + q * stride + B::at(row + c));
      for (int d = 0; d < c; ++d) x = fnma(factor(d, c), m[d], x);
      const R* p = b.scales + (first + c) * 2 * B::P;
      V inverse(p[1]);
      if constexpr (B::P == 2) inverse.im = RVec<R, B::W>(p[2]);
      m[c] = (x * RVec<R, B::W>(p[0])) * inverse;
    }
    // What stays in the pivot rows: later steps subtract from them.
    for (int c = 0; c < kSteps; ++c) {
      left[q][c] = m[c];
      for (int d = c + 1; d < kSteps; ++d) left[q][c] = fnma(factor(d, c), m[d], left[q][c]);
    }
  }
  for (int64_t i = 0; i < stride; i += B::W * B::P) {
    V x[kColumns];
    JAXINV_UNROLL
    for (int q = 0; q < kColumns; ++q) x[q] = V::load(column + q * stride + i);
    JAXINV_UNROLL
    for (int c = 0; c < kSteps; ++c) {
      const V f = V::load(factors + c * stride + i);
      JAXINV_UNROLL
      for (int q = 0; q < kColumns; ++q) x[q] = fnma(f, multiple[q][c], x[q]);
    }
    JAXINV_UNROLL
    for (int q = 0; q < kColumns; ++q) x[q].store(column + q * stride + i);
  }
  for (int q = 0; q < kColumns; ++q) {
    for (int c = 0; c < kSteps; ++c) {
      put_number<B>(column + q * stride + B::at(row + c), left[q][c]);
    }
  }
}

template <int kSteps, class B>
void apply_steps_between(const B& b, int64_t row, int64_t first, int64_t j, int64_t end) {
  constexpr int kColumns = B::P == 2 ? 1 : 2;
  for (; j + kColumns <= end; j += kColumns) apply_steps<kSteps, kColumns>(b, row, first, j);
  if (j < end) apply_steps<kSteps, 1>(b, row, first, j);
}

// kSteps steps on their own columns, then on the other columns of the panel. Returns the first bad step or 0.
template <int kSteps, class B>
int64_t eliminate_steps(B& b, int64_t k, int64_t width, int64_t first) {
  for (int64_t c = first; c < first + kSteps; ++c) {
    if (!eliminate_step(b, k, width, c, first, first + kSteps)) return k + c + 1;
  }
  apply_steps_between<kSteps>(b, k + first, first, 0, first);
  apply_steps_between<kSteps>(b, k + first, first, first + kSteps, width);
  return 0;
}

// Eliminates the panel of columns k … k + width − 1 over all rows. Returns the first bad step or 0.
template <class B>
int64_t eliminate_panel(B& b, int64_t k, int64_t width) {
  int64_t first = 0, info = 0;
  for (; first + 4 <= width && !info; first += 4) info = eliminate_steps<4>(b, k, width, first);
  for (; first < width && !info; ++first) info = eliminate_steps<1>(b, k, width, first);
  return info;
}

// Takes the factors of steps first … last − 1 among the pivot rows of c = begin … end − 1 apart: those of earlier
// steps go to `lower`, for the pivot rows to be brought to their own step; what stays finishes them from there:
// later steps, and −1 for the row itself.
template <class B>
void split_factors(const B& b, int64_t k, int64_t first, int64_t last, int64_t begin, int64_t end) {
  using V = typename B::V;
  for (int64_t c = begin; c < end; ++c) {
    for (int64_t step = first; step < last && step <= c; ++step) {
      typename B::R* factor = b.factors + step * b.rows * B::P + B::at(k + c);
      typename B::R* lower = b.lower + (c * b.block_width + step) * B::P;
      for (int part = 0; part < B::P; ++part) lower[part] = factor[part * B::W];
      put_number<B>(factor, V(step == c ? -1 : 0));
    }
  }
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
