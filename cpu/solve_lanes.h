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

template <class S>
void solve_tiled(const SolveProblem& p, int64_t begin, int64_t end, void* scratch) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts, W = kVectorBytes / int(sizeof(R));
  using V = Value<R, W, P>;
  const int64_t n = p.n, columns = p.columns, reals = n * n * P, right = n * columns * P;
  LaneLu<V> e(scratch, n, columns, p.transpose);
  R* staging = static_cast<R*>(scratch) + LaneLu<V>::vectors(n, columns) * W;
  R* tile = reinterpret_cast<R*>(e.tile);
  R* y = reinterpret_cast<R*>(e.y);
  for (int64_t index = begin; index < end; index += W) {
    load_systems<R, W>(group_in<S, W>(p.a, index, end, reals, staging), reals, tile);
    load_systems<R, W>(group_in<S, W>(p.b, index, end, right, staging), right,
                       reinterpret_cast<R*>(e.right));
    const LaneRange<R, W> range(tile, reals);
    range.apply(tile, reals);
    factor_lanes(int(n), columns, e);
    substitute_lanes(int(n), columns, e);
    range.apply(y, right);
    store_solutions<S, W>(p, index, end, e.info, y, staging);
  }
}

// Unrolled from N down to 1, tiled above.
template <class S, int N = kLuUnrolledMax>
void solve_lanes(const SolveProblem& p, int64_t begin, int64_t end, void* scratch) {
  if constexpr (N == 0) {
    return solve_tiled<S>(p, begin, end, scratch);
  } else {
    if (p.n == N) return solve_unrolled<S, N>(p, begin, end, scratch);
    return solve_lanes<S, N - 1>(p, begin, end, scratch);
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
