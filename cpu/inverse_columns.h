// Algorithm: Gauss-Jordan with partial pivoting, one matrix at a time, in panels of four columns. Inside a panel each
// column gets the steps before it as its turn comes; then all of them at once go to every other column, and to the
// panel's own what came after them. Implicit pivoting: rows never move; rows and columns are put in order by the
// transposes at the load and the store. Nothing is guarded: matrices with unusual pivots or results are done again by
// inverse_blocked.
// Lanes: rows of one column, the last row first.
// n: above inverse_lanes_max, to inverse_columns_max; of short columns by cpu/inverse_short_columns.h. dtypes: all; half
// types are computed in float32.
// Memory: a tile of n columns of whole vectors for each matrix of a group (16 KB at n = 64 in float32).
#pragma once

#include "cpu/columns.h"
#include "cpu/inverse_blocked.h"
#include "cpu/inverse_short_columns.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// One matrix.
template <class V>
class Columns : public ColumnTypes<V> {
 public:
  using typename ColumnTypes<V>::R;
  using typename ColumnTypes<V>::I;
  using typename ColumnTypes<V>::Real;
  using typename ColumnTypes<V>::Index;
  using ColumnTypes<V>::W;
  using ColumnTypes<V>::kReals;
  static constexpr int kGroup = 2;   // matrices that take turns
  static constexpr int kWidth = 4;   // columns of a panel
  static constexpr I kPlaces = 127;  // the low bits of a pivot key

  Columns() = default;
  Columns(int64_t n, void* scratch) : n_(n), vectors_((n + W - 1) / W) {
    tile_ = static_cast<R*>(scratch);
    pivots_ = tile_ + n * stride();
    power_ = reinterpret_cast<Real*>(pivots_ + stride());
    place_ = reinterpret_cast<Index*>(power_ + vectors());
    lanes_ = place_ + vectors();
    best_ = reinterpret_cast<Real*>(lanes_ + vectors());
    at_ = reinterpret_cast<int64_t*>(best_ + 1);
    from_ = reinterpret_cast<const R**>(at_ + n);
    step_ = at_ + 2 * n;
    for (int64_t v = 0; v < vectors(); ++v) {
      V(1).store(pivots_ + v * kReals);
      power_[v] = Real(R(1));
      lanes_[v] = lane_numbers<Index>() + Index(I(v * W));
    }
    for (int64_t p = 0; p < vectors() * W; ++p)
      step_[p] = 0;  // NaN may keep a row from ever being a pivot
  }
  static size_t bytes(int64_t n) {
    const size_t vectors = (n + W - 1) / W;
    size_t own = (sizeof(V) * (n + 1) + sizeof(Real) + 2 * sizeof(Index)) * vectors;
    return (own + sizeof(Real) + sizeof(int64_t) * (2 * n + vectors * W) + 63) / 64 * 64;
  }
  JAXINV_INLINE int64_t n() const { return n_; }
  JAXINV_INLINE int64_t vectors() const { return vectors_; }
  JAXINV_INLINE int64_t stride() const { return vectors() * kReals; }
  JAXINV_INLINE R* tile() const { return tile_; }
  JAXINV_INLINE R* pivots() const { return pivots_; }
  // What the store still has to divide each row by.
  JAXINV_INLINE Real* power() const { return power_; }
  JAXINV_INLINE Index* place() const { return place_; }
  // 0, 1, ...
  JAXINV_INLINE const Index* lanes() const { return lanes_; }
  // The key of a panel's next pivot, in one of the lanes.
  JAXINV_INLINE Real& best() const { return *best_; }
  JAXINV_INLINE int64_t* at() const { return at_; }
  JAXINV_INLINE int64_t* step() const { return step_; }
  JAXINV_INLINE const R** from() const { return from_; }

 private:
  int64_t n_, vectors_;
  R *tile_, *pivots_;
  Real *power_, *best_;
  Index *place_, *lanes_;
  int64_t *at_, *step_;
  const R** from_;
};

