// What the kernels of systems and of structured matrices share: matrices in threadgroup memory, the steps of their
// elimination and of substitutions.
// Lanes: each of n neighbouring lanes has a row of a matrix. A step takes a row, known to all behind a barrier, and
// each lane subtracts its multiple from its own. The lanes are spread over columns and rows of right-hand sides.
#pragma once

#include "metal/results.h"
#include "metal/staging.h"

namespace jaxinv {
namespace metal {

template <class V>
struct SystemShared {
  typename Memory<V>::type pool[system_pool_bytes() / sizeof(V)];
  int32_t order[system_simdgroups()][simdgroup_lanes()];
};

// The matrix of a group of lanes, and what a lane knows of it: of row i, which is its own.
template <class V>
struct System {
  typedef typename Memory<V>::type M;
  threadgroup M* numbers;  // row i at numbers + i * stride
  int n, stride;
  int lanes, i, base;  // of the group; the lane in it; the first of its lanes in the simdgroup
  int row;             // which of the matrix' rows stands at place i
  V pivot;
  float scale;  // division by the pivot, see Division
  V inverse;
  int info, shift;
  bool zero_pivot, odd, finite;

  JAXINV_INLINE System(threadgroup M* numbers, int n, Position at)
      : numbers(numbers),
        n(n),
        stride(n | 1),
        lanes(lanes_per_system(n)),
        i(at.lane % lanes),
        base(at.lane - i),
        row(i),
        pivot(V(1)),
        scale(1),
        inverse(V(1)),
        info(0),
        shift(0),
        zero_pivot(false),
        odd(false),
        finite(true) {}
  JAXINV_INLINE bool has_row() const { return i < n; }
  JAXINV_INLINE threadgroup M* at(int k) const { return numbers + k * stride; }
};

// Which of the units of work are this simdgroup's: first, first + step, ... and those of its other groups of lanes.
struct SystemRounds {
  long first, step;
  int group;  // of this lane, in its simdgroup
  JAXINV_INLINE SystemRounds(int n, Position at) {
    const int each = systems_per_simdgroup(n), simdgroups = at.threads / simdgroup_lanes();
    first = (long(at.group) * simdgroups + at.simdgroup) * each;
    step = long(at.groups) * simdgroups * each;
    group = at.lane / lanes_per_system(n);
  }
};

// What the pivot search compares: NaN counts as infinite.
template <class V>
JAXINV_INLINE int pivot_bits(V x) {
  return ::metal::min(key_bits(x), 255 << 23);
}

template <class V>
JAXINV_INLINE void set_pivot(thread System<V>& s, V pivot) {
  const Division<V> divided(pivot);
  s.pivot = pivot;
  s.scale = divided.scale;
  s.inverse = divided.inverse;
}
template <class V>
JAXINV_INLINE V divide(V x, float scale, V inverse) {
  return (x * scale) * inverse;
}

// to[j · to_step] −= factor · from[j · from_step] for j = first, first + step, ... below last. Four at a time: loads
// do not wait for stores, which may be to the same place as far as a compiler knows.
template <class M, class V>
JAXINV_INLINE void subtract(threadgroup M* to, int to_step, threadgroup const M* from,
                            int from_step, V factor, int first, int last, int step) {
  int j = first;
  for (; j + 3 * step < last; j += 4 * step) {
    V x[4];
    JAXINV_UNROLL
    for (int u = 0; u < 4; ++u) {
      const int at = j + u * step;
      x[u] = scalar::fnma(factor, number(from[at * from_step]), number(to[at * to_step]));
    }
    JAXINV_UNROLL
    for (int u = 0; u < 4; ++u) to[(j + u * step) * to_step] = memory(x[u]);
  }
  for (; j < last; j += step) {
    const V x = scalar::fnma(factor, number(from[j * from_step]), number(to[j * to_step]));
    to[j * to_step] = memory(x);
  }
}

// What is read of the rows: all or, where `lower`, that triangle alone; conjugated, a diagonal without its imaginary
// part, scaled into the range where asked for. Behind a barrier.
template <class V>
JAXINV_INLINE void read_rows(thread System<V>& s, bool lower, bool positive, bool conjugated,
                             bool scaled) {
  threadgroup typename Memory<V>::type* own = s.at(s.i);
  const int end = !s.has_row() ? 0 : lower ? s.i + 1 : s.n;
  int size = 0;
  bool finite = true;
  for (int j = 0; j < end; ++j) {
    V x = number(own[j]);
    if (conjugated) x = conjugate(x);
    if (positive && j == s.i) x = V(real_part(x));
    own[j] = memory(x);
    size = ::metal::max(size, size_bits(x));
    finite = finite && is_finite(x);
  }
  s.finite = group_max(s.lanes, int(!finite)) == 0;
  s.shift = range_shift(group_max(s.lanes, size));
  if (!scaled) s.shift = 0;
  for (int j = 0; j < end && s.shift; ++j) own[j] = memory(scaled_in(number(own[j]), s.shift));
  for (int j = end; j < s.n && s.has_row(); ++j) own[j] = memory(V(0));
  ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
}

// Brings the row of the largest number of column k, the first of them, to place k.
template <class V>
JAXINV_INLINE void exchange_rows(thread System<V>& s, int k) {
  const int key = s.i >= k && s.has_row() ? pivot_bits(number(s.at(s.i)[k])) : -1;
  const int chosen = group_argmax(s.lanes, key, s.i);
  // The rows are as the step before left them: shuffles order no memory.
  ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
  if (chosen != k && s.has_row()) {  // a column for each lane
    const typename Memory<V>::type x = s.at(k)[s.i];
    s.at(k)[s.i] = s.at(chosen)[s.i];
    s.at(chosen)[s.i] = x;
  }
  const int from = s.i == k ? chosen : s.i == chosen ? k : s.i;
  s.row = ::metal::simd_shuffle(s.row, ushort(s.base + from));
  s.odd = s.odd != (chosen != k);
}

// Each lane's row of L U with partial pivoting or, of a positive definite matrix by its lower triangle, of L D Lᴴ in
// that form. What other lanes have written is known behind the next barrier.
template <class V>
JAXINV_INLINE void factor_rows(thread System<V>& s, bool positive) {
  threadgroup typename Memory<V>::type* own = s.at(s.i);
  for (int k = 0; k < s.n; ++k) {
    threadgroup typename Memory<V>::type* top = s.at(k);
    const bool below = s.i > k && s.has_row();
    if (positive) {
      if (below) top[s.i] = memory(conjugate(number(own[k])));
    } else {
      exchange_rows(s, k);
    }
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    V pivot = number(top[k]);
    if (positive) pivot = V(real_part(pivot));
    if (!s.info && (scalar::bad_pivot(pivot) || (positive && real_part(pivot) < 0))) {
      s.info = k + 1;
      s.zero_pivot = is_zero(pivot);
    }
    const Division<V> divided(pivot);
    if (s.i == k) set_pivot(s, pivot);
    if (below) {
      const V multiplier = divided.of(number(own[k]));
      own[k] = memory(multiplier);
      subtract(own, 1, top, 1, multiplier, k + 1, positive ? s.i + 1 : s.n, 1);
    }
  }
  if (positive && s.has_row()) own[s.i] = memory(s.pivot);  // without an imaginary part
}

// The pivots of a triangle, here lower: its diagonal, NaN where the column (of an upper one, here transposed: the row)
// has a number that is not finite.
template <class V>
JAXINV_INLINE void find_pivots(thread System<V>& s, bool upper) {
  V pivot = V(1);
  if (s.has_row()) {
    bool finite = true;
    for (int j = upper ? 0 : s.i; j < (upper ? s.i + 1 : s.n); ++j) {
      finite = finite && is_finite(number(upper ? s.at(s.i)[j] : s.at(j)[s.i]));
    }
    pivot = finite ? number(s.at(s.i)[s.i]) : not_a_number<V>();
  }
  set_pivot(s, pivot);
  const int bad = group_max(s.lanes, scalar::bad_pivot(pivot) ? s.lanes - s.i : 0);
  s.info = bad ? s.lanes - bad + 1 : 0;
  s.zero_pivot = group_max(s.lanes, int(is_zero(pivot) && s.i + 1 == s.info)) != 0;
}

// y ← t⁻¹ y for a triangle t of the matrix, forward by a lower one, its diagonal 1 where `unit`: entry (i, k) stands
// at numbers[i * down + k * across].
template <class V>
JAXINV_INLINE void substitute(thread const System<V>& s, bool forward, bool unit, bool transposed,
                              threadgroup typename Memory<V>::type* y, int stride, int columns) {
  const int down = transposed ? 1 : s.stride, across = transposed ? s.stride : 1;
  int width = 1;  // lanes beside each other
  while (width < columns && width < s.lanes) width *= 2;
  const int first = s.i / width, step = s.lanes / width;
  for (int turn = 0; turn < s.n; ++turn) {
    const int k = forward ? turn : s.n - 1 - turn;
    threadgroup typename Memory<V>::type* solved = y + k * stride;
    if (!unit) {
      const float scale = ::metal::simd_shuffle(s.scale, ushort(s.base + k));
      const V inverse = shuffle(s.inverse, s.base + k);
      for (int c = s.i % width; c < columns && first == 0; c += width) {
        solved[c] = memory(divide(number(solved[c]), scale, inverse));
      }
      ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
    }
    for (int c = s.i % width; c < columns; c += width) {
      subtract(y + c, stride, s.numbers + k * across, down, number(solved[c]),
               (forward ? k + 1 : 0) + first, forward ? s.n : k, step);
    }
    ::metal::simdgroup_barrier(::metal::mem_flags::mem_threadgroup);
  }
}

template <class Buffers, class V>
JAXINV_INLINE void store_system_determinant(Buffers b, thread const System<V>& s, long index,
                                            bool mine) {
  V mantissa = scalar::select(s.has_row(), s.pivot, V(1));
  int exponent = take_exponent(mantissa);
  group_multiply(s.lanes, mantissa, exponent);
  if (!mine || s.i != 0) return;
  store_determinant(b, index, scalar::select(s.odd, -mantissa, mantissa), exponent, s.shift, s.n,
                    s.info, s.zero_pivot, s.finite);
}

}  // namespace metal
}  // namespace jaxinv
