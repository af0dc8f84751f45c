// Algorithm: Gauss-Jordan with partial pivoting in panels of four columns. Inside a panel each column gets the steps
// before it as its turn comes; then all steps of the panel are applied at once to every other column, and to the
// panel's own what came after them.
// Lanes: one matrix each (cpu/lane_elimination.h).
// n: above kByColumnMax, to inverse_lanes_max. dtypes: all; half types are computed in float32.
// Memory: a tile of n × n vectors for each group of lanes (8 KB at n = 16 with AVX2), columns one after another. Columns
// of a panel, from their step on until its end, hold how much of the pivot row each row gets.
#pragma once

#include "cpu/lane_elimination.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// Columns that all steps of a panel are applied to at once: as many as registers hold multiples of.
#if defined(__FMA__) || defined(__aarch64__)
constexpr int kPanelColumns = kRegisters == 32 ? 4 : 3;
#else
constexpr int kPanelColumns = 2;
#endif

// Of column j: what steps kFirst … kLast − 1 of the panel from column k on find in their pivot rows.
template <int kFirst, int kLast, class E, class V = typename E::V>
JAXINV_INLINE void multiples_of(const E& e, int64_t k, int64_t j, V (&multiple)[kPanelWidth]) {
  auto row = [&](int64_t column, int c) {
    return V::load(e.rows + (column * kPanelWidth + c) * E::kReals);
  };
  JAXINV_UNROLL
  for (int c = kFirst; c < kLast; ++c) {
    multiple[c] = row(j, c);
    JAXINV_UNROLL
    for (int d = kFirst; d < c; ++d) multiple[c] = fma(row(k + d, c), multiple[d], multiple[c]);
  }
}

// Applies the steps of a panel of kWidth columns to kColumns other columns, from j on.
template <int kColumns, int kWidth, class E, class V = typename E::V>
JAXINV_INLINE void apply_panel(E& e, int64_t n, int64_t k, int64_t j) {
  constexpr int kReals = E::kReals;
  V multiple[kColumns][kPanelWidth];
  JAXINV_UNROLL
  for (int q = 0; q < kColumns; ++q) multiples_of<0, kWidth>(e, k, j + q, multiple[q]);
  typename E::R* __restrict x = e.tile + j * E::kStride;
  const typename E::R* __restrict factors = e.tile + k * E::kStride;
#pragma GCC unroll 2
  for (int64_t i = 0; i < n * kReals; i += kReals) {
    V sum[kColumns];
    JAXINV_UNROLL
    for (int q = 0; q < kColumns; ++q) sum[q] = V::load(x + q * E::kStride + i);
    JAXINV_UNROLL
    for (int c = 0; c < kWidth; ++c) {
      V factor = V::load(factors + c * E::kStride + i);
      if constexpr (kColumns > 1) factor = factor.opaque();
      JAXINV_UNROLL
      for (int q = 0; q < kColumns; ++q) sum[q] = fma(factor, multiple[q][c], sum[q]);
    }
    JAXINV_UNROLL
    for (int q = 0; q < kColumns; ++q) sum[q].store(x + q * E::kStride + i);
  }
}

// To the panel's own columns what came after them.
template <int kWidth, class E, class V = typename E::V>
JAXINV_INLINE void finish_panel(E& e, int64_t n, int64_t k) {
  constexpr int kReals = E::kReals;
  V multiple[kWidth][kPanelWidth];
  multiples_of<1, kWidth>(e, k, k, multiple[0]);
  if constexpr (kWidth > 2) multiples_of<2, kWidth>(e, k, k + 1, multiple[1]);
  if constexpr (kWidth > 3) multiples_of<3, kWidth>(e, k, k + 2, multiple[2]);
  typename E::R* x = e.tile + k * E::kStride;
  for (int64_t i = 0; i < n * kReals; i += kReals) {
    V sum[kWidth];
    JAXINV_UNROLL
    for (int c = 0; c < kWidth; ++c) {
      sum[c] = V::load(x + c * E::kStride + i);
      JAXINV_UNROLL
      for (int q = 0; q < c; ++q) sum[q] = fma(sum[c], multiple[q][c], sum[q]);
    }
    JAXINV_UNROLL
    for (int q = 0; q < kWidth - 1; ++q) sum[q].store(x + q * E::kStride + i);
  }
  // The pivot rows got one less than their share.
  for (int64_t c = k; c < k + kWidth; ++c) {
    JAXINV_UNROLL
    for (int l = 0; l < E::W; ++l) e.tile[c * E::kStride + e.offset[c].v[l]] += typename E::R(1);
  }
}

