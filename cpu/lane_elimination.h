// What eliminations of one matrix per lane in a first-level tile share: their state, how a step begins, and what
// comes before and after the steps. Rows never move: each lane's pivot row is gathered from its own place, and rows
// and columns are put in order at the store. Nothing is guarded: matrices with unusual pivots or results are done
// again by inverse_blocked. Place p of a column holds row n − 1 − p.
#pragma once

#include "cpu/columns.h"
#include "cpu/inverse_blocked.h"
#include "cpu/lane_elimination_store.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

constexpr int kTileRows = kInverseLanesMax;
static_assert(kTileRows % 8 == 0 && kTileRows <= 32, "what the store and the keys can do");
// Columns of a panel: so many steps are applied at once.
constexpr int kPanelWidth = 4;

// A lane group's elimination, in memory.
template <class V_>
struct LaneElimination : ColumnTypes<V_> {
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
  const R* inverse;         // where its columns stand in the tile
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

  // Step k chooses the place of key `largest`, which it returns, and marks it in `places`. where: its offset in the
  // column of each lane.
  JAXINV_INLINE Index choose(int64_t k, Real largest, Index& places, int64_t (&where)[W]) {
    using Unsigned = std::make_unsigned_t<I>;
    using Bits = typename RawVector<Unsigned, W>::type;
    const Index own = largest.bits() & Index(kPlaces);
    const Bits sign = Bits{} + (Unsigned(1) << (8 * sizeof(I) - 1));
    places = places | Index(typename Index::Raw(sign >> Bits(own.v)));
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
using LaneEliminationOf =
    LaneElimination<Value<typename Storage<S>::R,
                          kVectorBytes / int(sizeof(typename Storage<S>::R)), Storage<S>::kParts>>;

// Inverts matrices begin … end − 1 by eliminate(e, ahead), which finds real `r` of a matrix at place(r) of the tile
// and asks for memory ahead with every kSteps steps.
template <class S, int kSteps, class Size, class Place, class Eliminate>
JAXINV_INLINE void inverse_by_lanes(const InverseProblem& p, Size n, int64_t begin, int64_t end,
                                    void* scratch, Place&& place, Eliminate&& eliminate) {
  using E = LaneEliminationOf<S>;
  using R = typename E::R;
  using V = typename E::V;
  using Index = typename E::Index;
  using I = typename E::I;
  constexpr int W = E::W;
  const auto reals = reals_of<E::P>(n);
  const int64_t bytes = sizeof(R) * reals;
  E& e = *static_cast<E*>(scratch);
  for (int64_t index = begin; index < end; index += W) {
    const R* a = group_in<S, W>(p.a, index, end, reals, e.staging);
    load_lanes<R, W>(a, reals, e.tile, place);
    eliminate(e, Ahead(p, bytes, index, W, n / kSteps));
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
size_t lane_elimination_scratch(int64_t n) {
  const size_t own = sizeof(LaneEliminationOf<S>), blocked = inverse_blocked_scratch<S>(n);
  return own > blocked ? own : blocked;
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
