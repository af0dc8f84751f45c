// What the kernels of a whole threadgroup do before and after the elimination: the range of the sizes of numbers,
// and the sign of the pivot rows' permutation.
#pragma once

#include "metal/simdgroup.h"

namespace jaxinv {
namespace metal {

// Of each simdgroup of a threadgroup.
struct GroupShared {
  int32_t sizes[32];
  int32_t votes[32];
};

// The largest of the threads' sizes (size_bits), and whether all have seen finite numbers only, known to all.
JAXINV_INLINE int group_size(threadgroup GroupShared& s, Position at, int size,
                             thread bool& finite) {
  size = ::metal::simd_max(size);
  const int other = ::metal::simd_max(int(!finite));
  if (at.lane == 0) {
    s.sizes[at.simdgroup] = size;
    s.votes[at.simdgroup] = other;
  }
  ::metal::threadgroup_barrier(::metal::mem_flags::mem_threadgroup);
  for (int i = 0; i < at.threads / simdgroup_lanes(); ++i) {
    size = ::metal::max(size, s.sizes[i]);
    finite = finite && !s.votes[i];
  }
  return size;
}

// True where the pivot rows are an odd permutation, known to the whole group. Rows: a pointer to n of them.
template <class Pointer>
JAXINV_INLINE bool is_odd(threadgroup GroupShared& s, Position at, Pointer rows, int n) {
  int inversions = 0;
  for (int k = at.index; k < n; k += at.threads) {
    const int row = rows[k];
    for (int l = k + 1; l < n; ++l) inversions += int(rows[l] < row);
  }
  const int sum = ::metal::simd_sum(inversions & 1);
  if (at.lane == 0) s.votes[at.simdgroup] = sum;
  ::metal::threadgroup_barrier(::metal::mem_flags::mem_threadgroup);
  int odd = 0;
  for (int i = 0; i < at.threads / simdgroup_lanes(); ++i) odd ^= s.votes[i] & 1;
  return odd != 0;
}

// Division by a pivot, by way of an exact power of two: a denormal one must not make 0 · inf.
template <class V>
struct Division {
  float scale;
  V inverse;
  JAXINV_INLINE explicit Division(V pivot)
      : scale(scalar::pivot_scale(pivot)), inverse(scalar::reciprocal(pivot * scale)) {}
  JAXINV_INLINE V of(V x) const { return (x * scale) * inverse; }
};

}  // namespace metal
}  // namespace jaxinv
