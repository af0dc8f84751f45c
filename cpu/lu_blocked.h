// Algorithm: blocked right-looking LU with partial pivoting, one matrix at a time: panels of columns, four steps
// at once on their other columns, then register-tiled rank-k updates of the rest. Every entry sees its
// steps in order, so neither the blocks nor threads that share column tiles change its bits.
// Lanes: consecutive columns of one row; in a panel, consecutive rows of one column.
// n: any. dtypes: those that arithmetic is done in; complex in planar form.
// Memory: that of cpu/blocked.h.
#pragma once

#include "cpu/blocked_panel.h"
#include "cpu/blocked_update.h"
#include "cpu/determinant.h"
#include "cpu/share.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// Steps first … first + kSteps − 1 of the panel of columns k … on kColumns of its columns from j.
template <int kSteps, int kColumns, class B>
JAXINV_INLINE void apply_lu_steps(const B& b, int64_t k, int64_t first, int64_t j) {
  using R = typename B::R;
  using V = typename B::V;
  const int64_t stride = b.rows * B::P;
  const R* __restrict factors = b.factors + first * stride;
  R* __restrict column = b.panel + j * stride;
  V multiple[kColumns][kSteps];
  JAXINV_UNROLL
  for (int q = 0; q < kColumns; ++q) {
    JAXINV_UNROLL
    for (int c = 0; c < kSteps; ++c) {
      const int64_t row = B::at(k + first + c);
      multiple[q][c] = broadcast_number<B>(column + q * stride + row);
      JAXINV_UNROLL
      for (int d = 0; d < c; ++d) {
        const V factor = broadcast_number<B>(factors + d * stride + row);
        multiple[q][c] = fnma(factor, multiple[q][d], multiple[q][c]);
      }
    }
  }
  for (int64_t i = (k + first) / B::W * B::W * B::P; i < stride; i += B::W * B::P) {
    V x[kColumns];
    JAXINV_UNROLL
    for (int q = 0; q < kColumns; ++q) x[q] = V::load(column + q * stride + i);
    JAXINV_UNROLL
    for (int c = 0; c < kSteps; ++c) {
      const V factor = V::load(factors + c * stride + i);
      JAXINV_UNROLL
      for (int q = 0; q < kColumns; ++q) x[q] = fnma(factor, multiple[q][c], x[q]);
    }
    JAXINV_UNROLL
    for (int q = 0; q < kColumns; ++q) x[q].store(column + q * stride + i);
  }
}

template <int kSteps, class B>
void apply_lu_steps_between(const B& b, int64_t k, int64_t first, int64_t j, int64_t end) {
  constexpr int kColumns = B::P == 2 ? 1 : 2;
  for (; j + kColumns <= end; j += kColumns) apply_lu_steps<kSteps, kColumns>(b, k, first, j);
  if (j < end) apply_lu_steps<kSteps, 1>(b, k, first, j);
}

// The row of the largest entry of a panel column from row k on; ties take the lowest row.
template <class B>
int64_t find_lu_pivot(const B& b, const typename B::R* column, int64_t k) {
  using V = typename B::V;
  using Index = typename B::Index;
  using I = typename Types<V>::Real::I;
  int64_t i = k / B::W * B::W;
  Index here = lane_numbers<Index>() + Index(I(i));
  const Index first{I(k)}, end{I(b.n)};
  // As integers: NaN above all numbers, other rows below them.
  auto key_of = [&](const Index& rows) {
    const Index inside = (rows == first) | ((rows > first) & (end > rows));
    return pivot_key_bits(V::load(column + i * B::P)) | (inside ^ Index(I(-1)));
  };
  Index best = key_of(here), row = here;
  for (i += B::W; i < b.n; i += B::W) {
    here = here + Index(I(B::W));
    const Index key = key_of(here), larger = key > best;
    best = select(larger, key, best);
    row = select(larger, here, row);
  }
  return lowest_where_largest(best, row);
}

