// Algorithm: as cpu/inverse_columns.h, for columns of so few vectors that the multipliers of a panel stay in registers
// while they go to the other columns, one column after another.
// Lanes: rows of one column, the last row first.
// n: above inverse_lanes_max, to kShortColumnsMax. dtypes: all real; half types are computed in float32.
// Memory: a tile of n columns of kVectors vectors for each matrix of a group (4 KB at n = 32 in float32).
#pragma once

#include "cpu/columns.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

constexpr int kShortColumnsMax = 32;

// Vectors of a column, at most: registers must hold a panel of two.
constexpr int kShortVectorsMax = kRegisters == 32 ? 8 : 6;

// One matrix, in scratch memory.
template <class V, int kVectors_>
class ShortColumns : public ColumnTypes<V> {
 public:
  using typename ColumnTypes<V>::R;
  using typename ColumnTypes<V>::I;
  using typename ColumnTypes<V>::Real;
  using typename ColumnTypes<V>::Index;
  using ColumnTypes<V>::W;
  using ColumnTypes<V>::kReals;
  static constexpr int kVectors = kVectors_, kRows = kVectors * W;
  static constexpr int64_t kStride = kVectors * kReals;
  static constexpr int kGroup = 4;  // matrices that take turns
  static constexpr I kPlaces = 31;  // the low bits of a pivot key
  // Columns of a panel: beside its multipliers registers hold those of one column, and a sum.
  static constexpr int kWidth = (kRegisters - 4) / kVectors < 4 ? (kRegisters - 4) / kVectors : 4;
  static_assert(kWidth >= 2 && kRows <= kPlaces + 1);

  struct Memory {
    R tile[kRows * kStride];
    R pivots[kStride];
    V lower[kWidth][kWidth];  // what the steps of a panel add to the pivot rows of later ones
    Real power[kVectors];
    Index place[kVectors];
    Real best;  // the key of a panel's next pivot, in one of the lanes
    int64_t at[kRows], step[kRows];
    const R* from[kRows];
  };

  ShortColumns() = default;
  ShortColumns(int64_t n, void* scratch) : n_(n), memory_(static_cast<Memory*>(scratch)) {
    for (int v = 0; v < kVectors; ++v) {
      V(1).store(pivots() + v * kReals);
      power()[v] = Real(R(1));
    }
    for (int64_t& step : memory_->step) step = 0;  // NaN may keep a row from ever being a pivot
  }
  static size_t bytes(int64_t) { return sizeof(Memory); }

  // Of a group: side by side.
  JAXINV_INLINE Memory* memory() const { return memory_; }
  JAXINV_INLINE int64_t n() const { return n_; }
  JAXINV_INLINE Known<kVectors> vectors() const { return {}; }
  JAXINV_INLINE int64_t stride() const { return kStride; }
  JAXINV_INLINE R* tile() const { return memory_->tile; }
  JAXINV_INLINE R* pivots() const { return memory_->pivots; }
  // What the store still has to divide each row by.
  JAXINV_INLINE Real* power() const { return memory_->power; }
  JAXINV_INLINE Index* place() const { return memory_->place; }
  JAXINV_INLINE int64_t* at() const { return memory_->at; }
  JAXINV_INLINE int64_t* step() const { return memory_->step; }
  JAXINV_INLINE const R** from() const { return memory_->from; }

  // As place_key, but NaN loses to what it is compared with. It stays in its row, whatever is chosen.
  static JAXINV_INLINE Real key(V x, Index place) {
    return Real::from_bits((pivot_key_bits(x) & Index(I(~kPlaces))) | place);
  }

 private:
  int64_t n_;
  Memory* memory_;
};

// Finds the first pivot of the panel from column k on.
template <class E>
JAXINV_INLINE void search_short(typename E::Memory& m, int64_t k) {
  using V = typename E::V;
  const typename E::R* column = m.tile + k * E::kStride;
  typename E::Real best = E::key(V::load(column), m.place[0]);
  JAXINV_UNROLL
  for (int v = 1; v < E::kVectors; ++v) {
    best = larger(E::key(V::load(column + v * E::kReals), m.place[v]), best);
  }
  m.best = best;
}

// Of a column: what the first kSteps steps of a panel, with pivots at places at[0], …, find in their pivot rows.
template <int kSteps, class E, class V = typename E::V>
JAXINV_INLINE void short_multiples(typename E::Memory& m, const int64_t* at, const typename E::R* x,
                                   V* multiple) {
  JAXINV_UNROLL
  for (int c = 0; c < kSteps; ++c) {
    multiple[c] = broadcast_lane<V>(x + at[c]);
    JAXINV_UNROLL
    for (int d = 0; d < c; ++d) multiple[c] = fma(m.lower[c][d], multiple[d], multiple[c]);
  }
}

