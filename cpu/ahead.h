// Memory asked for ahead: it comes from farther than instructions out of order can hide. Behind the last matrix that is
// what nobody needs.
#pragma once

#include "core/problem.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// What a core works through before an answer comes.
constexpr int64_t kLeastAhead = 4 << 10;
constexpr int64_t distance_ahead(int64_t bytes) {
  return bytes > kLeastAhead ? bytes : kLeastAhead;
}

// The lines of the `bytes` at `at`, to be read or to be written.
template <bool kWritten>
JAXINV_INLINE void ask_for(const char* at, int64_t bytes) {
#pragma GCC unroll 2
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i, kWritten, 2);
}

// What triple products later than `bytes` of matrices at `start` read and write, as much as these.
JAXINV_INLINE void ask_ahead(const TripleProductProblem& p, int64_t start, int64_t bytes) {
  const int64_t at = start + distance_ahead(bytes);
  ask_for<false>(static_cast<const char*>(p.l) + at, bytes);
  ask_for<false>(static_cast<const char*>(p.g) + at, bytes);
  if (p.r != p.l) ask_for<false>(static_cast<const char*>(p.r) + at, bytes);
  ask_for<true>(static_cast<const char*>(p.y) + at, bytes);
}

// What a later group of matrices reads and what one writes, asked for in parts, one with every few steps.
struct Ahead {
  const char* in;
  const char* out;
  int64_t part;

  // From `read` bytes behind the start of a group on, and from `written` on, as much as a group has, in `fetches` parts.
  JAXINV_INLINE Ahead(const InverseProblem& p, int64_t start, int64_t bytes, int64_t fetches,
                      int64_t read, int64_t written)
      : in(static_cast<const char*>(p.a) + start + read),
        out(static_cast<const char*>(p.x) + start + written),
        part(((bytes + fetches - 1) / fetches + 63) / 64 * 64) {}
  // What the next group reads and this one writes.
  JAXINV_INLINE Ahead(const InverseProblem& p, int64_t start, int64_t bytes, int64_t fetches)
      : Ahead(p, start, bytes, fetches, bytes, 0) {}
  // Of small groups, over before an answer comes: what later ones read and write.
  static JAXINV_INLINE Ahead of_later(const InverseProblem& p, int64_t start, int64_t bytes,
                                      int64_t fetches) {
    const int64_t distance = distance_ahead(bytes);
    return Ahead(p, start, bytes, fetches, distance, distance);
  }

  JAXINV_INLINE void fetch() {
    fetch_in();
    fetch_out();
  }
  JAXINV_INLINE void fetch_in() {
    ask_for<false>(in, part);
    in += part;
  }
  JAXINV_INLINE void fetch_out() {
    ask_for<true>(out, part);
    out += part;
  }
};

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