// Steps of the panel from column k on: where their pivots stand in a column, and what earlier ones add to the pivot
// rows of later ones.
template <int kSteps, class E>
struct PanelSteps {
  using V = typename E::V;
  int64_t offset[kSteps];
  V lower[kSteps][kSteps];

  JAXINV_INLINE PanelSteps(const E& e, int64_t k) {
    JAXINV_UNROLL
    for (int c = 0; c < kSteps; ++c) {
      offset[c] = E::offset(e.at()[k + c]);
      JAXINV_UNROLL
      for (int d = 0; d < c; ++d) {
        lower[c][d] = broadcast_lane<V>(e.tile() + (k + d) * e.stride() + offset[c]);
      }
    }
  }
  // The entries of a column in the pivot rows, as each step finds them.
  JAXINV_INLINE void multiples_of(const typename V::R* x, V (&multiple)[kSteps]) const {
    JAXINV_UNROLL
    for (int c = 0; c < kSteps; ++c) {
      multiple[c] = broadcast_lane<V>(x + offset[c]);
      JAXINV_UNROLL
      for (int d = 0; d < c; ++d) multiple[c] = fma(lower[c][d], multiple[d], multiple[c]);
    }
  }
};

// Finds the first pivot of the panel from column k on.
template <class E>
JAXINV_INLINE void search_column(const E& e, int64_t k) {
  using V = typename E::V;
  const int64_t vectors = e.vectors();
  const typename V::R* column = e.tile() + k * e.stride();
  typename E::Real best = place_key<E>(V::load(column), e.place()[0]);
#pragma GCC unroll 2
  for (int64_t v = 1; v < vectors; ++v) {
    best = larger(place_key<E>(V::load(column + v * E::kReals), e.place()[v]), best);
  }
  e.best() = best;
}

// Step kStep of the panel from column k on. Its column is left with how much of the pivot row each row gets; the next
// one of the panel, if there is one, gets the steps before it, and is searched.
template <int kStep, bool kNext, class E>
JAXINV_INLINE void eliminate_column(const E& state, int64_t k) {
  using V = typename E::V;
  using R = typename E::R;
  using Real = typename E::Real;
  using Index = typename E::Index;
  using I = typename E::I;
  constexpr int kReals = E::kReals;
  const E e = state;  // its pointers in registers: stores could alias them
  const int64_t vectors = e.vectors(), stride = e.stride();
  const Real largest = largest_lane(e.best());
  int64_t at = largest.bits().v[0] & E::kPlaces;
  at = at < e.n() ? at : 0;  // of NaN
  const int64_t offset = E::offset(at);
  R* __restrict column = e.tile() + (k + kStep) * stride;
  const V pivot = broadcast_lane<V>(column + offset);
  const PivotFactors<V> pivot_factors(pivot);
  const Index pivot_lane{I(at)};
  e.at()[k + kStep] = at;
  e.step()[at] = k + kStep;
  reinterpret_cast<R*>(e.power())[at] = real_at(pivot_factors.power, 0);
  for (int part = 0; part < E::P; ++part) {
    e.pivots()[E::offset(k + kStep) + part * E::W] = real_at(pivot, part);
  }
  auto factor_of = [&](int64_t v) {
    R* x = column + v * kReals;
    const Index is_pivot = e.lanes()[v] == pivot_lane;
    const V factor = select(is_pivot, pivot_factors.excess, V::load(x) * pivot_factors.negative);
    factor.store(x);
    return factor;
  };
  if constexpr (kNext) {
    V multiple[kStep + 1];
    // Of the pivot row this step found it takes the factors of earlier ones.
    PanelSteps<kStep + 1, E>(e, k).multiples_of(column + stride, multiple);
    Real best(R(-1));
#pragma GCC unroll 2
    for (int64_t v = 0; v < vectors; ++v) {
      const V factor = factor_of(v);
      R* own = column + v * kReals;
      V x = V::load(own + stride);
      JAXINV_UNROLL
      for (int c = 0; c < kStep; ++c) {
        x = fma(V::load(own + (c - kStep) * stride), multiple[c], x);
      }
      x = fma(factor, multiple[kStep], x);
      x.store(own + stride);
      const Index taken = (e.lanes()[v] == pivot_lane) & Index(E::kTaken);
      best = larger(place_key<E>(x, e.place()[v] | taken), best);
    }
    e.best() = best;
  } else {
#pragma GCC unroll 2
    for (int64_t v = 0; v < vectors; ++v) factor_of(v);
  }
  reinterpret_cast<I*>(e.place())[at] |= E::kTaken;
}

