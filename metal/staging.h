// Between spans of matrices in device memory and where kernels work on them: consecutive numbers are moved by
// consecutive threads.
#pragma once

#include "metal/numbers.h"

namespace jaxinv {
namespace metal {

// Where number e of rows of n stands when rows are `stride` apart. Exact for e < 2^22: a quotient is at least
// 1 / 2n away from an integer.
struct Rows {
  int n, stride;
  float inverse;
  JAXINV_INLINE Rows(int n, int stride) : n(n), stride(stride), inverse(1.0f / float(n)) {}
  JAXINV_INLINE int row(int e) const { return int((float(e) + 0.5f) * inverse); }
  JAXINV_INLINE int operator()(int e) const { return e + row(e) * (stride - n); }
};

// The same for the transposed matrix where `transposed`.
struct Turned {
  Rows rows;
  bool transposed;
  JAXINV_INLINE Turned(int n, int stride, bool transposed)
      : rows(n, stride), transposed(transposed) {}
  JAXINV_INLINE int operator()(int e) const {
    const int i = rows.row(e), j = e - i * rows.n;
    return transposed ? j * rows.stride + i : i * rows.stride + j;
  }
};

// Where number e of a single row stands.
struct InPlace {
  JAXINV_INLINE int operator()(int e) const { return e; }
};

// Numbers first, first + step, ... of `count`; number e at to[place(e)].
template <class S, class Place, class To>
JAXINV_INLINE void load_stored(device const S* from, int count, int first, int step, Place place,
                               To to) {
  for (int e = first; e < count; e += step) to[place(e)] = memory(number(from[e]));
}
// The way back; NaN where the elimination failed, else scaled_out by `shift`.
template <class S, class V, class Place, class From>
JAXINV_INLINE void store_stored(device S* to, int count, int first, int step, Place place,
                                From from, bool failed, int shift) {
  for (int e = first; e < count; e += step) {
    to[e] = Stored<S>::of(failed ? not_a_number<V>() : scaled_out(number(from[place(e)]), shift));
  }
}

template <class V>
struct Span;

template <>
struct Span<float> {
  template <class Place, class To>
  static JAXINV_INLINE void load(device const void* from, long offset, int storage, int count,
                                 int first, int step, Place place, To to) {
    if (storage == kFloat16) {
      load_stored(static_cast<device const half*>(from) + offset, count, first, step, place, to);
    } else if (storage == kBFloat16) {
      load_stored(static_cast<device const ushort*>(from) + offset, count, first, step, place, to);
    } else {
      load_stored(static_cast<device const float*>(from) + offset, count, first, step, place, to);
    }
  }
  template <class Place, class From>
  static JAXINV_INLINE void store(device void* to, long offset, int storage, int count, int first,
                                  int step, Place place, From from, bool failed, int shift) {
    if (storage == kFloat16) {
      store_stored<half, float>(static_cast<device half*>(to) + offset, count, first, step, place,
                                from, failed, shift);
    } else if (storage == kBFloat16) {
      store_stored<ushort, float>(static_cast<device ushort*>(to) + offset, count, first, step,
                                  place, from, failed, shift);
    } else {
      store_stored<float, float>(static_cast<device float*>(to) + offset, count, first, step, place,
                                 from, failed, shift);
    }
  }
};

template <>
struct Span<Complex64> {
  template <class Place, class To>
  static JAXINV_INLINE void load(device const void* from, long offset, int, int count, int first,
                                 int step, Place place, To to) {
    load_stored(static_cast<device const float2*>(from) + offset, count, first, step, place, to);
  }
  template <class Place, class From>
  static JAXINV_INLINE void store(device void* to, long offset, int, int count, int first, int step,
                                  Place place, From from, bool failed, int shift) {
    store_stored<float2, Complex64>(static_cast<device float2*>(to) + offset, count, first, step,
                                    place, from, failed, shift);
  }
};

}  // namespace metal
}  // namespace jaxinv
