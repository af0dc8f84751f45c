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

// Whether columns go in a loop: not the smallest, and not where a row does not fill a vector.
template <class S, int N>
constexpr bool kLoops = (N > (Storage<S>::kParts == 2 ? 4 : 5)) && fills_vector<S>(N);
// Above, panels take fewer cycles: sooner where there is no instruction for a select.
#if defined(__SSE2__) && !defined(__AVX__)
template <class S>
constexpr int kLoopedMax = 8;
#else
template <class S>
constexpr int kLoopedMax =
    std::is_same_v<typename Storage<S>::R, float> && Storage<S>::kParts == 1 ? 13 : 10;
#endif
template <class S>
constexpr int kByColumnMax = kLoops<S, kLoopedMax<S>> ? kLoopedMax<S> : 8;

// Bytes of scratch for one worker.
template <class S>
size_t inverse_lanes_scratch(int64_t n) {
  if (n > kByColumnMax<S>) return lane_elimination_scratch<S>(n);
  const size_t unrolled = inverse_unrolled_scratch<S>(n),
               looped = inverse_looped_scratch<S, kByColumnMax<S>>();
  return unrolled > looped ? unrolled : looped;
}

// By the kernel for N, or that for fewer.
template <class S, int N>
void inverse_up_to(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  if constexpr (N > 0) {
    if (p.n < N) return inverse_up_to<S, N - 1>(p, begin, end, scratch);
    if constexpr (kLoops<S, N>) {
      inverse_looped<S, N>(p, begin, end, scratch);
    } else {
      inverse_unrolled<S, N>(p, begin, end, scratch);
    }
  }
}

template <class S>
void inverse_lanes(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  if (p.n > kByColumnMax<S>) return inverse_panels<S>(p, begin, end, scratch);
  inverse_up_to<S, kByColumnMax<S>>(p, begin, end, scratch);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