// Step kStep of the panel from column k on. Its column is left with how much of the pivot row each row gets; the next
// one of the panel, if there is one, gets the steps before it, and is searched.
template <int kStep, bool kNext, class E>
JAXINV_INLINE void eliminate_short_column(typename E::Memory& m, int64_t k) {
  using V = typename E::V;
  using R = typename E::R;
  using Real = typename E::Real;
  using Index = typename E::Index;
  using I = typename E::I;
  constexpr int kReals = E::kReals;
  const Index own = largest_lane(m.best).bits() & Index(E::kPlaces);
  const int64_t at = own.v[0];
  R* __restrict column = m.tile + (k + kStep) * E::kStride;
  const V pivot = broadcast_lane<V>(column + at);
  const PivotFactors<V> factors(pivot);
  m.at[k + kStep] = at;
  m.step[at] = k + kStep;
  reinterpret_cast<R*>(m.power)[at] = real_at(factors.power, 0);
  m.pivots[k + kStep] = real_at(pivot, 0);
  JAXINV_UNROLL
  for (int d = 0; d < kStep; ++d) {
    m.lower[kStep][d] = broadcast_lane<V>(column + (d - kStep) * E::kStride + at);
  }
  V multiple[kStep + 1];
  if constexpr (kNext) {
    short_multiples<kStep + 1, E>(m, m.at + k, column + E::kStride, multiple);
  }
  Real best;
  JAXINV_UNROLL
  for (int v = 0; v < E::kVectors; ++v) {
    R* x = column + v * kReals;
    const Index is_pivot = m.place[v] == own;
    const V factor = select(is_pivot, factors.excess, V::load(x) * factors.negative);
    factor.store(x);
    if constexpr (kNext) {
      V y = V::load(x + E::kStride);
      JAXINV_UNROLL
      for (int c = 0; c < kStep; ++c) {
        y = fma(V::load(x + (c - kStep) * E::kStride), multiple[c], y);
      }
      y = fma(factor, multiple[kStep], y);
      y.store(x + E::kStride);
      // The pivot's own key is NaN, which may not be the first of a lane.
      const Index taken = v ? is_pivot : is_pivot & Index(E::kTaken);
      const Real key = E::key(y, m.place[v] | taken);
      best = v ? larger(key, best) : key;
    }
  }
  if constexpr (kNext) m.best = best;
  // Here, not before the search, which reads whole vectors: one with a number just stored would wait for it.
  reinterpret_cast<I*>(m.place)[at] = I(at) | E::kTaken;
}

// All steps of a panel on the other columns, and on its own columns those that came after them.
template <int kWidth, class E>
JAXINV_INLINE void update_short_columns(typename E::Memory& m, int64_t n, int64_t k) {
  using V = typename E::V;
  using R = typename E::R;
  constexpr int kVectors = E::kVectors, kReals = E::kReals;
  R* panel = m.tile + k * E::kStride;
  int64_t at[kWidth];
  V factor[kWidth][kVectors];
  JAXINV_UNROLL
  for (int c = 0; c < kWidth; ++c) {
    at[c] = m.at[k + c];
    JAXINV_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      factor[c][v] = V::load(panel + c * E::kStride + v * kReals);
    }
  }
  // Columns before the panel, then those behind it.
  R* x = m.tile;
  R* end = panel;
#pragma GCC unroll 1
  for (int part = 0; part < 2; ++part) {
#pragma GCC unroll 1
    for (; x != end; x += E::kStride) {
      V multiple[kWidth];
      short_multiples<kWidth, E>(m, at, x, multiple);
      JAXINV_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        V y = V::load(x + v * kReals);
        JAXINV_UNROLL
        for (int c = 0; c < kWidth; ++c) y = fma(factor[c][v], multiple[c], y);
        y.store(x + v * kReals);
      }
    }
    x = panel + kWidth * E::kStride;
    end = m.tile + n * E::kStride;
  }
  // The multipliers once more from there, not from where registers were spilled to.
  asm("" : "+r"(panel));
  finish_columns<kWidth>(Known<kVectors>(), E::kStride, m.lower, at, panel);
}

template <int kWidth, class V, int kVectors>
JAXINV_INLINE void eliminate_panel(const ShortColumns<V, kVectors>* group, int count, int64_t k) {
  using E = ShortColumns<V, kVectors>;
  const int64_t n = group[0].n();
  typename E::Memory* memory = group[0].memory();
  auto step = [&](auto c) {
    constexpr int kStep = decltype(c)::value;
    if constexpr (kStep < kWidth) {
      for (int g = 0; g < count; ++g) {
        eliminate_short_column<kStep, (kStep + 1 < kWidth), E>(memory[g], k);
      }
    }
  };
  for (int g = 0; g < count; ++g) search_short<E>(memory[g], k);
  step(std::integral_constant<int, 0>());
  step(std::integral_constant<int, 1>());
  step(std::integral_constant<int, 2>());
  step(std::integral_constant<int, 3>());
  for (int g = 0; g < count; ++g) update_short_columns<kWidth, E>(memory[g], n, k);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