// Finds the first pivot of a panel.
template <class E>
JAXINV_INLINE void search(E& e, int64_t n, int64_t k) {
  const typename E::R* column = e.tile + k * E::kStride;
  typename E::Real best(typename E::R(0));
  typename E::Index taken = e.chosen;
#pragma GCC unroll 2
  for (int64_t i = 0; i < n; ++i) {
    best = larger(E::key(E::V::load(column + i * E::kReals), e.place[i], taken), best);
    taken = E::taken(taken, 1);
  }
  e.best = best;
}

// Step kStep of the panel from column k on, and the search for the next.
template <int kStep, int kWidth, class E>
JAXINV_INLINE void take_step(E& e, int64_t n, int64_t k) {
  using V = typename E::V;
  using R = typename E::R;
  using Real = typename E::Real;
  using Index = typename E::Index;
  constexpr int kReals = E::kReals, W = E::W;
  int64_t offset[W];
  const Index at = e.choose(k + kStep, e.best, e.chosen, offset);
  R* __restrict column = e.tile + (k + kStep) * E::kStride;
  const PivotFactors<V> factors = take_pivot(e, k + kStep, gather<V>(column, offset));
  const R* __restrict from = e.tile;
  R* __restrict to = e.rows + kStep * kReals;
#pragma GCC unroll 2
  for (int64_t j = 0; j < n; ++j, from += E::kStride, to += kPanelWidth * kReals) {
    gather<V>(from, offset).store(to);
  }
  constexpr bool kNext = kStep + 1 < kWidth;
  V multiple[kPanelWidth];
  if constexpr (kNext) multiples_of<0, kStep + 1>(e, k, k + kStep + 1, multiple);
  const Index* __restrict place = e.place;
  Index taken = e.chosen;
  Real best(R(0));
#pragma GCC unroll 2
  for (int64_t i = 0; i < n; ++i) {
    R* own = column + i * kReals;
    const V factor = select(place[i] == at, factors.excess, V::load(own) * factors.negative);
    factor.store(own);
    if constexpr (kNext) {
      // The next column as it is when its turn comes.
      V x = V::load(own + E::kStride);
      JAXINV_UNROLL
      for (int c = 0; c < kStep; ++c) {
        x = fma(V::load(own + (c - kStep) * E::kStride), multiple[c], x);
      }
      x = fma(factor, multiple[kStep], x);
      x.store(own + E::kStride);
      best = larger(E::key(x, place[i], taken), best);
      taken = E::taken(taken, 1);
    }
  }
  e.best = best;
}

// Every step of a panel of kWidth columns from k on.
template <int kWidth, class E>
JAXINV_INLINE void take_panel(E& e, int64_t n, int64_t k) {
  constexpr int kColumns = kPanelColumns / E::P;
  search(e, n, k);
  take_step<0, kWidth>(e, n, k);
  if constexpr (kWidth > 1) take_step<1, kWidth>(e, n, k);
  if constexpr (kWidth > 2) take_step<2, kWidth>(e, n, k);
  if constexpr (kWidth > 3) take_step<3, kWidth>(e, n, k);
  auto apply = [&](int64_t j, int64_t end) {
    for (; end - j >= kColumns && end - j != kColumns + 1; j += kColumns) {
      apply_panel<kColumns, kWidth>(e, n, k, j);
    }
    if constexpr (kColumns > 2) {
      for (; end - j >= 2; j += 2) apply_panel<2, kWidth>(e, n, k, j);
    }
    for (; j < end; ++j) apply_panel<1, kWidth>(e, n, k, j);
  };
  apply(0, k);
  apply(k + kWidth, n);
  finish_panel<kWidth>(e, n, k);
}

// Where each real of a matrix goes in the tile.
template <class E>
void place_reals(int64_t n, int32_t* to) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      for (int part = 0; part < E::P; ++part) {
        *to++ = int32_t(j * E::kStride + (n - 1 - i) * E::kReals + part * E::W);
      }
    }
  }
}

template <class S>
void inverse_panels(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  using E = LaneEliminationOf<S>;
  using Index = typename E::Index;
  using I = typename E::I;
  const int64_t n = p.n;
  int32_t places[kTileRows * kTileRows * E::P];
  place_reals<E>(n, places);
  inverse_by_lanes<S, kPanelWidth>(
      p, n, begin, end, scratch, [&](int64_t real) { return places[real]; },
      [&](E& e, Ahead ahead) {
        e.inverse = e.tile;
        e.chosen = Index(I(0));
        for (int64_t i = 0; i < n; ++i) e.place[i] = Index(I(i));
        int64_t k = 0;
        for (; k + 4 <= n; k += 4) {
          ahead.fetch();
          take_panel<4>(e, n, k);
        }
        if (n - k == 3) take_panel<3>(e, n, k);
        if (n - k == 2) take_panel<2>(e, n, k);
        if (n - k == 1) take_panel<1>(e, n, k);
      });
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
