// Half types: blocks of matrices are widened to float32, inverted there, and rounded once.
#pragma once

#include "cpu/lanes.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// Matrices of a block: whole lane groups where they are small.
constexpr int64_t widened_block(int64_t n) {
  const int64_t count = 4096 / (n * n);
  return count >= 16 ? count / 16 * 16 : count > 0 ? count : 1;
}
constexpr size_t widened_bytes(int64_t n) {
  return (2 * sizeof(float) * widened_block(n) * n * n + 63) / 64 * 64;
}

// Calls invert(q, count, rest) for float32 problems q of `count` matrices each, `rest` the scratch that is left.
template <class S, class Invert>
void for_widened(const InverseProblem& p, int64_t begin, int64_t end, void* scratch,
                 Invert&& invert) {
  const int64_t size = p.n * p.n, block = widened_block(p.n);
  float* a = static_cast<float*>(scratch);
  float* x = a + block * size;
  for (int64_t index = begin; index < end; index += block) {
    const int64_t count = end - index < block ? end - index : block;
    const S* from = static_cast<const S*>(p.a) + index * size;
    for (int64_t i = 0; i < count * size; ++i) a[i] = to_float(from[i]);
    InverseProblem q = p;
    q.dtype = DType::kF32;
    q.batch = count;
    q.a = a;
    q.x = p.x ? x : nullptr;
    if (p.info) q.info = p.info + index;
    if (p.mantissa) {
      q.mantissa = static_cast<float*>(p.mantissa) + index;
      q.exponent = p.exponent + index;
    }
    invert(q, count, static_cast<char*>(scratch) + widened_bytes(p.n));
    if (!p.x) continue;
    S* to = static_cast<S*>(p.x) + index * size;
    for (int64_t i = 0; i < count * size; ++i) from_float(x[i], to[i]);
  }
}

// Calls invert(S{}, problem, begin, end, scratch) with the type S that a dtype is computed in.
template <class Invert>
void with_widened(const InverseProblem& p, int64_t begin, int64_t end, void* scratch,
                  Invert&& invert) {
  with_storage(p.dtype, [&](auto s) {
    if constexpr (kIsHalf<decltype(s)>) {
      for_widened<decltype(s)>(p, begin, end, scratch,
                               [&](const InverseProblem& q, int64_t count, void* rest) {
                                 invert(float{}, q, int64_t{0}, count, rest);
                               });
    } else {
      invert(s, p, begin, end, scratch);
    }
  });
}

// Bytes of scratch for one worker, where own(R{}) are those of the kernel.
template <class S, class Own>
size_t widened_scratch(int64_t n, Own&& own) {
  if constexpr (kIsHalf<S>) {
    return widened_bytes(n) + own(float{});
  } else {
    return own(S{});
  }
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
