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
#include "cpu/inverse_panels_store.h"

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
  using ColumnTypes<V>::kReals;
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
  Index place[kTileRows];   // 0, 1, ...
  Index step[kTileRows];    // of each place, as step_at_store
  Index chosen;             // places that had their step, from the sign bit down
  Real best;                // the key of a panel's next pivot
  R staging[(kTileRows + 1) * kStride];

  // The lane of step k's column, or where that column starts.
  static JAXINV_INLINE I step_at_store(int64_t k) { return I(kPermutes ? k : k * kStride); }
  // What the search for a pivot compares: the magnitude of the row's entry, its low bits replaced by the place;
  // negative where the sign bit of `taken` is set. One search finds both, and takes the lowest row where entries are
  // nearly the same. It begins with zero and is larger(key, best): keys that are NaN lose, and the place of the best is
  // always one of the matrix.
  static JAXINV_INLINE Real key(V x, Index place, Index taken) {
    const Real size = Real::from_bits((pivot_key_bits(x) & Index(I(~kPlaces))) | place);
    return select(Index(I(0)) > taken, Real(R(-1)), size);
  }
  // `chosen` with the bit for `place` as its sign.
  static JAXINV_INLINE Index taken(Index chosen, int place) {
    return Index(typename Index::Raw(chosen.v << place));
  }

  // Step k chooses the place of the best key, which it returns, and marks it as chosen. where: its offset in the
  // column of each lane.
  JAXINV_INLINE Index choose(int64_t k, int64_t (&where)[W]) {
    using Unsigned = std::make_unsigned_t<I>;
    using Bits = typename RawVector<Unsigned, W>::type;
    const Index own = best.bits() & Index(kPlaces);
    const Bits sign = Bits{} + (Unsigned(1) << (8 * sizeof(I) - 1));
    chosen = chosen | Index(typename Index::Raw(sign >> Bits(own.v)));
    at[k] = own;
    const Index all = Index(typename Index::Raw(own.v * I(kReals))) + lane_numbers<Index>();
    offset[k] = all;
    JAXINV_UNROLL
    for (int l = 0; l < W; ++l) {
      where[l] = all.v[l];  // from a register: through memory it would come later
      // place · W + l, from the number at hand.
      const int64_t number = ColumnTypes<V>::P == 1 ? where[l] : (where[l] + l) / 2;
      reinterpret_cast<I*>(step)[number] = step_at_store(k);
    }
    return own;
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

// Lanes whose pivots were usual, one of each row.
template <class E>
JAXINV_INLINE typename E::Index usual_lanes(const E& e, int64_t n) {
  using Real = typename E::Real;
  using Index = typename E::Index;
  // Where a row was never a pivot, another was twice.
  using Unsigned = std::make_unsigned_t<typename E::I>;
  const auto all = typename E::I(~(Unsigned(-1) >> n));
  Index usual = e.chosen == Index(all);
  const Real least(kLeastPivot<typename E::R>), most = reciprocal(least);
  for (int64_t k = 0; k < n; ++k) {
    const Real size = magnitude(e.pivots[k]);
    usual = usual & (size > least) & (most > size);
  }
  return usual;
}

template <class S>
using PanelEliminationOf =
    PanelElimination<Value<typename Storage<S>::R,
                           kVectorBytes / int(sizeof(typename Storage<S>::R)), Storage<S>::kParts>>;

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
  const Index at = e.choose(k + kStep, offset);
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

// Every step of every panel.
template <class E>
JAXINV_INLINE void take_panels(E& e, int64_t n, Ahead ahead) {
  e.chosen = typename E::Index(typename E::I(0));
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
  const int64_t n = p.n, reals = n * n * E::P;
  int32_t places[kTileRows * kTileRows * E::P];
  place_reals<E>(n, places);
  E& e = *static_cast<E*>(scratch);
  for (int64_t index = begin; index < end; index += W) {
    const R* a = group_in<S, W>(p.a, index, end, reals, e.staging);
    load_lanes<R, W>(a, reals, e.tile, [&](int64_t real) { return places[real]; });
    take_panels(e, n, Ahead(p, sizeof(R) * reals, index, W, n / kPanelWidth));
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
