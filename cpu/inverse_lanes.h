// Algorithm: Gauss-Jordan with partial pivoting: the smallest unrolled (cpu/inverse_unrolled.h), then two steps at a
// time with the rows unrolled (cpu/inverse_pairs.h), more in panels (cpu/inverse_panels.h).
// Lanes: one matrix each.
// n: up to inverse_lanes_max. dtypes: all; half types are computed in float32.
// Memory: that of each.
#pragma once

#include "cpu/inverse_pairs.h"
#include "cpu/inverse_panels.h"
#include "cpu/inverse_unrolled.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// Above, row exchanges by select cost more than gathering pivot rows: sooner where there is no instruction for one.
#if defined(__SSE2__) && !defined(__AVX__)
template <class S>
constexpr int kUnrolledMax = Storage<S>::kParts == 2 ? 3
                             : sizeof(S) == 4        ? 6
                                                     : 5;
#else
template <class S>
constexpr int kUnrolledMax = Storage<S>::kParts == 2 ? 5 : 7;
#endif

// Bytes of scratch for one worker.
template <class S>
size_t inverse_lanes_scratch(int64_t n) {
  return n <= kUnrolledMax<S> ? inverse_unrolled_scratch<S>(n) : lane_elimination_scratch<S>(n);
}

// By the kernel for N, or that for fewer.
template <class S, int N>
void inverse_up_to(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  if constexpr (N > 0) {
    if (p.n < N) return inverse_up_to<S, N - 1>(p, begin, end, scratch);
    if constexpr (N > kUnrolledMax<S>) {
      inverse_pairs<S, N>(p, begin, end, scratch);
    } else {
      inverse_unrolled<S, N>(p, begin, end, scratch);
    }
  }
}

template <class S>
void inverse_lanes(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  if (p.n > kPairsMax) return inverse_panels<S>(p, begin, end, scratch);
  inverse_up_to<S, kPairsMax>(p, begin, end, scratch);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
