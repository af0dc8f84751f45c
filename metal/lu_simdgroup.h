// Algorithm: LU with partial pivoting, rows exchanged as they are chosen; of positive definite matrices L D Lᴴ, in the
// same form. Determinants without factors are those of the matrix scaled into the range.
// Lanes: one row each, in threadgroup memory; 1, 2, 4 or 8 matrices per simdgroup.
// n: to kSystemSimdgroupMax, at run time. dtypes: float32, complex64.
// Memory: matrices in rows of odd length; each is read once, its factors are written once.
#pragma once

#include "metal/elimination.h"

namespace jaxinv {
namespace metal {

struct LuBuffers {
  device const void* a;
  device void* lu;
  device int32_t* permutation;
  device int32_t* info;
  device void* mantissa;
  device int32_t* exponent;
};

template <class V>
JAXINV_INLINE void lu_simdgroup(LuBuffers b, constant LuParameters& p, Position at,
                                threadgroup SystemShared<V>& shared) {
  const int n = p.n, each = systems_per_simdgroup(n);
  const SystemRounds rounds(n, at);
  threadgroup typename Memory<V>::type* tile =
      shared.pool + (at.simdgroup * each + rounds.group) * system_numbers(n);
  const bool turned = p.positive && p.upper;
  for (long first = rounds.first; first < p.batch; first += rounds.step) {
    const long index = first + rounds.group;
    const bool mine = index < p.batch;
    System<V> s(tile, n, at);
    Span<V>::load(b.a, index * n * n, p.storage, mine ? n * n : 0, s.i, s.lanes,
                  Turned(n, s.stride, turned), tile);
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    read_rows(s, p.positive, p.positive, turned, !p.with_factors);
    factor_rows(s, p.positive);
    if (mine && p.with_info && s.i == 0) b.info[index] = s.info;
    if (p.with_determinant) store_system_determinant(b, s, index, mine);
    if (p.with_factors) {
      if (mine && s.has_row()) b.permutation[index * n + s.i] = s.row;
      ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
      Span<V>::store(b.lu, index * n * n, p.storage, mine ? n * n : 0, s.i, s.lanes,
                     Rows(n, s.stride), tile, s.info != 0, 0);
    }
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
  }
}

}  // namespace metal
}  // namespace jaxinv
