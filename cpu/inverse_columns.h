// Algorithm: Gauss-Jordan with partial pivoting, one matrix at a time, in panels of four columns: single steps inside
// the panel, then all of them at once on every other column. Implicit pivoting: rows never move; rows and columns are
// put in order by the transposes at the load and the store. Nothing is guarded: matrices with unusual pivots or
// results are done again by inverse_blocked.
// Lanes: rows of one column, the last row first.
// n: above kInverseLanesMax, to inverse_columns_max. dtypes: all; half types are computed in float32.
// Memory: a tile of n columns of whole vectors for each matrix of a group (4 KB at n = 32 in float32).
#pragma once

#include "cpu/columns.h"
#include "cpu/inverse_blocked.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

constexpr int kColumnPanel = 4;  // more steps at once save loads and stores, but cost registers

// One matrix with columns of kVectors vectors; 0: of as many as n takes.
template <class V, int kVectors_>
class Columns : public ColumnTypes<V> {
 public:
  using typename ColumnTypes<V>::R;
  using typename ColumnTypes<V>::I;
  using typename ColumnTypes<V>::Real;
  using typename ColumnTypes<V>::Index;
  using ColumnTypes<V>::W;
  using ColumnTypes<V>::kReals;
  static constexpr int kVectors = kVectors_;
  static constexpr int kGroup = 2;   // matrices that take turns
  static constexpr I kPlaces = 127;  // the low bits of a pivot key

  Columns() = default;
  Columns(int64_t n, void* scratch) : n_(n), vectors_((n + W - 1) / W) {
    tile_ = static_cast<R*>(scratch);
    factors_ = tile_ + n * stride();
    pivots_ = factors_ + kColumnPanel * stride();
    power_ = reinterpret_cast<Real*>(pivots_ + stride());
    place_ = reinterpret_cast<Index*>(power_ + vectors());
    at_ = reinterpret_cast<int64_t*>(place_ + vectors());
    step_ = at_ + n;
    for (int64_t v = 0; v < vectors(); ++v) {
      V(1).store(pivots_ + v * kReals);
      power_[v] = Real(R(1));
    }
    for (int64_t p = 0; p < vectors() * W; ++p)
      step_[p] = 0;  // NaN may keep a row from ever being a pivot
  }
  static size_t bytes(int64_t n) {
    const size_t vectors = (n + W - 1) / W;
    size_t own = (sizeof(V) * (n + kColumnPanel + 1) + sizeof(Real) + sizeof(Index)) * vectors;
    return (own + sizeof(int64_t) * (n + vectors * W) + 63) / 64 * 64;
  }
  JAXINV_INLINE int64_t n() const { return n_; }
  JAXINV_INLINE int64_t vectors() const { return kVectors ? kVectors : vectors_; }
  JAXINV_INLINE int64_t stride() const { return vectors() * kReals; }
  JAXINV_INLINE R* tile() const { return tile_; }
  // How much of its pivot row each step of a panel adds to the others, one column a step.
  JAXINV_INLINE R* factors() const { return factors_; }
  JAXINV_INLINE R* pivots() const { return pivots_; }
  // What the store still has to divide each row by.
  JAXINV_INLINE Real* power() const { return power_; }
  JAXINV_INLINE Index* place() const { return place_; }
  JAXINV_INLINE int64_t* at() const { return at_; }
  JAXINV_INLINE int64_t* step() const { return step_; }

 private:
  int64_t n_, vectors_;
  R *tile_, *factors_, *pivots_;
  Real* power_;
  Index* place_;
  int64_t *at_, *step_;
};

// Step c of the panel of kWidth columns from column k.
template <int kWidth, class E>
JAXINV_INLINE void eliminate_column(const E& state, int64_t k, int64_t c) {
  using V = typename E::V;
  using R = typename E::R;
  using Real = typename E::Real;
  using Index = typename E::Index;
  constexpr int kReals = E::kReals;
  const E e = state;  // its pointers in registers: stores could alias them
  const int64_t vectors = e.vectors(), stride = e.stride();
  R* __restrict panel = e.tile() + k * stride;
  R* __restrict column = panel + c * stride;
  Real best = place_key<E>(V::load(column), e.place()[0]);
  JAXINV_UNROLL
  for (int64_t v = 1; v < vectors; ++v) {
    best = larger(place_key<E>(V::load(column + v * kReals), e.place()[v]), best);
  }
  best = largest_lane(best);
  int64_t at = best.bits().v[0] & E::kPlaces;
  at = at < e.n() ? at : 0;  // of NaN
  const int64_t offset = E::offset(at);
  const V pivot = broadcast_lane<V>(column + offset), inverse = usual_reciprocal(pivot);
  // The pivot row is divided by the pivot but for its power of two, which the store makes good: that factor lies in
  // (1/2, 1], and multiplying by it is adding a multiple of the row, as it is for the other rows.
  const Real power = power_part(pivot);
  const V scale = inverse * power, excess = product_less_one(inverse, power), negative = -inverse;
  V multiple[kWidth];
  JAXINV_UNROLL
  for (int d = 0; d < kWidth; ++d) multiple[d] = broadcast_lane<V>(panel + d * stride + offset);
  R* __restrict factors = e.factors() + c * stride;
  JAXINV_UNROLL
  for (int64_t v = 0; v < vectors; ++v) {
    const V x = V::load(column + v * kReals), product = x * negative;
    const Index pivot_lane = place_key<E>(x, e.place()[v]).bits() == best.bits();
    const V factor = select(pivot_lane, excess, product);
    e.power()[v] = select(pivot_lane, power, e.power()[v]);
    e.place()[v] = e.place()[v] | (pivot_lane & Index(E::kTaken));
    JAXINV_UNROLL
    for (int d = 0; d < kWidth; ++d) {
      R* y = panel + d * stride + v * kReals;
      fma(factor, multiple[d], V::load(y)).store(y);
    }
    factor.store(factors + v * kReals);
    select(pivot_lane, scale, product).store(column + v * kReals);
  }
  e.at()[k + c] = at;
  e.step()[at] = k + c;
  for (int part = 0; part < E::P; ++part) {
    e.pivots()[E::offset(k + c) + part * E::W] = real_at(pivot, part);
  }
}