// Step c of the panel of columns k …: pivot search and row exchange (none where `positive`), multipliers. They go into the column and, zero
// in the rows that have had their step, to `factors`. Returns false where the pivot is bad.
template <class B>
bool find_multipliers(B& b, int64_t k, int64_t width, int64_t c, bool positive) {
  using V = typename B::V;
  using R = typename B::R;
  using Index = typename B::Index;
  using I = typename Types<V>::Real::I;
  const int64_t stride = b.rows * B::P, step = k + c;
  R* column = b.panel + c * stride;
  const int64_t row = positive ? step : find_lu_pivot(b, column, step);
  b.swap[step] = row;
  if (row != step) {
    exchange(b.origin[step], b.origin[row]);
    swap_panel_rows(b, b.panel, width, step, row);
    swap_panel_rows(b, b.factors, c, step, row);
  }
  if constexpr (B::P == 2) {
    if (positive) column[B::at(step) + B::W] = 0;
  }
  const V pivot = broadcast_number<B>(column + B::at(step));
  for (int part = 0; part < B::P; ++part) {
    b.pivots[step * B::P + part] = column[B::at(step) + part * B::W];
  }
  if (bad_pivot(pivot).v[0] || (positive && column[B::at(step)] < 0)) return false;
  // Dividing by way of an exact power of two: a denormal pivot must not make 0 · inf.
  const auto scale = pivot_scale(pivot);
  const V inverse = reciprocal(pivot * scale);
  const Index last{I(step)};
  int64_t i = (k + c / 4 * 4) / B::W * B::W;  // where the four steps of factor_steps start
  Index rows = lane_numbers<Index>() + Index(I(i));
  for (; i < b.rows; i += B::W, rows = rows + Index(I(B::W))) {
    const Index below = rows > last;
    const V x = V::load(column + i * B::P), multiplier = (x * scale) * inverse;
    keep(below, multiplier).store(b.factors + c * stride + i * B::P);
    select(below, multiplier, x).store(column + i * B::P);
  }
  return true;
}

// kSteps steps on their own columns, then on those behind them. Returns the first bad step or 0.
template <int kSteps, class B>
int64_t factor_steps(B& b, int64_t k, int64_t width, int64_t first, bool positive) {
  for (int64_t c = first; c < first + kSteps; ++c) {
    if (!find_multipliers(b, k, width, c, positive)) return k + c + 1;
    apply_lu_steps_between<1>(b, k, c, c + 1, first + kSteps);
  }
  apply_lu_steps_between<kSteps>(b, k, first, first + kSteps, width);
  return 0;
}

template <class B>
int64_t factor_panel(B& b, int64_t k, int64_t width, bool positive) {
  int64_t first = 0, info = 0;
  for (; first + 4 <= width && !info; first += 4)
    info = factor_steps<4>(b, k, width, first, positive);
  for (; first < width && !info; ++first) info = factor_steps<1>(b, k, width, first, positive);
  return info;
}

// The row exchanges of a panel, in the columns begin … end − 1 of the matrix.
template <class B>
void exchange_rows(const B& b, int64_t k, int64_t width, int64_t begin, int64_t end) {
  using V = typename B::V;
  for (int64_t c = 0; c < width; ++c) {
    if (b.swap[k + c] == k + c) continue;
    typename B::R* here = b.a + (k + c) * b.columns * B::P;
    typename B::R* there = b.a + b.swap[k + c] * b.columns * B::P;
    for (int64_t j = begin * B::P; j < end * B::P; j += B::W * B::P) {
      const V x = V::load(here + j), y = V::load(there + j);
      x.store(there + j);
      y.store(here + j);
    }
  }
}

// kRows rows of U from `first` on: subtracts the multiples of those before them, then of each other.
template <int kRows, class B>
JAXINV_INLINE void finish_upper_rows(const B& b, int64_t k, int64_t first, typename B::R* rows) {
  using V = typename B::V;
  constexpr int kVectors = B::kTileVectors, kReals = B::kTileColumns * B::P;
  V x[kRows][kVectors];
  auto lower = [&](int64_t row, int64_t step) {
    return broadcast_number<B>(b.factors + step * b.rows * B::P + B::at(k + row));
  };
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      x[r][c] = V::load(rows + (first + r) * kReals + c * B::W * B::P);
    }
  }
  for (int64_t step = 0; step < first; ++step) {
    V above[kVectors];
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) above[c] = V::load(rows + step * kReals + c * B::W * B::P);
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const V l = lower(first + r, step);
      JAXINV_UNROLL
      for (int c = 0; c < kVectors; ++c) x[r][c] = fnma(l, above[c], x[r][c]);
    }
  }
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) x[r][c].store(rows + (first + r) * kReals + c * B::W * B::P);
    JAXINV_UNROLL
    for (int below = r + 1; below < kRows; ++below) {
      const V l = lower(first + below, first + r);
      JAXINV_UNROLL
      for (int c = 0; c < kVectors; ++c) x[below][c] = fnma(l, x[r][c], x[below][c]);
    }
  }
}

