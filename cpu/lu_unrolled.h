// Algorithm: the body of core/small_lu.h, unrolled: determinants, and systems whose right-hand sides follow one
// after another.
// Lanes: one matrix each.
// n: up to kLuUnrolledMax, a template parameter. dtypes: those that arithmetic is done in.
// Memory: registers, as far as they go; right-hand sides in scratch memory.
#pragma once

#include "core/small_lu.h"
#include "cpu/determinant.h"
#include "cpu/lanes.h"
#include "cpu/range.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

constexpr int kLuUnrolledMax = 4;

// As load_lanes and store_lanes, but matrix l in lane l whatever its size: matrices and right-hand sides differ.
template <class R, int W, class Count>
JAXINV_INLINE void load_systems(const R* src, Count reals, R* tile) {
  if (!fills_lane<R, W>(reals)) return load_lanes<R, W>(src, reals, tile);
  JAXINV_UNROLL
  for (int e = 0; e < 4; ++e) {
    typename RVec<R, W>::Raw v{};
    JAXINV_UNROLL
    for (int lane = 0; lane < W; ++lane) v[lane] = src[lane * 4 + e];
    RVec<R, W>(v).store(tile + e * W);
  }
}
template <class R, int W>
JAXINV_INLINE void store_systems(const R* tile, int64_t reals, R* dst) {
  if (!fills_lane<R, W>(reals)) return store_lanes<R, W>(tile, reals, dst);
  for (int lane = 0; lane < W; ++lane) {
    for (int64_t e = 0; e < reals; ++e) dst[lane * reals + e] = tile[e * W + lane];
  }
}

// Writes NaN into the lanes that are not `fine`.
template <class R, int W>
JAXINV_INLINE void spoil(typename RVec<R, W>::Index fine, int64_t reals, R* tile) {
  using Real = RVec<R, W>;
  if (all_set(fine)) return;
  const Real nan(R(__builtin_nan("")));
  for (int64_t i = 0; i < reals; ++i) {
    select(fine, Real::load(tile + i * W), nan).store(tile + i * W);
  }
}

// Solutions and info of one group: NaN where info is not 0. y: the solutions by lanes.
template <class S, int W, class R = typename Storage<S>::R>
JAXINV_INLINE void store_solutions(const SolveProblem& p, int64_t index, int64_t end,
                                   typename RVec<R, W>::Index info, R* y, R* staging) {
  using Index = typename RVec<R, W>::Index;
  const int64_t reals = p.n * p.columns * Storage<S>::kParts;
  spoil<R, W>(info == Index(typename RVec<R, W>::I(0)), reals, y);
  R* x = group_out<S, W>(p.x, index, end, reals, staging);
  store_systems<R, W>(y, reals, x);
  group_done<S, W>(p.x, index, end, reals, x);
  for (int lane = 0; p.info && lane < W && lane < end - index; ++lane) {
    p.info[index + lane] = int32_t(info.v[lane]);
  }
}

template <class S, int N>
void determinant_unrolled(const LuProblem& p, int64_t begin, int64_t end, void* scratch) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts, W = kVectorBytes / int(sizeof(R)), kReals = N * N * P;
  using V = Value<R, W, P>;
  using Index = typename V::Index;
  using I = typename Types<V>::Real::I;
  for (int64_t index = begin; index < end; index += W) {
    SmallLu<N, V> lu;
    const R* a = group_in<S, W>(p.a, index, end, kReals, static_cast<R*>(scratch));
    R* tile = reinterpret_cast<R*>(lu.a);
    load_lanes<R, W>(a, Known<kReals>(), tile);
    const LaneRange<R, W> range(tile, kReals);
    range.apply(tile, kReals);
    small_lu(lu);
    Index odd(I(0));
    V pivots[N];
    JAXINV_UNROLL
    for (int k = 0; k < N; ++k) {
      pivots[k] = lu.a[k][k];
      odd = odd ^ ((lu.swaps[k] == Index(I(k))) ^ Index(I(-1)));
    }
    store_group_by_products<V>(p, index, end - index < W ? end - index : W, a, pivots, lu.info, odd,
                               range.shift);
  }
}

template <class S, int N>
void solve_unrolled(const SolveProblem& p, int64_t begin, int64_t end, void* scratch) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts, W = kVectorBytes / int(sizeof(R)), kReals = N * N * P;
  using V = Value<R, W, P>;
  const int64_t columns = p.columns, right = N * columns * P;
  V* y = static_cast<V*>(scratch);
  R* reals = static_cast<R*>(scratch);
  R* staging = reals + right * W;
  for (int64_t index = begin; index < end; index += W) {
    SmallLu<N, V> lu;
    R* tile = reinterpret_cast<R*>(lu.a);
    load_systems<R, W>(group_in<S, W>(p.a, index, end, kReals, staging), Known<kReals>(), tile);
    load_systems<R, W>(group_in<S, W>(p.b, index, end, right, staging), right, reals);
    if (p.transpose) {
      JAXINV_UNROLL
      for (int i = 0; i < N; ++i) {
        JAXINV_UNROLL
        for (int j = i + 1; j < N; ++j) {
          const V x = lu.a[i][j];
          lu.a[i][j] = lu.a[j][i];
          lu.a[j][i] = x;
        }
      }
    }
    const LaneRange<R, W> range(tile, kReals);
    range.apply(tile, kReals);
    small_lu(lu);
    for (int64_t c = 0; c < columns; ++c) {
      V column[N];
      JAXINV_UNROLL
      for (int i = 0; i < N; ++i) column[i] = y[i * columns + c];
      small_lu_solve(lu, column);
      JAXINV_UNROLL
      for (int i = 0; i < N; ++i) y[i * columns + c] = column[i];
    }
    range.apply(reals, right);
    store_solutions<S, W>(p, index, end, lu.info, reals, staging);
  }
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
