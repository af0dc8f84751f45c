// Algorithm: inverse of a triangle by substitution, of a Hermitian positive definite matrix by L D Lᴴ, the inverse of
// L and the product L⁻ᴴ D⁻¹ L⁻¹, in place and without pivoting. An upper triangle is a lower one of the transposed
// matrix, whose inverse is the transposed inverse.
// Lanes: one row each, in threadgroup memory; 1, 2, 4 or 8 matrices per simdgroup.
// n: to kSystemSimdgroupMax, at run time. dtypes: float32, float16, bfloat16, complex64.
// Memory: matrices in rows of odd length; each is read once, its inverse is written once.
#pragma once

#include "metal/elimination.h"

namespace jaxinv {
namespace metal {

// The inverse of the lower triangle, whose diagonal is 1 where `unit`, in its place. Row k is solved before step k:
// what is left to the left of its diagonal are columns of the inverse.
template <class V>
JAXINV_INLINE void invert_rows(thread const System<V>& s, bool unit) {
  threadgroup typename Memory<V>::type* own = s.at(s.i);
  for (int k = 0; k < s.n; ++k) {
    threadgroup typename Memory<V>::type* top = s.at(k);
    const V one = divide(V(1), s.scale, s.inverse);
    const V diagonal = unit ? V(1) : shuffle(one, s.base + k);
    if (!unit) {
      const float scale = ::metal::simd_shuffle(s.scale, ushort(s.base + k));
      const V inverse = shuffle(s.inverse, s.base + k);
      if (s.i < k) top[s.i] = memory(divide(number(top[s.i]), scale, inverse));
      ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    }
    if (s.i > k && s.has_row()) {
      const V factor = number(own[k]);
      subtract(own, 1, top, 1, factor, 0, k, 1);
      own[k] = memory(unit ? -factor : -(factor * diagonal));
    }
    if (!unit && s.i == k) own[k] = memory(diagonal);
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
  }
}

// wᴴ D⁻¹ w for the unit lower triangle w of the rows and the pivots D, in their place, one triangle the mirror of the
// other. Step j makes a column of the lower one; the upper one holds conjugate factors divided by their pivots.
template <class V>
JAXINV_INLINE void multiply_rows(thread const System<V>& s) {
  threadgroup typename Memory<V>::type* own = s.at(s.i);
  for (int j = 0; j < s.i && s.has_row(); ++j) {
    s.at(j)[s.i] = memory(divide(conjugate(number(own[j])), s.scale, s.inverse));
  }
  ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
  for (int j = 0; j < s.n; ++j) {
    const bool here = s.i >= j && s.has_row();
    V sum = divide(here && s.i > j ? number(own[j]) : V(1), s.scale, s.inverse);
    for (int k = s.i + 1; k < s.n && here; ++k) {
      sum = scalar::fma(number(own[k]), number(s.at(k)[j]), sum);
    }
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    if (here) own[j] = memory(scalar::select(s.i == j, V(real_part(sum)), sum));
  }
  for (int j = 0; j < s.i && s.has_row(); ++j) s.at(j)[s.i] = memory(conjugate(number(own[j])));
  ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
}

template <class V>
JAXINV_INLINE void triangle_simdgroup(InverseBuffers b, constant InverseParameters& p, Position at,
                                      threadgroup SystemShared<V>& shared) {
  const int n = p.n, each = systems_per_simdgroup(n);
  const SystemRounds rounds(n, at);
  threadgroup typename Memory<V>::type* tile =
      shared.pool + (at.simdgroup * each + rounds.group) * system_numbers(n);
  for (long first = rounds.first; first < p.batch; first += rounds.step) {
    const long index = first + rounds.group;
    const bool mine = index < p.batch;
    const int count = mine ? n * n : 0;
    System<V> s(tile, n, at);
    Span<V>::load(b.a, index * n * n, p.storage, count, s.i, s.lanes, Turned(n, s.stride, p.upper),
                  tile);
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    read_rows(s, true, p.positive, p.positive && p.upper, true);
    if (p.positive) {
      factor_rows(s, true);
      invert_rows(s, true);
      multiply_rows(s);
    } else {
      find_pivots(s, p.upper);
      invert_rows(s, false);
    }
    if (mine && p.with_info && s.i == 0) b.info[index] = s.info;
    if (p.with_determinant) store_system_determinant(b, s, index, mine);
    Span<V>::store(b.x, index * n * n, p.storage, count, s.i, s.lanes,
                   Turned(n, s.stride, p.upper && !p.positive), tile, s.info != 0, s.shift);
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
  }
}

}  // namespace metal
}  // namespace jaxinv
