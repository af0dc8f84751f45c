// Algorithm: Hermitian positive definite matrices by the blocked LU of cpu/lu_blocked.h without its pivot search, which
// is L D Lᴴ; their inverse as Wᴴ W, W = D^(-1/2) L⁻¹ by strips of columns, in register tiles: 4 n³/3 flop.
// Lanes: consecutive columns of one row.
// n: any. dtypes: those that arithmetic is done in; complex in planar form.
// Memory: that of cpu/blocked.h and of cpu/triangle_solve.h.
#pragma once

#include "cpu/lu_blocked.h"
#include "cpu/triangle_lanes.h"
#include "cpu/triangle_solve.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// kRows rows from i of the column tile at j of Wᴴ W.
template <int kRows, class B>
JAXINV_INLINE void multiply_tile(const B& b, int64_t i, int64_t j,
                                 typename B::V (&sum)[kRows][B::kTileVectors]) {
  using R = typename B::R;
  using V = typename B::V;
  const int64_t stride = b.columns * B::P, first = i > j ? i : j;
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    JAXINV_UNROLL
    for (int c = 0; c < B::kTileVectors; ++c) sum[r][c] = V(0);
  }
  const R* row = b.a + first * stride;
  for (int64_t k = first; k < b.n; ++k, row += stride) {
    V right[B::kTileVectors];
    JAXINV_UNROLL
    for (int c = 0; c < B::kTileVectors; ++c) right[c] = V::load(row + (j + c * B::W) * B::P);
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const V left = conjugate(broadcast_number<B>(row + B::at(i + r)));
      JAXINV_UNROLL
      for (int c = 0; c < B::kTileVectors; ++c) sum[r][c] = fma(left, right[c], sum[r][c]);
    }
  }
}

// Both triangles of the inverse from the rows of W.
template <class S, class B>
void store_product(const B& b, typename B::R unscale, S* x) {
  using R = typename B::R;
  constexpr int P = B::P, kRows = B::kTileRows;
  const int64_t n = b.n;
  for (int64_t i = 0; i < n; i += kRows) {
    const int64_t rows = n - i < kRows ? n - i : kRows;
    for (int64_t j = 0; j < i + rows; j += B::kTileColumns) {
      typename B::V sum[kRows][B::kTileVectors];
      multiply_tile<kRows>(b, i, j, sum);
      alignas(64) R tile[kRows * B::kTileColumns * P];
      for (int r = 0; r < kRows; ++r) {
        for (int c = 0; c < B::kTileVectors; ++c) {
          sum[r][c].store(tile + (r * B::kTileColumns + c * B::W) * P);
        }
      }
      for (int64_t r = i; r < i + rows; ++r) {
        const R* row = tile + (r - i) * B::kTileColumns * P;
        for (int64_t c = j; c < j + B::kTileColumns && c <= r; ++c) {
          const R re = row[B::at(c - j)] * unscale;
          if constexpr (P == 2) {
            const R im = c == r ? R(0) : row[B::at(c - j) + B::W] * unscale;
            x[r * n + c] = {re, im};
            x[c * n + r] = {re, c == r ? R(0) : -im};
          } else {
            x[r * n + c] = x[c * n + r] = re;
          }
        }
      }
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
  // The rows of L⁻¹, scaled, in the place of the factors.
  memset(b.a, 0, sizeof(R) * b.rows * b.columns * P);
  for (int64_t first = 0; first < n; first += B::kTileColumns) {
    const int64_t columns = n - first < B::kTileColumns ? n - first : B::kTileColumns;
    Substitution<S> s(n - first, columns, rest);
    invert_strip<true>(s, false, x, n, first, columns);
    const int64_t width = s.vectors * B::W * P;
    for (int64_t i = 0; i < s.n; ++i) {
      const R root = 1 / __builtin_sqrt(b.pivots[(first + i) * P]);
      R* to = b.a + ((first + i) * b.columns + first) * P;
      for (int64_t c = 0; c < width; ++c) to[c] = s.row(i)[c] * root;
    }
  }
  store_product(b, Range<R>::power(shift), x);
}

template <class S>
size_t inverse_positive_scratch(int64_t n) {
  return Blocked<S>(n).bytes() + 128 +
         Substitution<S>::reals(n, Blocked<S>::kTileColumns) * sizeof(typename Blocked<S>::R);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