// The column tile that starts at column j: its rows of U, then what lies below them.
template <class B>
void update_lu_tile(const B& b, int64_t k, int64_t width, int64_t j) {
  using R = typename B::R;
  alignas(64) R packed[B::kPanelMax * B::kTileColumns * B::P];
  constexpr int kReals = B::kTileColumns * B::P;
  R* tile = b.a + j * B::P;
  const int64_t stride = b.columns * B::P;
  for (int64_t c = 0; c < width; ++c) {
    memcpy(packed + c * kReals, tile + (k + c) * stride, sizeof(R) * kReals);
  }
  int64_t i = 0;
  for (; i + 4 <= width; i += 4) finish_upper_rows<4>(b, k, i, packed);
  for (; i < width; ++i) finish_upper_rows<1>(b, k, i, packed);
  for (int64_t c = 0; c < width; ++c) {
    memcpy(tile + (k + c) * stride, packed + c * kReals, sizeof(R) * kReals);
  }
  for (i = k + width; i + B::kTileRows <= b.n; i += B::kTileRows) {
    update_tile<B::kTileRows>(b, width, i, packed, tile);
  }
  update_last_rows<B::kTileRows - 1>(b, width, i, packed, tile);
}

// The same of a Hermitian matrix: the rows of U = D Lᴴ are known with L, and what lies above the panel that the tile
// belongs to is not read again.
template <class B>
void update_positive_tile(const B& b, int64_t k, int64_t width, int64_t j) {
  using R = typename B::R;
  using V = typename B::V;
  using Real = RVec<R, B::W>;
  alignas(64) R packed[B::kPanelMax * B::kTileColumns * B::P];
  constexpr int kReals = B::kTileColumns * B::P;
  R* tile = b.a + j * B::P;
  for (int64_t c = 0; c < width; ++c) {
    const Real pivot(b.pivots[(k + c) * B::P]);
    for (int64_t v = 0; v < B::kTileColumns; v += B::W) {
      V u(R(0));
      if (j + v < b.rows) u = conjugate(V::load(b.factors + (c * b.rows + j + v) * B::P)) * pivot;
      u.store(packed + c * kReals + v * B::P);
    }
    memcpy(tile + (k + c) * b.columns * B::P, packed + c * kReals, sizeof(R) * kReals);
  }
  const int64_t behind = k + width, above = j / b.panel_width * b.panel_width - behind;
  int64_t i = behind + above / B::kTileRows * B::kTileRows;
  for (; i + B::kTileRows <= b.n; i += B::kTileRows) {
    update_tile<B::kTileRows>(b, width, i, packed, tile);
  }
  update_last_rows<B::kTileRows - 1>(b, width, i, packed, tile);
}

// All column tiles behind the panel, shared by the team where there is one.
template <class B>
void update_behind(const B& b, int64_t k, int64_t width, bool positive, const cpu::Team* team) {
  const int64_t tiles = (b.n - k - width + B::kTileColumns - 1) / B::kTileColumns;
  share(tiles, team ? (tiles + 7) / 8 : tiles, team, [&](int64_t t, int64_t last) {
    for (; t < last; ++t) {
      const int64_t j = k + width + t * B::kTileColumns;
      positive ? update_positive_tile(b, k, width, j) : update_lu_tile(b, k, width, j);
    }
  });
}

template <class S, class B>
void store_rows(const B& b, S* dst) {
  for (int64_t i = 0; i < b.n; ++i, dst += b.n) {
    const typename B::R* row = b.a + i * b.columns * B::P;
    if constexpr (B::P == 2) {
      for (int64_t j = 0; j < b.n; ++j) dst[j] = {row[B::at(j)], row[B::at(j) + B::W]};
    } else {
      memcpy(dst, row, sizeof(S) * b.n);
    }
  }
}

