// The trailing update of the blocked elimination: column tiles outside the panel, in register
// tiles.
#pragma once

#include "cpu/blocked.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// kRows rows of one column tile: subtracts the products of the factors with the pivot rows. left: the factor of each
// row, those of the next step `stride` further; the imaginary part kImaginary behind the real one.
template <int kRows, int kImaginary, class B>
JAXINV_INLINE void subtract_products(const B& b, int64_t width,
                                     const typename B::R* const (&left)[kRows], int64_t stride,
                                     const typename B::R* pivot_rows, typename B::R* rows) {
  using Real = RVec<typename B::R, B::W>;
  using V = typename B::V;
  constexpr int kVectors = B::kTileVectors;
  V sum[kRows][kVectors];
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      sum[r][c] = V::load(rows + r * b.columns * B::P + c * B::W * B::P);
    }
  }
  for (int64_t k = 0, at = 0; k < width; ++k, at += stride, pivot_rows += B::kTileColumns * B::P) {
    V right[kVectors];
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) right[c] = V::load(pivot_rows + c * B::W * B::P);
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) {
      V l;
      if constexpr (B::P == 2) {
        l = V(Real(left[r][at]), Real(left[r][at + kImaginary]));
      } else {
        l = V(left[0][at + r]);  // rows stand side by side: one pointer, registers are few
      }
      JAXINV_UNROLL
      for (int c = 0; c < kVectors; ++c) sum[r][c] = fnma(l, right[c], sum[r][c]);
    }
  }
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      sum[r][c].store(rows + r * b.columns * B::P + c * B::W * B::P);
    }
  }
}

// The same for rows from i on, by the factors as a panel leaves them.
template <int kRows, class B>
JAXINV_INLINE void update_tile(const B& b, int64_t width, int64_t i,
                               const typename B::R* pivot_rows, typename B::R* tile) {
  const typename B::R* left[kRows];
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) left[r] = b.factors + B::at(i + r);
  subtract_products<kRows, B::W>(b, width, left, b.rows * B::P, pivot_rows,
                                 tile + i * b.columns * B::P);
}

// Brings kRows pivot rows from `first` on to their own steps: subtracts the multiples of the pivot
// rows before them, then of each other, and scales each.
template <int kRows, class B>
JAXINV_INLINE void solve_pivot_rows(const B& b, int64_t first, typename B::R* rows) {
  using R = typename B::R;
  using V = typename B::V;
  constexpr int kVectors = B::kTileVectors, kReals = B::kTileColumns * B::P;
  V x[kRows][kVectors];
  auto lower = [&](int64_t row, int64_t step) {
    const R* p = b.lower + (row * b.block_width + step) * B::P;
    if constexpr (B::P == 2) {
      return V(RVec<R, B::W>(p[0]), RVec<R, B::W>(p[1]));
    } else {
      return V(p[0]);
    }
  };
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c)
      x[r][c] = V::load(rows + (first + r) * kReals + c * B::W * B::P);
  }
  for (int64_t step = 0; step < first; ++step) {
    V right[kVectors];
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) right[c] = V::load(rows + step * kReals + c * B::W * B::P);
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) {
      V l = lower(first + r, step);
      JAXINV_UNROLL
      for (int c = 0; c < kVectors; ++c) x[r][c] = fnma(l, right[c], x[r][c]);
    }
  }
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const R* p = b.scales + (first + r) * 2 * B::P;
    RVec<R, B::W> scale(p[0]);
    V inverse(p[1]);
    if constexpr (B::P == 2) inverse.im = RVec<R, B::W>(p[2]);
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      x[r][c] = (x[r][c] * scale) * inverse;
      x[r][c].store(rows + (first + r) * kReals + c * B::W * B::P);
    }
    JAXINV_UNROLL
    for (int below = r + 1; below < kRows; ++below) {
      V l = lower(first + below, first + r);
      JAXINV_UNROLL
      for (int c = 0; c < kVectors; ++c) x[below][c] = fnma(l, x[r][c], x[below][c]);
    }
  }
}

template <int kRows, class B>
JAXINV_INLINE void update_last_rows(const B& b, int64_t width, int64_t i,
                                    const typename B::R* packed, typename B::R* tile) {
  if constexpr (kRows > 0) {
    if (b.n - i == kRows) return update_tile<kRows>(b, width, i, packed, tile);
    return update_last_rows<kRows - 1>(b, width, i, packed, tile);
  }
}

// The pivot rows k … of a column tile, each at its own step; row swaps first. In the tile they start from zero.
template <class B>
void take_pivot_rows(const B& b, int64_t k, int64_t width, typename B::R* tile,
                     typename B::R* pivot_rows) {
  using R = typename B::R;
  using V = typename B::V;
  constexpr int kReals = B::kTileColumns * B::P;
  const int64_t stride = b.columns * B::P;
  for (int64_t c = 0; c < width; ++c) {
    R* here = tile + (k + c) * stride;
    R* there = tile + b.swap[k + c] * stride;
    if (here == there) continue;
    for (int v = 0; v < kReals; v += B::W * B::P) {
      V x = V::load(here + v), y = V::load(there + v);
      x.store(there + v);
      y.store(here + v);
    }
  }
  for (int64_t c = 0; c < width; ++c) {
    memcpy(pivot_rows + c * kReals, tile + (k + c) * stride, sizeof(R) * kReals);
    memset(tile + (k + c) * stride, 0, sizeof(R) * kReals);
  }
  int64_t i = 0;
  for (; i + 4 <= width; i += 4) solve_pivot_rows<4>(b, i, pivot_rows);
  for (; i < width; ++i) solve_pivot_rows<1>(b, i, pivot_rows);
}

// Column tiles among begin … end − 1 without those of columns k … k + width − 1.
template <class B>
struct ColumnTiles {
  int64_t begin, before, width, count;

  ColumnTiles(int64_t k, int64_t width, int64_t begin, int64_t end)
      : begin(begin),
        before((k - begin) / B::kTileColumns),
        width(B::round_up(width, B::kTileColumns)),
        count((B::round_up(end - begin, B::kTileColumns) - this->width) / B::kTileColumns) {}
  int64_t column(int64_t t) const { return begin + t * B::kTileColumns + (t < before ? 0 : width); }
};

// Applies a panel of columns k … to the column tiles first … last − 1 of `tiles`: the pivot rows of each, then
// tile ← tile − factors · (pivot rows).
template <class B>
void update_by_panel(const B& b, int64_t k, int64_t width, const ColumnTiles<B>& tiles,
                     int64_t first, int64_t last) {
  alignas(64) typename B::R pivot_rows[B::kPanelMax * B::kTileColumns * B::P];
  for (int64_t t = first; t < last; ++t) {
    typename B::R* tile = b.a + tiles.column(t) * B::P;
    take_pivot_rows(b, k, width, tile, pivot_rows);
    int64_t i = 0;
    for (; i + B::kTileRows <= b.n; i += B::kTileRows) {
      update_tile<B::kTileRows>(b, width, i, pivot_rows, tile);
    }
    update_last_rows<B::kTileRows - 1>(b, width, i, pivot_rows, tile);
  }
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
