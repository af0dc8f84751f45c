// SIMD vectors of real and complex numbers, as GCC/Clang vector extensions: the arithmetic of
// core/scalar.h, one matrix per lane, plus loads, stores and the W × W transpose. Compiled once per
// instruction set, in that set's namespace.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include "core/scalar.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

template <class R, int W>
struct RawVector {
  typedef R type __attribute__((vector_size(W * sizeof(R))));
};

// W integers as wide as the reals they go with: masks (0 or −1), row indices, bit patterns.
template <class I, int W>
struct IVec {
  using Raw = typename RawVector<I, W>::type;
  Raw v;
  IVec() = default;
  JAXINV_INLINE IVec(Raw raw) : v(raw) {}
  JAXINV_INLINE explicit IVec(I x) : v(x - Raw{}) {}
  JAXINV_INLINE IVec operator==(IVec b) const { return Raw(v == b.v); }
  JAXINV_INLINE IVec operator>(IVec b) const { return Raw(v > b.v); }
  JAXINV_INLINE IVec operator&(IVec b) const { return Raw(v & b.v); }
  JAXINV_INLINE IVec operator|(IVec b) const { return Raw(v | b.v); }
  JAXINV_INLINE IVec operator^(IVec b) const { return Raw(v ^ b.v); }
  JAXINV_INLINE IVec operator+(IVec b) const { return Raw(v + b.v); }
  JAXINV_INLINE IVec operator-(IVec b) const { return Raw(v - b.v); }
};

template <class R_, int W_>
struct RVec {
  using R = R_;
  static constexpr int W = W_;
  static constexpr int kParts = 1;  // reals per number
  using Raw = typename RawVector<R, W>::type;
  using I = std::conditional_t<sizeof(R) == 4, int32_t, int64_t>;
  using Index = IVec<I, W>;
  Raw v;
  RVec() = default;
  JAXINV_INLINE RVec(Raw raw) : v(raw) {}
  JAXINV_INLINE explicit RVec(R x) : v(x - Raw{}) {}
  JAXINV_INLINE RVec operator+(RVec b) const { return Raw(v + b.v); }
  JAXINV_INLINE RVec operator-(RVec b) const { return Raw(v - b.v); }
  JAXINV_INLINE RVec operator*(RVec b) const { return Raw(v * b.v); }
  JAXINV_INLINE RVec operator-() const { return Raw(-v); }
  JAXINV_INLINE Index operator>(RVec b) const { return typename Index::Raw(v > b.v); }
  JAXINV_INLINE Index operator==(RVec b) const { return typename Index::Raw(v == b.v); }
  JAXINV_INLINE Index bits() const { return (typename Index::Raw)(v); }
  JAXINV_INLINE static RVec from_bits(Index b) { return (Raw)(b.v); }
  JAXINV_INLINE static RVec load(const R* p) {
    RVec x;
    __builtin_memcpy(&x.v, p, sizeof x.v);
    return x;
  }
  JAXINV_INLINE void store(R* p) const { __builtin_memcpy(p, &v, sizeof v); }
  JAXINV_INLINE static RVec broadcast(const R* p) { return RVec(*p); }
};

// Complex numbers as two vectors; in memory [W real parts][W imaginary parts].
template <class R_, int W_>
struct CVec {
  using R = R_;
  static constexpr int W = W_;
  static constexpr int kParts = 2;
  using Real = RVec<R, W>;
  using Index = typename Real::Index;
  Real re, im;
  CVec() = default;
  JAXINV_INLINE CVec(Real re, Real im) : re(re), im(im) {}
  JAXINV_INLINE explicit CVec(R x) : re(x), im(R(0)) {}
  JAXINV_INLINE CVec operator+(CVec b) const { return {re + b.re, im + b.im}; }
  JAXINV_INLINE CVec operator*(CVec b) const {
    return {re * b.re - im * b.im, re * b.im + im * b.re};
  }
  JAXINV_INLINE CVec operator*(Real b) const { return {re * b, im * b}; }
  JAXINV_INLINE CVec operator-() const { return {-re, -im}; }
  JAXINV_INLINE static CVec load(const R* p) { return {Real::load(p), Real::load(p + W)}; }
  JAXINV_INLINE void store(R* p) const {
    re.store(p);
    im.store(p + W);
  }
};

template <class R, int W>
struct Types<RVec<R, W>> {
  using Real = RVec<R, W>;
  using Index = typename Real::Index;
  using Mask = Index;
};
template <class R, int W>
struct Types<CVec<R, W>> {
  using Real = RVec<R, W>;
  using Index = typename Real::Index;
  using Mask = Index;
};

template <class R, int W>
JAXINV_INLINE RVec<R, W> select(typename RVec<R, W>::Index mask, RVec<R, W> a, RVec<R, W> b) {
  return typename RVec<R, W>::Raw(mask.v ? a.v : b.v);
}
template <class R, int W>
JAXINV_INLINE CVec<R, W> select(typename RVec<R, W>::Index mask, CVec<R, W> a, CVec<R, W> b) {
  return {select(mask, a.re, b.re), select(mask, a.im, b.im)};
}
template <class I, int W>
JAXINV_INLINE IVec<I, W> select(IVec<I, W> mask, IVec<I, W> a, IVec<I, W> b) {
  return typename IVec<I, W>::Raw(mask.v ? a.v : b.v);
}

