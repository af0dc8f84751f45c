// Algorithm: Gauss-Jordan with partial pivoting in panels of four columns. Inside a panel each column gets the steps
// before it as its turn comes; then all steps of the panel are applied at once to every other column, and to the
// panel's own what came after them. Rows never move: each lane's pivot row is gathered from its own place, and rows
// and columns are put in order at the store. Nothing is guarded: matrices with unusual pivots or results are done again
// by inverse_blocked. Place p of a column holds row n − 1 − p.
// Lanes: one matrix each.
// n: above kLoopedMax, to inverse_lanes_max. dtypes: all; half types are computed in float32.
// Memory: a tile of n × n vectors for each group of lanes (8 KB at n = 16 with AVX2), columns one after another. Columns
// of a panel, from their step on until its end, hold how much of the pivot row each row gets.
#pragma once

#include "cpu/columns.h"
#include "cpu/inverse_blocked.h"
#include "cpu/inverse_panels_tile.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

constexpr int kTileRows = kInverseLanesMax;
static_assert(kTileRows % 8 == 0 && kTileRows <= 32, "what the store and the keys can do");
// Columns of a panel: so many steps are applied at once.
constexpr int kPanelWidth = 4;

// A lane group's elimination, in memory.
template <class V_>
struct PanelElimination : ColumnTypes<V_> {
  using V = V_;
  using typename ColumnTypes<V>::R;
  using typename ColumnTypes<V>::I;
  using typename ColumnTypes<V>::Real;
  using typename ColumnTypes<V>::Index;
  using ColumnTypes<V>::W;
  using ColumnTypes<V>::P;
  using ColumnTypes<V>::kReals;
  using ColumnTypes<V>::kTaken;
  static constexpr I kPlaces = 31;                        // the low bits of a pivot key
  static constexpr int64_t kStride = kTileRows * kReals;  // from column to column
#ifdef __AVX2__
  // Whether permutations of vectors put columns in order at the store.
  static constexpr bool kPermutes = std::is_same_v<V, RVec<float, 8>>;
#else
  static constexpr bool kPermutes = false;
#endif

  R tile[kTileRows * kStride];
  // Entries of the pivot rows as the steps of a panel found them: of each column.
  R rows[kTileRows * kPanelWidth * kReals];
  V pivots[kTileRows];      // of each step
  Real power[kTileRows];    // what the store still has to multiply each step's row by
  Index at[kTileRows];      // the place of each step's pivot
  Index offset[kTileRows];  // and where it stands in a column
  Index place[kTileRows];   // 0, 1, ..., or kTaken where it was a pivot
  Index step[kTileRows];    // of each place, as step_at_store
  R staging[(kTileRows + 1) * kStride];

  // The lane of step k's column, or where that column starts.
  static JAXINV_INLINE I step_at_store(int64_t k) { return I(kPermutes ? k : k * kStride); }
  // What the search for a pivot compares: the magnitude of the row's entry, its low bits replaced by the place;
  // negative where the row was a pivot. One search finds both, and takes the lowest row where entries are nearly the
  // same. It begins with zero and is larger(key, best): keys that are NaN lose, and the place of the best is always one of
  // the matrix.
  static JAXINV_INLINE Real key(V x, Index place) {
    return Real::from_bits((pivot_key_bits(x) & Index(I(~kPlaces))) | place);
  }

  // Step k chooses the place of the best key. where: its offset in the column of each lane.
  JAXINV_INLINE void choose(int64_t k, Real best, int64_t (&where)[W]) {
    const Index own = best.bits() & Index(kPlaces);
    at[k] = own;
    const Index all = Index(typename Index::Raw(own.v * I(kReals))) + lane_numbers<Index>();
    offset[k] = all;
    JAXINV_UNROLL
    for (int l = 0; l < W; ++l) {
      where[l] = all.v[l];  // from a register: through memory it would come later
      // place · W + l, from the number at hand.
      const int64_t number = P == 1 ? where[l] : (where[l] + l) / 2;
      reinterpret_cast<I*>(step)[number] = step_at_store(k);
      reinterpret_cast<I*>(place)[number] = kTaken;
    }
  }
};

// Of step k, whose pivot is noted.
template <class E, class V = typename E::V>
JAXINV_INLINE PivotFactors<V> take_pivot(E& e, int64_t k, V pivot) {
  const PivotFactors<V> factors(pivot);
  e.pivots[k] = pivot;
  e.power[k] = power_reciprocal(factors.power);
  return factors;
}

