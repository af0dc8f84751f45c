// Algorithm: Gauss-Jordan with partial pivoting: few rows unrolled (cpu/inverse_unrolled.h), more in panels
// (cpu/inverse_panels.h).
// Lanes: one matrix each.
// n: up to kInverseLanesMax. dtypes: all; half types are computed in float32.
// Memory: that of either.
#pragma once

#include "cpu/inverse_panels.h"
#include "cpu/inverse_unrolled.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// Above, row exchanges by select cost more than gathering pivot rows.
template <class S>
constexpr int kUnrolledMax = Storage<S>::kParts == 2 ? 3 : 6;

// Bytes of scratch for one worker.
template <class S>
size_t inverse_lanes_scratch(int64_t n) {
  return n <= kUnrolledMax<S> ? inverse_unrolled_scratch<S>(n) : inverse_panels_scratch<S>(n);
}

// Unrolled from N down to 1, in panels above.
template <class S, int N>
void inverse_up_to(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  if constexpr (N > 0) {
    if (p.n == N) return inverse_unrolled<S, N>(p, begin, end, scratch);
    return inverse_up_to<S, N - 1>(p, begin, end, scratch);
  } else {
    return inverse_panels<S>(p, begin, end, scratch);
  }
}

template <class S>
void inverse_lanes(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  inverse_up_to<S, kUnrolledMax<S>>(p, begin, end, scratch);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
