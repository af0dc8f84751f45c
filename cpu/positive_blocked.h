// Algorithm: Hermitian positive definite matrices by the blocked LU of cpu/lu_blocked.h without its pivot search, which
// is L D Lᴴ; their inverse as Wᴴ W, W = D^(-1/2) L⁻¹ by strips of columns, in register tiles: n³ flop.
// Lanes: consecutive columns of one row.
// n: any. dtypes: those that arithmetic is done in; complex in planar form.
// Memory: that of cpu/blocked.h and of cpu/triangle_solve.h.
#pragma once

#include "cpu/lu_blocked.h"
#include "cpu/triangle_lanes.h"
#include "cpu/triangle_solve.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// kRows rows from i of the column tile at j of Wᴴ W. left: the columns of W that belong to those rows, from row i on.
template <int kRows, class B>
JAXINV_INLINE void multiply_tile(const B& b, int64_t i, int64_t j, const typename B::R* left,
                                 typename B::Real scale) {
  using R = typename B::R;
  using V = typename B::V;
  const int64_t stride = b.columns * B::P, first = i > j ? i : j;
  V sum[kRows][B::kTileVectors];
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    JAXINV_UNROLL
    for (int c = 0; c < B::kTileVectors; ++c) sum[r][c] = V(R(0));
  }
  const R* row = b.a + first * stride + j * B::P;
  left += (first - i) * kRows * B::P;
  for (int64_t k = first; k < b.n; ++k, row += stride, left += kRows * B::P) {
    V right[B::kTileVectors];
    JAXINV_UNROLL
    for (int c = 0; c < B::kTileVectors; ++c) right[c] = V::load(row + c * B::W * B::P);
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) {
      V l;
      if constexpr (B::P == 2) {
        l = V(typename B::Real(left[2 * r]), typename B::Real(left[2 * r + 1]));
      } else {
        l = V(left[r]);
      }
      JAXINV_UNROLL
      for (int c = 0; c < B::kTileVectors; ++c) sum[r][c] = fma(l, right[c], sum[r][c]);
    }
  }
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    JAXINV_UNROLL
    for (int c = 0; c < B::kTileVectors; ++c) {
      (sum[r][c] * scale).store(b.a + (i + r) * stride + (j + c * B::W) * B::P);
    }
  }
}

// W ← the lower triangle of scale Wᴴ W, in place: a row of tiles needs the rows of W from its own on. left: room for
// n · kTileRows numbers.
template <class B>
void multiply_by_adjoint(const B& b, typename B::R scale, typename B::R* left) {
  using R = typename B::R;
  constexpr int P = B::P, kRows = B::kTileRows;
  for (int64_t i = 0; i < b.n; i += kRows) {
    R* to = left;
    for (int64_t k = i; k < b.n; ++k, to += kRows * P) {
      const R* row = b.a + k * b.columns * P;
      if constexpr (P == 1) {
        memcpy(to, row + i, sizeof(R) * kRows);
      } else {
        for (int r = 0; r < kRows; ++r) {
          to[2 * r] = row[B::at(i + r)];
          to[2 * r + 1] = -row[B::at(i + r) + B::W];
        }
      }
    }
    for (int64_t j = 0; j < i + kRows && j < b.n; j += B::kTileColumns) {
      multiply_tile<kRows>(b, i, j, left, typename B::Real(scale));
    }
  }
}

template <class S>
void inverse_positive(const InverseProblem& p, int64_t index, void* scratch,
                      const cpu::Team* team) {
  using B = Blocked<S>;
  using R = typename B::R;
  constexpr int P = B::P;
  const int64_t n = p.n;
  B b(n);
  b.place(scratch);
  char* rest = static_cast<char*>(scratch) + (b.bytes() + 8 + 63) / 64 * 64;
  S* x = static_cast<S*>(p.x) + index * n * n;
  const LuProblem q{p.dtype, p.structure, n, p.batch, p.a, x, nullptr, nullptr, nullptr, nullptr};
  int shift;
  const int64_t info = factor_blocked<S>(q, index, b, true, shift, team);
  store_by_products<S>(p, index, info, b.pivots, false, shift);
  if (info) return fill_nan(x, n * n);
  store_rows(b, x);
  for (int64_t k = 0; k < n; ++k) {
    const R root = R(__builtin_sqrt(b.pivots[k * P]));
    b.pivots[k] = 1 / root;
  }
  // The rows of L⁻¹, scaled, in the place of the factors.
  memset(b.a, 0, sizeof(R) * b.rows * b.columns * P);
  for (int64_t first = 0; first < n; first += B::kTileColumns) {
    const int64_t columns = n - first < B::kTileColumns ? n - first : B::kTileColumns;
    Substitution<S> s(n - first, columns, rest);
    invert_strip<true>(s, false, x, n, first, columns);
    const int64_t width = s.vectors * B::W * P;
    for (int64_t i = 0; i < s.n; ++i) {
      const R root = b.pivots[first + i];
      R* to = b.a + ((first + i) * b.columns + first) * P;
      for (int64_t c = 0; c < width; ++c) to[c] = s.row(i)[c] * root;
    }
  }
  multiply_by_adjoint(b, Range<R>::power(shift), reinterpret_cast<R*>(rest));
  mirror_triangle(b, false);
  store_rows(b, x);
}

template <class S>
size_t inverse_positive_scratch(int64_t n) {
  return Blocked<S>(n).bytes() + 128 +
         Substitution<S>::reals(n, Blocked<S>::kTileColumns) * sizeof(typename Blocked<S>::R);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
