// Algorithm: Gauss-Jordan with partial pivoting, two steps at a time. The first brings the second's column up to date;
// then both are applied at once to one other column after another. What a step leaves of its column is appended
// behind the last one, so that the columns still to be eliminated come first, and all are in order again at the end.
// Lanes: one matrix each (cpu/lane_elimination.h).
// n: a template parameter, above the unrolled sizes to kPairsMax. dtypes: all; half types are computed in float32.
// Memory: a tile of n × 2 n vectors for each group of lanes (4 KB at n = 8 with AVX2), columns one after another.
#pragma once

#include "cpu/lane_elimination.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

constexpr int kPairsMax = 8;  // above, four steps at a time save more than what is known of n

template <int N, class E>
struct PairElimination {
  using V = typename E::V;
  using R = typename E::R;
  using Real = typename E::Real;
  using Index = typename E::Index;
  using I = typename E::I;
  static constexpr int W = E::W, kReals = E::kReals;
  static_assert(2 * N <= kTileRows, "columns in the tile");

  E& e;
  R* tile;       // the first column still to be eliminated, of N in use
  Index chosen;  // as in E, in registers
  Real best;
  int64_t offset[2][W];  // where the pivots of a pair stand in a column

  JAXINV_INLINE explicit PairElimination(E& e) : e(e), tile(e.tile), chosen(I(0)), best(R(0)) {
    JAXINV_UNROLL
    for (int i = 0; i < N; ++i) look_at(i, V::load(row(tile, i)));
  }
  JAXINV_INLINE R* column(int64_t j) const { return tile + j * E::kStride; }
  template <class P>
  static JAXINV_INLINE P row(P column, int i) {
    return column + i * kReals;
  }

  // Searches for the pivot: x is what place i of the column has.
  JAXINV_INLINE void look_at(int i, V x) {
    best = larger(E::key(x, Index(I(i)), E::taken(chosen, i)), best);
  }
  // Step k, on column c of a pair: puts how much of the pivot row each row gets behind the last column, and tells
  // it to each(i, factor); before, begin() finds the pivot chosen.
  template <class Begin, class Each>
  JAXINV_INLINE void take_step(int64_t k, int c, Begin&& begin, Each&& each) {
    R* __restrict own = column(c);
    R* __restrict result = column(N + c);
    const Index at = e.choose(k, best, chosen, offset[c]);
    // Selected: all else waits for it, and gathering takes longer.
    V pivot = V::load(own);
    JAXINV_UNROLL
    for (int i = 1; i < N; ++i) pivot = select(at == Index(I(i)), V::load(row(own, i)), pivot);
    const PivotFactors<V> factors = take_pivot(e, k, pivot);
    begin();
    JAXINV_UNROLL
    for (int i = 0; i < N; ++i) {
      const V factor =
          select(at == Index(I(i)), factors.excess, V::load(row(own, i)) * factors.negative);
      factor.store(row(result, i));
      each(i, factor);
    }
  }
  // The pivot row of step c of a pair got one less than its share.
  JAXINV_INLINE void add_one(int c) {
    JAXINV_UNROLL
    for (int l = 0; l < W; ++l) column(N + c)[offset[c][l]] += R(1);
  }

  JAXINV_INLINE void take_pair(int64_t k) {
    R* const second = column(1);
    V own;
    take_step(
        k, 0,
        [&] {
          own = gather<V>(second, offset[0]);
          best = Real(R(0));
        },
        [&](int i, V factor) {
          const V x = fma(factor, own, V::load(row(second, i)));
          x.store(row(second, i));
          look_at(i, x);
        });
    take_step(k + 1, 1, [] {}, [](int, V) {});
    // How much of the first pivot row the second got.
    const V link = gather<V>(column(N), offset[1]);
    auto apply = [&](R* __restrict x, auto&& each) {
      const R* __restrict factors = column(N);
      const V one = gather<V>(x, offset[0]), two = fma(link, one, gather<V>(x, offset[1]));
      JAXINV_UNROLL
      for (int i = 0; i < N; ++i) {
        const V sum = fma(V::load(row(factors, i)), one, V::load(row(x, i)));
        const V y = fma(V::load(row(factors + E::kStride, i)), two, sum);
        y.store(row(x, i));
        each(i, y);
      }
    };
    // For the last pair in vain: leaving it out there makes the others slower.
    best = Real(R(0));
    apply(column(2), [&](int i, V x) { look_at(i, x); });
    for (R* x = column(3); x < column(N); x += E::kStride) apply(x, [](int, V) {});
    JAXINV_UNROLL
    for (int i = 0; i < N; ++i) {
      const V one = V::load(row(column(N), i)), two = V::load(row(column(N + 1), i));
      fma(two, link, one).store(row(column(N), i));
    }
    add_one(0);
    add_one(1);
    tile = column(2);
  }
  // The last step of an odd number.
  JAXINV_INLINE void take_one() {
    take_step(N - 1, 0, [] {}, [](int, V) {});
    const R* factors = column(N);
    for (R* x = column(1); x < column(N); x += E::kStride) {
      const V own = gather<V>(x, offset[0]);
      JAXINV_UNROLL
      for (int i = 0; i < N; ++i) {
        fma(V::load(row(factors, i)), own, V::load(row(x, i))).store(row(x, i));
      }
    }
    add_one(0);
    tile = column(1);
  }
};

template <class S, int N>
void inverse_pairs(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  using E = LaneEliminationOf<S>;
  inverse_by_lanes<S, 2>(
      p, Known<N>(), begin, end, scratch,
      [](int64_t real) {
        const int64_t number = real / E::P;
        return number % N * E::kStride + (N - 1 - number / N) * E::kReals + real % E::P * E::W;
      },
      [](E& e, Ahead ahead) {
        PairElimination<N, E> pairs(e);
        for (int64_t k = 0; k + 2 <= N; k += 2) {
          ahead.fetch();
          pairs.take_pair(k);
        }
        if constexpr (N % 2) pairs.take_one();
        e.chosen = pairs.chosen;
        e.inverse = pairs.tile;
      });
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