// The other triangle of a Hermitian matrix from the one that is read, block by block.
template <class B>
void mirror_triangle(const B& b, bool upper) {
  using R = typename B::R;
  using Real = RVec<R, B::W>;
  const int64_t stride = b.columns * B::P;
  for (int64_t i = 0; i < b.n; i += B::W) {
    for (int64_t j = 0; j < i; j += B::W) {
      for (int part = 0; part < B::P; ++part) {
        R* low = b.a + i * stride + j * B::P + part * B::W;
        R* high = b.a + j * stride + i * B::P + part * B::W;
        if (!upper) exchange(low, high);  // pointers: from high to low
        typename Real::Raw v[B::W];
        for (int l = 0; l < B::W; ++l) {
          const Real x = Real::load(high + l * stride);
          v[l] = (part ? -x : x).v;
        }
        transpose<B::W>(v);
        for (int l = 0; l < B::W; ++l) Real(v[l]).store(low + l * stride);
      }
    }
    const int64_t end = i + B::W < b.n ? i + B::W : b.n;
    for (int64_t row = i; row < end; ++row) {
      for (int64_t column = i; column < row; ++column) {
        R* low = b.a + row * stride + B::at(column);
        R* high = b.a + column * stride + B::at(row);
        if (!upper) exchange(low, high);
        low[0] = high[0];
        if constexpr (B::P == 2) low[B::W] = -high[B::W];
      }
      if constexpr (B::P == 2) b.a[row * stride + B::at(row) + B::W] = 0;
    }
  }
}

// Factors matrix `index`, in its padded copy where `keep` is set. Returns info; shift: what it was scaled by.
template <class S, class B>
int64_t factor_blocked(const LuProblem& p, int64_t index, B& b, bool keep, int& shift,
                       const cpu::Team* team) {
  using R = typename B::R;
  const int64_t n = p.n;
  const bool positive = is_pos(p.structure);
  R largest = load_matrix(static_cast<const S*>(p.a) + index * n * n, b);
  if (positive) {
    mirror_triangle(b, p.structure == Structure::kPosUpper);
    largest = largest_real(b);
  }
  shift = p.permutation ? 0 : Range<R>::shift(largest);
  if (shift) {
    const R scale = Range<R>::power(shift);
    for (int64_t i = 0; i < b.rows * b.columns * B::P; ++i) b.a[i] *= scale;
  }
  for (int64_t i = 0; i < n; ++i) b.origin[i] = i;
  int64_t info = 0;
  for (int64_t k = 0; k < n && !info; k += b.panel_width) {
    const int64_t width = n - k < b.panel_width ? n - k : b.panel_width;
    move_panel<false>(b, k, width, k);
    info = factor_panel(b, k, width, positive);
    if (info) break;
    if (keep) exchange_rows(b, k, width, 0, k);
    if (k + width < n) {
      exchange_rows(b, k, width, k + width, b.columns);
      update_behind(b, k, width, positive, team);
    }
    if (keep) move_panel<true>(b, k, width, k);
  }
  return info;
}

template <class S>
void lu_blocked(const LuProblem& p, int64_t index, void* scratch, const cpu::Team* team) {
  const int64_t n = p.n;
  Blocked<S> b(n);
  b.place(scratch);
  int shift;
  const int64_t info = factor_blocked<S>(p, index, b, p.lu, shift, team);
  bool odd = false;
  for (int64_t k = 0; k < n && !info; ++k) odd ^= b.swap[k] != k;
  if (p.lu) {
    S* lu = static_cast<S*>(p.lu) + index * n * n;
    info ? fill_nan(lu, n * n) : store_rows(b, lu);
    for (int64_t i = 0; i < n; ++i) p.permutation[index * n + i] = int32_t(b.origin[i]);
  }
  store_by_products<S>(p, index, info, b.pivots, odd, shift);
}

template <class S>
size_t lu_blocked_scratch(int64_t n) {
  return Blocked<S>(n).bytes() + 8;
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
