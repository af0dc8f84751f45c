// Algorithm: Gauss-Jordan with partial pivoting: the smallest column by column, unrolled (cpu/inverse_unrolled.h) or in a
// loop (cpu/inverse_looped.h), then in panels (cpu/inverse_panels.h).
// Lanes: one matrix each.
// n: up to inverse_lanes_max. dtypes: all; half types are computed in float32.
// Memory: that of each.
#pragma once

#include "cpu/inverse_looped.h"
#include "cpu/inverse_panels.h"
#include "cpu/inverse_unrolled.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// Above, columns go in a loop: later where a row does not fill a vector, for it is stored by those.
template <class S>
constexpr int kUnrolledMax = Storage<S>::kParts == 2                ? 4
                             : sizeof(S) == 4 && kVectorBytes >= 32 ? 7
                                                                    : 5;
// Above, panels take fewer cycles: sooner where there is no instruction for a select, later where 32 registers hold
// columns.
#if defined(__SSE2__) && !defined(__AVX__)
template <class S>
constexpr int kLoopedMax = sizeof(typename Storage<S>::R) == 4 ? 8 : 7;
#else
template <class S>
constexpr int kLoopedMax = Storage<S>::kParts == 2 ? (sizeof(typename Storage<S>::R) == 4 ? 10 : 8)
                           : kIsHalf<S>            ? 10
                           : kVectorBytes == 64    ? 16
                           : sizeof(S) == 4        ? 13
                                                   : 10;
#endif

// Bytes of scratch for one worker.
template <class S>
size_t inverse_lanes_scratch(int64_t n) {
  if (n <= kUnrolledMax<S>) return inverse_unrolled_scratch<S>(n);
  return n <= kLoopedMax<S> ? inverse_looped_scratch<S, kLoopedMax<S>>()
                            : inverse_panels_scratch<S>(n);
}

// By the kernel for N, or that for fewer.
template <class S, int N>
void inverse_up_to(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  if constexpr (N > 0) {
    if (p.n < N) return inverse_up_to<S, N - 1>(p, begin, end, scratch);
    if constexpr (N > kUnrolledMax<S>) {
      inverse_looped<S, N>(p, begin, end, scratch);
    } else {
      inverse_unrolled<S, N>(p, begin, end, scratch);
    }
  }
}

template <class S>
void inverse_lanes(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  if (p.n > kLoopedMax<S>) return inverse_panels<S>(p, begin, end, scratch);
  inverse_up_to<S, kLoopedMax<S>>(p, begin, end, scratch);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