// All steps of a panel, whose pivots stand at `offset`, on kColumns columns: the entries of the pivot rows as each
// step finds them, then one pass.
template <int kColumns, int kWidth, class E, class V = typename E::V>
JAXINV_INLINE void update_columns(const E& e, const int64_t (&offset)[kWidth],
                                  const V (&lower)[kWidth][kWidth], typename E::R* __restrict x) {
  const int64_t vectors = e.vectors(), stride = e.stride();
  const typename E::R* __restrict factors = e.factors();
  V multiple[kColumns][kWidth];
  JAXINV_UNROLL
  for (int j = 0; j < kColumns; ++j) {
    JAXINV_UNROLL
    for (int c = 0; c < kWidth; ++c) {
      multiple[j][c] = broadcast_lane<V>(x + j * stride + offset[c]);
      JAXINV_UNROLL
      for (int d = 0; d < c; ++d) {
        multiple[j][c] = fma(lower[c][d], multiple[j][d], multiple[j][c]);
      }
    }
  }
  JAXINV_UNROLL
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
  for (int64_t c = 0; c < kWidth; ++c) {
    for (int g = 0; g < count; ++g) eliminate_column<kWidth>(group[g], k, c);
  }
  for (int g = 0; g < count; ++g) {
    const E e = group[g];
    const int64_t stride = e.stride();
    int64_t offset[kWidth];
    V lower[kWidth][kWidth];  // what earlier steps of the panel add to a pivot row
    JAXINV_UNROLL
    for (int c = 0; c < kWidth; ++c) {
      offset[c] = E::offset(e.at()[k + c]);
      JAXINV_UNROLL
      for (int d = 0; d < c; ++d) {
        lower[c][d] = broadcast_lane<V>(e.factors() + d * stride + offset[c]);
      }
    }
    constexpr int kColumns = V::kParts == 2 ? 1 : 2;
    auto update = [&](int64_t j, int64_t end) {
      for (; j + kColumns <= end; j += kColumns) {
        update_columns<kColumns>(e, offset, lower, e.tile() + j * stride);
      }
      if (j < end) update_columns<1>(e, offset, lower, e.tile() + j * stride);
    };
    update(0, k);
    update(k + kWidth, e.n());
  }
}

template <class V, int kVectors>
JAXINV_INLINE void eliminate(const Columns<V, kVectors>* group, int count) {
  const int64_t n = group[0].n();
  int64_t k = 0;
  for (; k + 4 <= n; k += 4) eliminate_panel<4>(group, count, k);
  if (n - k == 3) eliminate_panel<3>(group, count, k);
  if (n - k == 2) eliminate_panel<2>(group, count, k);
  if (n - k == 1) eliminate_panel<1>(group, count, k);
}

template <class S, class V, int kVectors>
void inverse_columns_of(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  using E = Columns<V, kVectors>;
  using R = typename V::R;
  const int64_t reals = p.n * p.n * E::P;
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
    eliminate(group, count);
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

template <class S>
void inverse_columns(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  using R = typename Storage<S>::R;
  constexpr int W = kVectorBytes / int(sizeof(R));
  using V = Value<R, W, Storage<S>::kParts>;
  if ((p.n + W - 1) / W == 4) return inverse_columns_of<S, V, 4>(p, begin, end, scratch);
  inverse_columns_of<S, V, 0>(p, begin, end, scratch);
}

// Bytes of scratch for one worker.
template <class S>
size_t inverse_columns_scratch(int64_t n) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts;
  using E = Columns<Value<R, kVectorBytes / int(sizeof(R)), P>, 0>;
  size_t own = E::kGroup * E::bytes(n) + sizeof(R) * P * n * n;
  size_t blocked = inverse_blocked_scratch<S>(n);
  return own > blocked ? own : blocked;
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