// All steps of a panel on kColumns other columns, in one pass.
template <int kColumns, int kWidth, class E, class V = typename E::V>
JAXINV_INLINE void update_columns(const E& e, const PanelSteps<kWidth, E>& steps,
                                  const typename E::R* __restrict factors,
                                  typename E::R* __restrict x) {
  const int64_t vectors = e.vectors(), stride = e.stride();
  V multiple[kColumns][kWidth];
  JAXINV_UNROLL
  for (int j = 0; j < kColumns; ++j) steps.multiples_of(x + j * stride, multiple[j]);
#pragma GCC unroll 2
  for (int64_t v = 0; v < vectors; ++v) {
    V sum[kColumns];
    JAXINV_UNROLL
    for (int j = 0; j < kColumns; ++j) sum[j] = V::load(x + j * stride + v * E::kReals);
    JAXINV_UNROLL
    for (int c = 0; c < kWidth; ++c) {
      const V factor = V::load(factors + c * stride + v * E::kReals);
      JAXINV_UNROLL
      for (int j = 0; j < kColumns; ++j) sum[j] = fma(factor, multiple[j][c], sum[j]);
    }
    JAXINV_UNROLL
    for (int j = 0; j < kColumns; ++j) sum[j].store(x + j * stride + v * E::kReals);
  }
}

template <int kWidth, class E>
void eliminate_panel(const E* group, int count, int64_t k) {
  using V = typename E::V;
  auto step = [&](auto c) {
    constexpr int kStep = decltype(c)::value;
    if constexpr (kStep < kWidth) {
      for (int g = 0; g < count; ++g) eliminate_column<kStep, (kStep + 1 < kWidth)>(group[g], k);
    }
  };
  for (int g = 0; g < count; ++g) search_column(group[g], k);
  step(std::integral_constant<int, 0>());
  step(std::integral_constant<int, 1>());
  step(std::integral_constant<int, 2>());
  step(std::integral_constant<int, 3>());
  for (int g = 0; g < count; ++g) {
    const E e = group[g];
    const int64_t stride = e.stride();
    const PanelSteps<kWidth, E> steps(e, k);
    typename E::R* panel = e.tile() + k * stride;
    constexpr int kColumns = V::kParts == 2 ? 1 : 2;
    auto update = [&](int64_t j, int64_t end) {
      for (; j + kColumns <= end; j += kColumns) {
        update_columns<kColumns>(e, steps, panel, e.tile() + j * stride);
      }
      if (j < end) update_columns<1>(e, steps, panel, e.tile() + j * stride);
    };
    update(0, k);
    update(k + kWidth, e.n());
    finish_columns<kWidth>(e.vectors(), stride, steps.lower, steps.offset, panel);
  }
}

template <class E>
JAXINV_INLINE void eliminate(const E* group, int count, Ahead ahead) {
  const int64_t n = group[0].n();
  int64_t k = 0;
  for (; k + E::kWidth <= n; k += E::kWidth) {
    ahead.fetch();
    eliminate_panel<E::kWidth>(group, count, k);
  }
  if constexpr (E::kWidth > 3) {
    if (n - k == 3) eliminate_panel<3>(group, count, k);
  }
  if constexpr (E::kWidth > 2) {
    if (n - k == 2) eliminate_panel<2>(group, count, k);
  }
  if (n - k == 1) eliminate_panel<1>(group, count, k);
}

