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

// Eliminates the panel of columns k … k + width − 1 over all rows. Returns the first bad step or 0.
template <class B>
int64_t eliminate_panel(B& b, int64_t k, int64_t width) {
  using R = typename B::R;
  using V = typename B::V;
  const int64_t stride = b.rows * B::P;
  for (int64_t c = 0; c < width; ++c) {
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
    if (bad_pivot(pivot).v[0]) return step + 1;
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
    for (int64_t j = 0; j < width; ++j) {
      V x = (broadcast_number<B>(here + j * stride) * scale) * inverse;
      put_number<B>(b.multiple + B::at(j), j == c ? V(0) : x);
      put_number<B>(here + j * stride, V(0));
    }
    for (int64_t i = 0; i < stride; i += B::W * B::P) {
      V x = V::load(column + i);
      x.store(factors + i);
      (-((x * scale) * inverse)).store(column + i);
    }
    int64_t j = 0;
    for (; j + 4 <= width; j += 4) update_panel_columns<4>(b, factors, j);
    for (; j < width; ++j) update_panel_columns<1>(b, factors, j);
    for (j = 0; j < width; ++j) {
      put_number<B>(here + j * stride,
                    j == c ? V(1) * scale * inverse : broadcast_number<B>(b.multiple + B::at(j)));
    }
  }
  return 0;
}

// Takes the factors among the pivot rows apart: those of earlier steps go to `lower`, for the pivot
// rows to be brought to their own step; what stays finishes them from there: later steps, and −1
// for the row itself.
template <class B>
void split_factors(const B& b, int64_t k, int64_t width) {
  using V = typename B::V;
  for (int64_t c = 0; c < width; ++c) {
    for (int64_t step = 0; step <= c; ++step) {
      typename B::R* factor = b.factors + step * b.rows * B::P + B::at(k + c);
      typename B::R* lower = b.lower + (c * b.panel_width + step) * B::P;
      for (int part = 0; part < B::P; ++part) lower[part] = factor[part * B::W];
      put_number<B>(factor, V(step == c ? -1 : 0));
    }
  }
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
