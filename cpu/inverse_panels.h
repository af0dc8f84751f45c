// Algorithm: Gauss-Jordan with partial pivoting in panels of four columns. Inside a panel each column gets the steps
// before it as its turn comes; then all steps of the panel are applied at once to every other column, and to the
// panel's own what came after them. Rows never move: each lane's pivot row is gathered from its own place, and
// rows and columns are put in order at the store. Nothing is guarded: matrices with unusual pivots or results are
// done again by inverse_blocked.
// Lanes: one matrix each.
// n: above the unrolled sizes, to kInverseLanesMax. dtypes: all; half types are computed in float32.
// Memory: a tile of n × n vectors for each group of lanes (8 KB at n = 16 with AVX2), columns one after another.
#pragma once

#include "cpu/columns.h"
#include "cpu/inverse_blocked.h"
#include "cpu/inverse_panels_store.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

constexpr int kPanelWidth = 4;
constexpr int kPanelsMax = kInverseLanesMax;  // a multiple of 8, at most 32
// Columns that all steps of a panel are applied to at once: as many as registers hold multiples of.
#if defined(__FMA__) || defined(__aarch64__)
constexpr int kPanelColumns = kRegisters == 32 ? 4 : 3;
#else
constexpr int kPanelColumns = 2;
#endif

// A lane group's elimination, in memory. Place p of a column holds row n − 1 − p.
template <class V_>
struct PanelElimination : ColumnTypes<V_> {
  using V = V_;
  using typename ColumnTypes<V>::R;
  using typename ColumnTypes<V>::I;
  using typename ColumnTypes<V>::Real;
  using typename ColumnTypes<V>::Index;
  using ColumnTypes<V>::W;
  using ColumnTypes<V>::kReals;
  static constexpr I kPlaces = 31;                         // the low bits of a pivot key
  static constexpr int64_t kStride = kPanelsMax * kReals;  // from column to column
#ifdef __AVX2__
  // Whether permutations of vectors put columns in order at the store.
  static constexpr bool kPermutes = std::is_same_v<V, RVec<float, 8>>;
#else
  static constexpr bool kPermutes = false;
#endif

  // Columns of a panel, from their step on until its end, hold how much of the pivot row each row gets.
  R tile[kPanelsMax * kStride];
  // Entries of the pivot rows as the panel's steps found them: of each column.
  R rows[kPanelsMax * kPanelWidth * kReals];
  V pivots[kPanelsMax];      // of each step
  Real power[kPanelsMax];    // what the store still has to multiply each step's row by
  Index at[kPanelsMax];      // the place of each step's pivot
  Index offset[kPanelsMax];  // and where it stands in a column
  Index place[kPanelsMax];   // 0, 1, ...
  Index step[kPanelsMax];    // of each place, as step_at_store; negative before
  Index chosen;              // a bit for each place that had its step
  Real best;                 // the key of the next pivot
  R staging[(kPanelsMax + 1) * kStride];

  JAXINV_INLINE void begin(int64_t n) {
    chosen = Index(I(0));
    for (int64_t i = 0; i < n; ++i) {
      place[i] = Index(I(i));
      step[i] = Index(ColumnTypes<V>::kTaken);
    }
  }
  // The lane of step k's column, or where that column starts.
  static JAXINV_INLINE I step_at_store(int64_t k) { return I(kPermutes ? k : k * kStride); }
  // What the search for a pivot compares: the magnitude of the row's entry, its low bits replaced by the place; zero of
  // rows that were a pivot. One search finds both, and takes the lowest row where entries are nearly the same.
  static JAXINV_INLINE Real key(V x, Index place, Index step) {
    const Index bits = (pivot_key_bits(x) & Index(I(~kPlaces))) | place;
    return select(Index(I(0)) > step, Real::from_bits(bits), Real(R(0)));
  }
};

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
  typename E::Real best = E::key(E::V::load(column), e.place[0], e.step[0]);