// By elimination E.
template <class S, class E>
void inverse_columns_of(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  using R = typename E::R;
  const int64_t reals = p.n * p.n * E::P;
  const int64_t matrix = p.n * p.n * sizeof(S);
  const size_t bytes = E::bytes(p.n);
  char* memory = static_cast<char*>(scratch);
  R* staging = reinterpret_cast<R*>(memory + E::kGroup * bytes);
  E group[E::kGroup];
  auto set_up = [&] {
    for (int g = 0; g < E::kGroup; ++g) group[g] = E(p.n, memory + g * bytes);
  };
  set_up();
  for (int64_t index = begin; index < end; index += E::kGroup) {
    const int count = end - index < E::kGroup ? int(end - index) : E::kGroup;
    for (int g = 0; g < count; ++g) {
      load_columns(group[g], group_in<S, 1>(p.a, index + g, index + g + 1, reals, staging));
    }
    eliminate(group, count, Ahead(p, index * matrix, E::kGroup * matrix, p.n / E::kWidth));
    unsigned unusual = 0;
    for (int g = 0; g < count; ++g) {
      R* x = group_out<S, 1>(p.x, index + g, index + g + 1, reals, staging);
      if (!store_columns(group[g], x) || !usual_pivots(group[g])) {
        unusual |= 1u << g;
        continue;
      }
      group_done<S, 1>(p.x, index + g, index + g + 1, reals, x);
      store_by_products<S>(p, index + g, group[g]);
    }
    if (__builtin_expect(unusual, 0)) {
      for (int g = 0; g < count; ++g) {
        // It takes all of the scratch memory.
        if (unusual >> g & 1) inverse_blocked<S>(p, index + g, scratch, nullptr);
      }
      set_up();
    }
  }
}

// Above, columns go in wide vectors wherever they end.
template <class R>
constexpr int64_t kNarrowColumnsMax = 448 / int(sizeof(R));

// f(E{}) with the elimination for n.
template <class S, int kVectors = 1, class F>
JAXINV_INLINE auto with_columns(int64_t n, F&& f) {
  using R = typename Storage<S>::R;
  constexpr int W = kVectorBytes / int(sizeof(R)), P = Storage<S>::kParts;
  constexpr int kNarrow = kNarrowBytes / int(sizeof(R));
  constexpr bool kShort =
      P == 1 && kVectors <= kShortVectorsMax && (kVectors - 1) * kNarrow < kShortColumnsMax;
  if constexpr (!kShort) {
    if constexpr (P == 1 && kNarrow < W) {
      // Where half of the last wide vector would be empty.
      const int64_t rest = n % W;
      if (n <= kNarrowColumnsMax<R> && rest > 0 && rest <= kNarrow) {
        return f(Columns<Value<R, kNarrow, P>>());
      }
    }
    return f(Columns<Value<R, W, P>>());
  } else {
    if constexpr (kVectors * kNarrow > inverse_lanes_max(kDType<S>)) {
      if (n > (kVectors - 1) * kNarrow && n <= kVectors * kNarrow && n <= kShortColumnsMax) {
        return f(ShortColumns<Value<R, kNarrow, P>, kVectors>());
      }
    }
    return with_columns<S, kVectors + 1>(n, f);
  }
}

template <class S>
void inverse_columns(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  with_columns<S>(p.n, [&](auto e) { inverse_columns_of<S, decltype(e)>(p, begin, end, scratch); });
}

// Bytes of scratch for one worker.
template <class S>
size_t inverse_columns_scratch(int64_t n) {
  using R = typename Storage<S>::R;
  size_t own = with_columns<S>(n, [&](auto e) { return e.kGroup * e.bytes(n); });
  own += sizeof(R) * Storage<S>::kParts * n * n;
  size_t blocked = inverse_blocked_scratch<S>(n);
  return own > blocked ? own : blocked;
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