template <class V, int... l>
JAXINV_INLINE V gather(const typename V::R* p, const int64_t (&offset)[V::W],
                       std::integer_sequence<int, l...>) {
  using Raw = typename Types<V>::Real::Raw;
  if constexpr (V::kParts == 2) {
    return {Raw{p[offset[l]]...}, Raw{p[offset[l] + V::W]...}};
  } else {
    return Raw{p[offset[l]]...};
  }
}
// One number from each lane's own place.
template <class V>
JAXINV_INLINE V gather(const typename V::R* p, const int64_t (&offset)[V::W]) {
  return gather<V>(p, offset, std::make_integer_sequence<int, V::W>{});
}
// The same from rows that were stored as vectors some time ago: those of all lanes, blended.
template <class Vector, int... l>
JAXINV_INLINE Vector gather_blended(const typename Vector::R* p, const int64_t (&offset)[Vector::W],
                                    std::integer_sequence<int, l...> lanes) {
  typename Vector::Raw x = Vector::load(p + offset[0]).v;
  ((x = l ? take_lane<l>(x, Vector::load(p + offset[l] - l).v, lanes) : x), ...);
  return Vector(x);
}
template <class V>
JAXINV_INLINE V gather_row(const typename V::R* p, const int64_t (&offset)[V::W]) {
  using Vector = typename Types<V>::Real;
  constexpr auto kLanes = std::make_integer_sequence<int, V::W>{};
  if constexpr (sizeof(Vector) != 32) {
    return gather<V>(p, offset);
  } else if constexpr (V::kParts == 2) {
    return {gather_blended<Vector>(p, offset, kLanes),
            gather_blended<Vector>(p + V::W, offset, kLanes)};
  } else {
    return gather_blended<V>(p, offset, kLanes);
  }
}
// To each lane's own place, as vectors where that is possible: loads of those are to follow soon.
template <class R, int W, int... l>
JAXINV_INLINE void scatter(RVec<R, W> x, R* p, const int64_t (&offset)[W],
                           std::integer_sequence<int, l...> lanes) {
  if constexpr (sizeof x.v == 32 && W == 4) {
    using Vector = RVec<R, W>;
    (Vector(take_lane<l>(Vector::load(p + offset[l] - l).v, x.v, lanes)).store(p + offset[l] - l),
     ...);
  } else {
    ((p[offset[l]] = x.v[l]), ...);
  }
}
template <class R, int W>
JAXINV_INLINE void scatter(RVec<R, W> x, R* p, const int64_t (&offset)[W]) {
  scatter(x, p, offset, std::make_integer_sequence<int, W>{});
}
template <class R, int W>
JAXINV_INLINE void scatter(CVec<R, W> x, R* p, const int64_t (&offset)[W]) {
  scatter(x.re, p, offset);
  scatter(x.im, p + W, offset);
}

// Lanes whose pivots were usual, one of each row.
template <class E>
JAXINV_INLINE typename E::Index usual_lanes(const E& e, int64_t n) {
  using Real = typename E::Real;
  using Index = typename E::Index;
  Index usual(typename E::I(-1));
  const Real least(kLeastPivot<typename E::R>), most = reciprocal(least);
  for (int64_t k = 0; k < n; ++k) {
    const Real size = magnitude(e.pivots[k]);
    // Where a row was never a pivot, another was twice.
    usual = usual & (size > least) & (most > size) & e.place[k];
  }
  return Index(typename E::I(0)) > usual;
}

template <class S>
using PanelEliminationOf =
    PanelElimination<Value<typename Storage<S>::R,
                           kNarrowBytes / int(sizeof(typename Storage<S>::R)), Storage<S>::kParts>>;

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