template <class R, int W>
JAXINV_INLINE RVec<R, W> abs(RVec<R, W> x) {
  using V = RVec<R, W>;
  constexpr typename V::I kSign = typename V::I(1) << (8 * sizeof(R) - 1);
  return V::from_bits(x.bits() & typename V::Index(typename V::I(~kSign)));
}

template <class R, int W>
JAXINV_INLINE RVec<R, W> pivot_key(RVec<R, W> x) {
  RVec<R, W> size = abs(x);
  return select(size == size, size, RVec<R, W>(R(__builtin_inf())));
}
template <class R, int W>
JAXINV_INLINE RVec<R, W> pivot_key(CVec<R, W> x) {
  RVec<R, W> size = abs(x.re) + abs(x.im);
  return select(size == size, size, RVec<R, W>(R(__builtin_inf())));
}

template <class R, int W>
JAXINV_INLINE typename RVec<R, W>::Index not_finite(RVec<R, W> x) {
  using Index = typename RVec<R, W>::Index;
  RVec<R, W> zero = x - x;  // NaN for NaN and Inf
  return (zero == zero) ^ Index(-1);
}
template <class R, int W>
JAXINV_INLINE typename RVec<R, W>::Index bad_pivot(RVec<R, W> x) {
  return (x == RVec<R, W>(R(0))) | not_finite(x);
}
template <class R, int W>
JAXINV_INLINE typename RVec<R, W>::Index bad_pivot(CVec<R, W> x) {
  RVec<R, W> zero(R(0));
  return ((x.re == zero) & (x.im == zero)) | not_finite(x.re) | not_finite(x.im);
}

template <class R, int W>
JAXINV_INLINE RVec<R, W> pivot_scale(RVec<R, W> x) {
  using V = RVec<R, W>;
  using I = typename V::I;
  using Index = typename V::Index;
  constexpr int kMantissa = sizeof(R) == 4 ? 23 : 52;
  constexpr I kExponent = (sizeof(R) == 4 ? I(255) : I(2047)) << kMantissa;
  constexpr I kOne = I(1) << kMantissa;
  Index bits = Index(kExponent - kOne) - (x.bits() & Index(kExponent));
  bits = select(bits > Index(kOne), bits, Index(kOne));
  return V::from_bits(bits);
}
template <class R, int W>
JAXINV_INLINE RVec<R, W> pivot_scale(CVec<R, W> x) {
  RVec<R, W> re = abs(x.re), im = abs(x.im);
  return pivot_scale(select(re > im, re, im));
}

template <class R, int W>
JAXINV_INLINE RVec<R, W> reciprocal(RVec<R, W> x) {
  return typename RVec<R, W>::Raw(R(1) / x.v);
}
template <class R, int W>
JAXINV_INLINE CVec<R, W> reciprocal(CVec<R, W> x) {  // of a number already scaled near 1
  RVec<R, W> r = reciprocal(x.re * x.re + x.im * x.im);
  return {x.re * r, -(x.im * r)};
}

// c − a b, contracted to fused multiply-adds where the instruction set has them.
template <class R, int W>
JAXINV_INLINE RVec<R, W> fnma(RVec<R, W> a, RVec<R, W> b, RVec<R, W> c) {
  return typename RVec<R, W>::Raw(c.v - a.v * b.v);
}
template <class R, int W>
JAXINV_INLINE CVec<R, W> fnma(CVec<R, W> a, CVec<R, W> b, CVec<R, W> c) {
  return {fnma(a.re, b.re, c.re) + a.im * b.im, fnma(a.im, b.re, fnma(a.re, b.im, c.im))};
}
// c + a b
template <class R, int W>
JAXINV_INLINE RVec<R, W> fma(RVec<R, W> a, RVec<R, W> b, RVec<R, W> c) {
  return typename RVec<R, W>::Raw(c.v + a.v * b.v);
}
template <class R, int W>
JAXINV_INLINE CVec<R, W> fma(CVec<R, W> a, CVec<R, W> b, CVec<R, W> c) {
  return {fnma(a.im, b.im, fma(a.re, b.re, c.re)), fma(a.im, b.re, fma(a.re, b.im, c.im))};
}

template <class Raw, int... kIndex>
JAXINV_INLINE Raw shuffle(Raw a, Raw b, std::integer_sequence<int, kIndex...>) {
#ifdef __clang__
  return __builtin_shufflevector(a, b, kIndex...);
#else
  using I = std::conditional_t<sizeof(a[0]) == 4, int32_t, int64_t>;
  return __builtin_shuffle(a, b, typename RawVector<I, sizeof...(kIndex)>::type{kIndex...});
#endif
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

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
