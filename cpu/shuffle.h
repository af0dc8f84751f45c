// What moves numbers between the lanes of vectors: transposes, reductions over the lanes, the two parts of
// complex numbers taken apart and put together.
#pragma once

#include "cpu/simd.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

template <class Raw, int... kIndex>
JAXINV_INLINE Raw shuffle(Raw a, Raw b, std::integer_sequence<int, kIndex...>) {
#ifdef __clang__
  return __builtin_shufflevector(a, b, kIndex...);
#else
  using I = std::conditional_t<sizeof(a[0]) == 4, int32_t, int64_t>;
  return __builtin_shuffle(a, b, typename RawVector<I, sizeof...(kIndex)>::type{kIndex...});
#endif
}

// a with lane l of b.
template <int l, class Raw, int... i>
JAXINV_INLINE Raw take_lane(Raw a, Raw b, std::integer_sequence<int, i...>) {
  return shuffle(a, b, std::integer_sequence<int, (i == l ? int(sizeof...(i)) : 0) + i...>{});
}

template <int distance, class Raw, int... i>
JAXINV_INLINE Raw exchange_lanes(Raw x, std::integer_sequence<int, i...>) {
  return shuffle(x, x, std::integer_sequence<int, (i ^ distance)...>{});
}

#ifdef __AVX2__
// Lane index[i] % 8 in lane i.
JAXINV_INLINE RVec<float, 8> permute(RVec<float, 8> x, IVec<int32_t, 8> index) {
  typedef int Indices __attribute__((vector_size(32)));
  return RVec<float, 8>(RVec<float, 8>::Raw(__builtin_ia32_permvarsf256(x.v, Indices(index.v))));
}
#endif

// The largest lane, in every lane.
template <int distance = 0, class Vec>
JAXINV_INLINE Vec largest_lane(Vec x) {
  constexpr int kDistance = distance ? distance : Vec::W / 2;
  Vec y = larger(Vec(exchange_lanes<kDistance>(x.v, std::make_integer_sequence<int, Vec::W>{})), x);
  if constexpr (kDistance > 1) {
    return largest_lane<kDistance / 2>(y);
  } else {
    return y;
  }
}

// The lowest row among the lanes with the largest key.
template <class I, int W>
JAXINV_INLINE I lowest_where_largest(IVec<I, W> key, IVec<I, W> row) {
  using Index = IVec<I, W>;
  // Negated, so that one reduction serves.
  Index candidate = select(key == largest_lane(key), Index(I(0)) - row, Index(-row_limit<I>()));
  return -largest_lane(candidate).v[0];
}

// True when every lane is set.
template <class I, int W>
JAXINV_INLINE bool all_set(IVec<I, W> mask) {
#ifdef __AVX__
  if constexpr (sizeof mask.v == 32) {
    using Bits = typename RawVector<float, 8>::type;
    return __builtin_ia32_movmskps256(Bits(mask.v)) == 255;
  }
#endif
  if constexpr (sizeof mask.v < 16) {
    bool all = true;
    for (int lane = 0; lane < W; ++lane) all &= mask.v[lane] != 0;
    return all;
  } else {
    typename RawVector<int64_t, sizeof mask.v / 8>::type words;
    __builtin_memcpy(&words, &mask.v, sizeof words);
    int64_t all = -1;
    JAXINV_UNROLL
    for (int i = 0; i < int(sizeof mask.v / 8); ++i) all &= words[i];
    return all == -1;
  }
}

// Which element of (a, b) goes to place i of the low or high result of a transpose stage. `lane` is
// the span inside which elements move (128 bits: one cheap instruction); 0 means blocks of `size`
// change places between a and b.
constexpr int transpose_source(int i, int w, int size, int lane, bool high) {
  if (lane == 0) {
    bool odd = (i / size) % 2;
    return high ? (odd ? w + i : i + size) : (odd ? w + i - size : i);
  }
  int base = i / lane * lane, place = i % lane;
  int source = base + place / (2 * size) * size + place % size + (high ? lane / 2 : 0);
  return place % (2 * size) < size ? source : w + source;
}
template <int w, int size, int lane, bool high, class Raw, int... i>
JAXINV_INLINE Raw transpose_shuffle(Raw a, Raw b, std::integer_sequence<int, i...>) {
  return shuffle(a, b, std::integer_sequence<int, transpose_source(i, w, size, lane, high)...>{});
}

// Stages inside 128-bit lanes, then stages that exchange whole lanes.
template <int W, int size, class Raw>
JAXINV_INLINE void transpose_stages(Raw (&v)[W]) {
  constexpr int kLane = W * int(sizeof(v[0][0])) < 16 ? W : 16 / int(sizeof(v[0][0]));
  constexpr auto kAll = std::make_integer_sequence<int, W>{};
  if constexpr (size < W) {
    constexpr int kSpan = size < kLane ? kLane : 0;
    JAXINV_UNROLL
    for (int i = 0; i < W; ++i) {
      if (i & size) continue;
      Raw a = v[i], b = v[i + size];
      v[i] = transpose_shuffle<W, size, kSpan, false>(a, b, kAll);
      v[i + size] = transpose_shuffle<W, size, kSpan, true>(a, b, kAll);
    }
    transpose_stages<W, 2 * size>(v);
  }
}