// To those from j to end. Registers are to hold the multiples, and nothing of what surrounds this.
template <int kWidth, class E>
[[gnu::noinline]] void apply_to_columns(E& e, int64_t n, int64_t k, int64_t j, int64_t end) {
  constexpr int kColumns = kPanelColumns / E::P;
  for (; end - j >= kColumns && end - j != kColumns + 1; j += kColumns) {
    apply_panel<kColumns, kWidth>(e, n, k, j);
  }
  if constexpr (kColumns > 2) {
    for (; end - j >= 2; j += 2) apply_panel<2, kWidth>(e, n, k, j);
  }
  for (; j < end; ++j) apply_panel<1, kWidth>(e, n, k, j);
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

// The key of a panel's first pivot.
template <class E>
JAXINV_INLINE typename E::Real search(const E& e, int64_t n, int64_t k) {
  const typename E::R* column = e.tile + k * E::kStride;
  typename E::Real best(typename E::R(0));
#pragma GCC unroll 2
  for (int64_t i = 0; i < n; ++i) {
    best = larger(E::key(E::V::load(column + i * E::kReals), e.place[i]), best);
  }
  return best;
}

// Step kStep of the panel from column k on, whose pivot has the key `best`. The key of the next.
template <int kStep, int kWidth, class E>
JAXINV_INLINE typename E::Real take_step(E& e, int64_t n, int64_t k, typename E::Real best) {
  using V = typename E::V;
  using R = typename E::R;
  using Real = typename E::Real;
  constexpr int kReals = E::kReals, W = E::W;
  int64_t offset[W];
  e.choose(k + kStep, best, offset);
  R* __restrict column = e.tile + (k + kStep) * E::kStride;
  const V pivot = gather<V>(column, offset);
  const PivotFactors<V> factors = take_pivot(e, k + kStep, pivot);
  // − (p − power) / p = power / p − 1: what the pivot row gets comes out of the same product.
  scatter(pivot - factors.power, column, offset);
  const R* __restrict from = e.tile;
  R* __restrict to = e.rows + kStep * kReals;
#pragma GCC unroll 2
  for (int64_t j = 0; j < n; ++j, from += E::kStride, to += kPanelWidth * kReals) {
    gather_row<V>(from, offset).store(to);
  }
  constexpr bool kNext = kStep + 1 < kWidth;
  V multiple[kPanelWidth];
  if constexpr (kNext) multiples_of<0, kStep + 1>(e, k, k + kStep + 1, multiple);
  best = Real(R(0));
#pragma GCC unroll 2
  for (int64_t i = 0; i < n; ++i) {
    R* own = column + i * kReals;
    const V factor = V::load(own) * factors.negative;
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
      best = larger(E::key(x, e.place[i]), best);
    }
  }
  return best;
}

// Every step of a panel of kWidth columns from k on.
template <int kWidth, class E>
JAXINV_INLINE void take_panel(E& e, int64_t n, int64_t k) {
  auto best = search(e, n, k);
  best = take_step<0, kWidth>(e, n, k, best);
  if constexpr (kWidth > 1) best = take_step<1, kWidth>(e, n, k, best);
  if constexpr (kWidth > 2) best = take_step<2, kWidth>(e, n, k, best);
  if constexpr (kWidth > 3) take_step<3, kWidth>(e, n, k, best);
  apply_to_columns<kWidth>(e, n, k, 0, k);
  apply_to_columns<kWidth>(e, n, k, k + kWidth, n);
  finish_panel<kWidth>(e, n, k);
}

// Every step of every panel.
template <class E>
JAXINV_INLINE void take_panels(E& e, int64_t n, Ahead ahead) {
  for (int64_t i = 0; i < n; ++i) e.place[i] = typename E::Index(typename E::I(i));
  int64_t k = 0;
  for (; k + 4 <= n; k += 4) {
    ahead.fetch();
    take_panel<4>(e, n, k);
  }
  if (n - k == 3) take_panel<3>(e, n, k);
  if (n - k == 2) take_panel<2>(e, n, k);
  if (n - k == 1) take_panel<1>(e, n, k);
}

template <class S>
void inverse_panels(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  using E = PanelEliminationOf<S>;
  using R = typename E::R;
  using V = typename E::V;
  using Index = typename E::Index;
  using I = typename E::I;
  constexpr int W = E::W;
  const int64_t n = p.n, reals = n * n * E::P, bytes = n * n * sizeof(S);
  E& e = *static_cast<E*>(scratch);
  for (int64_t index = begin; index < end; index += W) {
    const R* a = group_in<S, W>(p.a, index, end, reals, e.staging);
    load_matrices<E>(a, n, e.tile);
    take_panels(e, n, Ahead(p, index * bytes, W * bytes, n / kPanelWidth));
    const int64_t lanes = end - index < W ? end - index : W;
    if (p.info || p.mantissa) {
      Index odd(I(0));
      for (int64_t l = 0; l < n; ++l) {
        for (int64_t m = 0; m < l; ++m) odd = odd ^ (e.at[l] > e.at[m]);
      }
      store_group_by_products<V>(p, index, lanes, a, e.pivots, Index(I(0)), odd, Index(I(0)));
    }
    const Index usual = usual_lanes(e, n);
    bool fine[W];
    for (int lane = 0; lane < lanes; ++lane) fine[lane] = usual.v[lane];
    store_matrices(e, n, lanes, static_cast<R*>(p.x) + index * reals, fine);
    for (int lane = 0; lane < lanes; ++lane) {
      // It takes all of the scratch memory.
      if (!fine[lane]) inverse_blocked<S>(p, index + lane, scratch, nullptr);
    }
  }
}

// Bytes of scratch for one worker.
template <class S>
size_t inverse_panels_scratch(int64_t n) {
  const size_t own = sizeof(PanelEliminationOf<S>), blocked = inverse_blocked_scratch<S>(n);
  return own > blocked ? own : blocked;
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