#pragma GCC unroll 2
  for (int64_t i = 1; i < n; ++i) {
    best = larger(E::key(E::V::load(column + i * E::kReals), e.place[i], e.step[i]), best);
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
  using I = typename E::I;
  constexpr int kReals = E::kReals, W = E::W;
  Index at = e.best.bits() & Index(E::kPlaces);
  at = select(at > Index(I(n - 1)), Index(I(0)), at);  // of NaN
  e.at[k + kStep] = at;
  e.chosen = e.chosen | Index(typename Index::Raw(Index(I(1)).v << at.v));
  const Index number = Index(typename Index::Raw(at.v * I(kReals))) + lane_numbers<Index>();
  e.offset[k + kStep] = number;
  int64_t offset[W];
  JAXINV_UNROLL
  for (int l = 0; l < W; ++l) offset[l] = number.v[l];
  R* __restrict column = e.tile + (k + kStep) * E::kStride;
  const V pivot = gather<V>(column, offset), inverse = usual_reciprocal(pivot);
  e.pivots[k + kStep] = pivot;
  const R* __restrict from = e.tile;
  R* __restrict to = e.rows + kStep * kReals;
#pragma GCC unroll 2
  for (int64_t j = 0; j < n; ++j, from += E::kStride, to += kPanelWidth * kReals) {
    gather<V>(from, offset).store(to);
  }
  // The pivot row is divided by the pivot but for its power of two, which the store makes good: that factor lies in
  // (1/2, 1], and multiplying by it is adding a multiple of the row, as it is for the other rows.
  const Real power = power_part(pivot);
  e.power[k + kStep] = power_reciprocal(power);
  const V excess = product_less_one(inverse, power), negative = -inverse;
  constexpr bool kNext = kStep + 1 < kWidth;
  V multiple[kPanelWidth];
  if constexpr (kNext) multiples_of<0, kStep + 1>(e, k, k + kStep + 1, multiple);
  const Index* __restrict place = e.place;
  Index* __restrict step = e.step;
  const Index this_step(E::step_at_store(k + kStep));
  Real best(R(0));
#pragma GCC unroll 2
  for (int64_t i = 0; i < n; ++i) {
    R* own = column + i * kReals;
    const Index pivot_lane = place[i] == at;
    const V factor = select(pivot_lane, excess, V::load(own) * negative);
    factor.store(own);
    const Index own_step = select(pivot_lane, this_step, step[i]);
    step[i] = own_step;
    if constexpr (kNext) {
      // The next column as it is when its turn comes.
      V x = V::load(own + E::kStride);
      JAXINV_UNROLL
      for (int c = 0; c < kStep; ++c) {
        x = fma(V::load(own + (c - kStep) * E::kStride), multiple[c], x);
      }
      x = fma(factor, multiple[kStep], x);
      x.store(own + E::kStride);
      best = larger(E::key(x, place[i], own_step), best);
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

// Lanes whose pivots were usual, one of each row.
template <class E>
JAXINV_INLINE typename E::Index usual_lanes(const E& e, int64_t n) {
  using Real = typename E::Real;
  using Index = typename E::Index;
  // Where a row was never a pivot, another was twice.
  Index usual = e.chosen == Index(typename E::I((int64_t(1) << n) - 1));
  const Real least(kLeastPivot<typename E::R>), most = reciprocal(least);
  for (int64_t k = 0; k < n; ++k) {
    const Real size = magnitude(e.pivots[k]);
    usual = usual & (size > least) & (most > size);
  }
  return usual;
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
using PanelsOf =
    PanelElimination<Value<typename Storage<S>::R,
                           kVectorBytes / int(sizeof(typename Storage<S>::R)), Storage<S>::kParts>>;

// What the next lane group reads and what this one writes, asked for in parts, one with every panel: it comes from
// farther than instructions out of order can hide. Behind the last group that is what nobody needs.
struct Ahead {
  const char* next;
  const char* own;
  int64_t part;

  JAXINV_INLINE Ahead(const InverseProblem& p, int64_t index, int64_t lanes, int64_t bytes)
      : next(static_cast<const char*>(p.a) + (index + lanes) * bytes),
        own(static_cast<const char*>(p.x) + index * bytes),
        part((lanes * bytes * kPanelWidth / p.n + 63) / 64 * 64) {}
  JAXINV_INLINE void fetch() {
#pragma GCC unroll 2
    for (int64_t at = 0; at < part; at += 64) {
      __builtin_prefetch(next + at, 0, 2);
      __builtin_prefetch(own + at, 1, 2);
    }
    next += part;
    own += part;
  }
};
// Measured to pay for float64 alone.
template <class V>
constexpr bool kFetchesAhead = V::kParts == 1 && sizeof(typename V::R) == 8;

template <class S>
void inverse_panels(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  using E = PanelsOf<S>;
  using R = typename E::R;
  using V = typename E::V;
  using Index = typename E::Index;
  using I = typename E::I;
  constexpr int W = E::W;
  const int64_t n = p.n, reals = n * n * E::P;
  E& e = *static_cast<E*>(scratch);
  int32_t places[kPanelsMax * kPanelsMax * E::P];
  place_reals<E>(n, places);
  for (int64_t index = begin; index < end; index += W) {
    const R* a = group_in<S, W>(p.a, index, end, reals, e.staging);
    load_lanes<R, W>(a, reals, e.tile, [&](int64_t real) { return places[real]; });
    e.begin(n);
    Ahead ahead(p, index, W, sizeof(R) * reals);
    int64_t k = 0;
    for (; k + 4 <= n; k += 4) {
      if constexpr (kFetchesAhead<V>) ahead.fetch();
      take_panel<4>(e, n, k);
    }
    if (n - k == 3) take_panel<3>(e, n, k);
    if (n - k == 2) take_panel<2>(e, n, k);
    if (n - k == 1) take_panel<1>(e, n, k);
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
  const size_t own = sizeof(PanelsOf<S>), blocked = inverse_blocked_scratch<S>(n);
  return own > blocked ? own : blocked;
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
