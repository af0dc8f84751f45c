// Algorithm: the body of core/small_inverse.h, unrolled. Lane groups with a matrix near the ends of the
// floating-point range are done again with care; their other lanes keep what they have.
// Lanes: one matrix each.
// n: the smallest, a template parameter. dtypes: all; half types are computed in float32.
// Memory: registers, as far as they go.
#pragma once

#include "core/small_inverse.h"
#include "cpu/columns.h"
#include "cpu/determinant.h"
#include "cpu/lanes.h"
#include "cpu/range.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// Lane groups that take turns: two where registers hold both.
constexpr int kUnrolledGroupsMax = 2;
constexpr int unrolled_groups(int reals) { return reals <= 9 ? kUnrolledGroupsMax : 1; }

// From so many reals a matrix on memory is asked for ahead: below, the processor keeps up by itself.
constexpr int kFetchedReals = 9;
// Groups of up to so many bytes ask for what later ones write, larger ones for what they write themselves.
constexpr int kSoonOverBytes = 2 << 10;

// A lane group and what its elimination leaves.
template <class V, int N>
struct UnrolledGroup {
  using Index = typename Types<V>::Index;
  V matrix[N][N], pivots[N];
  Index swaps[N];
  Index info;
  Index shift;
};

// Does the group at `a` again, for the lanes that are `unusual`.
template <int N, class V>
__attribute__((noinline)) void invert_again(const typename V::R* a,
                                            typename Types<V>::Index unusual,
                                            UnrolledGroup<V, N>& group) {
  using R = typename V::R;
  using Index = typename Types<V>::Index;
  using Real = typename Types<V>::Real;
  using I = typename Real::I;
  constexpr int W = V::W, kReals = N * N * V::kParts;
  V matrix[1][N][N], pivots[1][N];
  Index swaps[1][N], info[1];
  R* tile = reinterpret_cast<R*>(matrix);
  load_lanes<R, W>(a, Known<kReals>(), tile);
  const LaneRange<R, W> range(tile, kReals);
  range.apply(tile, kReals);
  small_inverse<N, Pivots::kGuarded>(matrix, pivots, swaps, info);
  range.apply(tile, kReals);
  const Real nan(R(__builtin_nan("")));
  const Index fine = info[0] == Index(I(0));
  R* kept = reinterpret_cast<R*>(group.matrix);
  for (int e = 0; e < kReals; ++e) {
    const Real x = select(fine, Real::load(tile + e * W), nan);
    select(unusual, x, Real::load(kept + e * W)).store(kept + e * W);
  }
  for (int k = 0; k < N; ++k) {
    group.pivots[k] = select(unusual, pivots[0][k], group.pivots[k]);
    group.swaps[k] = select(unusual, swaps[0][k], group.swaps[k]);
  }
  group.info = unusual & info[0];
  group.shift = unusual & range.shift;
}

template <class S, int N>
void inverse_unrolled(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  using R = typename Storage<S>::R;
  constexpr int kParts = Storage<S>::kParts;
  constexpr int kReals = N * N * kParts;
  constexpr int W = lanes_for<R>(kReals), G = unrolled_groups(kReals);
  using V = Value<R, W, kParts>;
  using Real = typename Types<V>::Real;
  using Index = typename V::Index;
  using I = typename Real::I;
  R* staging = static_cast<R*>(scratch);
  for (int64_t index = begin; index < end; index += G * W) {
    V matrix[G][N][N], pivots[G][N];
    Index swaps[G][N], info[G];
    const R* a[G];
    Real squares[G];
    JAXINV_UNROLL
    for (int g = 0; g < G; ++g) {
      // Behind the last group the first once more, for nothing.
      const int64_t at = index + g * W < end ? index + g * W : index;
      a[g] = group_in<S, W>(p.a, at, end, kReals, staging + g * W * kReals);
      R* tile = reinterpret_cast<R*>(matrix[g]);
      load_lanes<R, W>(a[g], Known<kReals>(), tile);
      squares[g] = Real(R(0));
      // Row by row: one sum would be one chain, and one loop more than JAXINV_UNROLL unrolls.
      JAXINV_UNROLL
      for (int i = 0; i < N; ++i) {
        Real row(R(0));
        JAXINV_UNROLL
        for (int e = 0; e < N * kParts; ++e) {
          const Real x = Real::load(tile + (i * N * kParts + e) * W);
          // The reciprocal of a complex entry has these products too: its bits must not hang on that.
          row = fma(kParts == 2 ? x.opaque() : x, x, row);
        }
        squares[g] = squares[g] + row;
      }
    }
    if constexpr (kReals >= kFetchedReals) {
      constexpr int64_t kBytes = N * N * sizeof(S), kGroup = G * W * kBytes;
      const Ahead ahead = kGroup <= kSoonOverBytes ? Ahead::of_later(p, index * kBytes, kGroup, N)
                                                   : Ahead(p, index * kBytes, kGroup, N);
      small_inverse<N, Pivots::kUsual>(matrix, pivots, swaps, info, ahead);
    } else {
      small_inverse<N, Pivots::kUsual>(matrix, pivots, swaps, info);
    }
    JAXINV_UNROLL
    for (int g = 0; g < G; ++g) {
      const int64_t at = index + g * W;
      if (g && at >= end) break;
      const Index usual = (Real(R(kUsualSquares<Real>)) > squares[g]) & (info[g] == Index(I(0)));
      Index shift(I(0));
      info[g] = shift;
      if (__builtin_expect(!all_set(usual), 0)) {
        // A copy, for the address of what stands in registers must not be taken.
        UnrolledGroup<V, N> group;
        memcpy(group.matrix, matrix[g], sizeof group.matrix);
        memcpy(group.pivots, pivots[g], sizeof group.pivots);
        memcpy(group.swaps, swaps[g], sizeof group.swaps);
        invert_again<N>(a[g], usual ^ Index(I(-1)), group);
        memcpy(matrix[g], group.matrix, sizeof group.matrix);
        memcpy(pivots[g], group.pivots, sizeof group.pivots);
        memcpy(swaps[g], group.swaps, sizeof group.swaps);
        info[g] = group.info;
        shift = group.shift;
      }
      if (p.info || p.mantissa) {
        Index odd(I(0));
        for (int k = 0; k < N; ++k) odd = odd ^ ((swaps[g][k] == Index(I(k))) ^ Index(I(-1)));
        store_group_by_products<V>(p, at, end - at < W ? end - at : W, a[g], pivots[g], info[g],
                                   odd, shift);
      }
      R* x = group_out<S, W>(p.x, at, end, kReals, staging + g * W * kReals);
      store_lanes<R, W>(reinterpret_cast<R*>(matrix[g]), Known<kReals>(), x);
      group_done<S, W>(p.x, at, end, kReals, x);
    }
  }
}

// Bytes of scratch for one worker.
template <class S>
constexpr size_t inverse_unrolled_scratch(int64_t n) {
  return kUnrolledGroupsMax * kVectorBytes * Storage<S>::kParts * n * n;
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
