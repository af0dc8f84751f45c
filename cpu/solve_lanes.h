// Algorithm: LU with partial pivoting of cpu/lu_lanes.h, the right-hand sides eliminated beside the matrix, then
// back substitution. No factor is stored. Every solution goes through the operations of cpu/lu_solve.h in
// their order, so both give the same bits.
// Lanes: one system each.
// n and right-hand sides: up to kLuLanesMax. dtypes: those that arithmetic is done in.
// Memory: as cpu/lu_lanes.h, and the right-hand sides twice.
#pragma once

#include "cpu/lu_lanes.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// As load_lanes and store_lanes, but matrix l in lane l whatever its size: matrices and right-hand sides differ.
template <class R, int W>
JAXINV_INLINE void load_systems(const R* src, int64_t reals, R* tile) {
  if (!fills_lane<R, W>(reals)) return load_lanes<R, W>(src, reals, tile);
  for (int lane = 0; lane < W; ++lane) {
    for (int64_t e = 0; e < reals; ++e) tile[e * W + lane] = src[lane * reals + e];
  }
}
template <class R, int W>
JAXINV_INLINE void store_systems(const R* tile, int64_t reals, R* dst) {
  if (!fills_lane<R, W>(reals)) return store_lanes<R, W>(tile, reals, dst);
  for (int lane = 0; lane < W; ++lane) {
    for (int64_t e = 0; e < reals; ++e) dst[lane * reals + e] = tile[e * W + lane];
  }
}

template <class S>
void solve_lanes(const SolveProblem& p, int64_t begin, int64_t end, void* scratch) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts, W = kVectorBytes / int(sizeof(R));
  using V = Value<R, W, P>;
  using Real = RVec<R, W>;
  using Index = typename V::Index;
  using I = typename Real::I;
  const int64_t n = p.n, columns = p.columns, reals = n * n * P, right = n * columns * P;
  LaneLu<V> e(scratch, n, columns, p.transpose);
  R* staging = static_cast<R*>(scratch) + LaneLu<V>::vectors(n, columns) * W;
  R* tile = reinterpret_cast<R*>(e.tile);
  R* y = reinterpret_cast<R*>(e.y);
  const Real nan(R(__builtin_nan("")));
  for (int64_t index = begin; index < end; index += W) {
    load_systems<R, W>(group_in<S, W>(p.a, index, end, reals, staging), reals, tile);
    load_systems<R, W>(group_in<S, W>(p.b, index, end, right, staging), right,
                       reinterpret_cast<R*>(e.right));
    const LaneRange<R, W> range(tile, reals);
    range.apply(tile, reals);
    with_small_size(n, [&](auto size) {
      factor_lanes<decltype(size)::value>(int(n), columns, e);
      substitute_lanes<decltype(size)::value>(int(n), columns, e);
    });
    range.apply(y, right);
    const Index fine = e.info == Index(I(0));
    if (!all_set(fine)) {
      for (int64_t i = 0; i < right; ++i) {
        select(fine, Real::load(y + i * W), nan).store(y + i * W);
      }
    }
    R* x = group_out<S, W>(p.x, index, end, right, staging);
    store_systems<R, W>(y, right, x);
    group_done<S, W>(p.x, index, end, right, x);
    for (int lane = 0; p.info && lane < W && lane < end - index; ++lane) {
      p.info[index + lane] = int32_t(e.info.v[lane]);
    }
  }
}

// Bytes of scratch for one worker.
template <class S>
size_t solve_lanes_scratch(int64_t n, int64_t columns) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts, W = kVectorBytes / int(sizeof(R));
  const int64_t largest = n > columns ? n : columns;
  return (LaneLu<Value<R, W, P>>::vectors(n, columns) + n * largest * P) * W * sizeof(R);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