// v[i][j] ↔ v[j][i]
template <int W, class Raw>
JAXINV_INLINE void transpose(Raw (&v)[W]) {
  transpose_stages<W, 1>(v);
  // The stages inside a lane leave its columns in bit-reversed order.
  constexpr int kLane = W * int(sizeof(v[0][0])) < 16 ? W : 16 / int(sizeof(v[0][0]));
  if constexpr (kLane == 4) {
    JAXINV_UNROLL
    for (int i = 0; i < W; i += 4) {
      Raw second = v[i + 1];
      v[i + 1] = v[i + 2];
      v[i + 2] = second;
    }
  }
}

// Every second element of (a, b) from the first on, and the way back: elements of a and b in turns.
template <int first, class Raw, int... i>
JAXINV_INLINE Raw every_second(Raw a, Raw b, std::integer_sequence<int, i...>) {
  return shuffle(a, b, std::integer_sequence<int, (2 * i + first)...>{});
}
template <int first, class Raw>
JAXINV_INLINE Raw every_second(Raw a, Raw b) {
  constexpr int kLanes = sizeof(Raw) / sizeof(a[0]);
  return every_second<first>(a, b, std::make_integer_sequence<int, kLanes>{});
}
template <bool high, class Raw, int... i>
JAXINV_INLINE Raw alternate(Raw a, Raw b, std::integer_sequence<int, i...>) {
  constexpr int kLanes = sizeof...(i), kFirst = high ? kLanes / 2 : 0;
  return shuffle(a, b, std::integer_sequence<int, (kFirst + i / 2 + (i % 2) * kLanes)...>{});
}
template <bool high, class Raw>
JAXINV_INLINE Raw alternate(Raw a, Raw b) {
  constexpr int kLanes = sizeof(Raw) / sizeof(a[0]);
  return alternate<high>(a, b, std::make_integer_sequence<int, kLanes>{});
}

// One number, in every lane, and W numbers from or to memory, where parts of a complex number stand side by side.
template <class V>
JAXINV_INLINE V broadcast_entry(const typename V::R* p) {
  using Real = typename Types<V>::Real;
  if constexpr (V::kParts == 2) {
    return {Real(p[0]), Real(p[1])};
  } else {
    return V(p[0]);
  }
}
template <class V>
JAXINV_INLINE V load_numbers(const typename V::R* p) {
  using Real = typename Types<V>::Real;
  if constexpr (V::kParts == 2) {
    typename Real::Raw low = Real::load(p).v, high = Real::load(p + V::W).v;
    return {Real(every_second<0>(low, high)), Real(every_second<1>(low, high))};
  } else {
    return V::load(p);
  }
}
template <class V>
JAXINV_INLINE void store_numbers(V x, typename V::R* p) {
  using Real = typename Types<V>::Real;
  if constexpr (V::kParts == 2) {
    Real(alternate<false>(x.re.v, x.im.v)).store(p);
    Real(alternate<true>(x.re.v, x.im.v)).store(p + V::W);
  } else {
    x.store(p);
  }
}

// x[i], number j ↔ x[j], number i
template <class V>
JAXINV_INLINE void transpose_numbers(V (&x)[V::W]) {
  using Raw = typename Types<V>::Real::Raw;
  Raw part[V::W];
  JAXINV_UNROLL
  for (int i = 0; i < V::W; ++i) part[i] = real_part(x[i]).v;
  transpose<V::W>(part);
  JAXINV_UNROLL
  for (int i = 0; i < V::W; ++i) real_part(x[i]).v = part[i];
  if constexpr (V::kParts == 2) {
    JAXINV_UNROLL
    for (int i = 0; i < V::W; ++i) part[i] = x[i].im.v;
    transpose<V::W>(part);
    JAXINV_UNROLL
    for (int i = 0; i < V::W; ++i) x[i].im.v = part[i];
  }
}

// v[i][4 q + j] ↔ v[j][4 q + i]: transposes inside each 128-bit lane.
template <int W, class Raw>
JAXINV_INLINE void transpose_lanes(Raw (&v)[4]) {
  constexpr auto kAll = std::make_integer_sequence<int, W>{};
  Raw low[2], high[2];
  JAXINV_UNROLL
  for (int i = 0; i < 2; ++i) {
    low[i] = transpose_shuffle<W, 1, 4, false>(v[2 * i], v[2 * i + 1], kAll);
    high[i] = transpose_shuffle<W, 1, 4, true>(v[2 * i], v[2 * i + 1], kAll);
  }
  v[0] = transpose_shuffle<W, 2, 4, false>(low[0], low[1], kAll);
  v[1] = transpose_shuffle<W, 2, 4, true>(low[0], low[1], kAll);
  v[2] = transpose_shuffle<W, 2, 4, false>(high[0], high[1], kAll);
  v[3] = transpose_shuffle<W, 2, 4, true>(high[0], high[1], kAll);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
