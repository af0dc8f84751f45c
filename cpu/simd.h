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

// The same vector, but not to the compiler. Whether it contracts a product with an addition depends on what else
// uses the product, and of the sum of two products it contracts either: here this, there that, and the bits would
// depend on the place in the code.
template <class Raw>
JAXINV_INLINE Raw opaque(Raw v) {
#if defined(__AVX512F__)
  constexpr int kRegisterBytes = 64;
#elif defined(__AVX__)
  constexpr int kRegisterBytes = 32;
#else
  constexpr int kRegisterBytes = 16;
#endif
  if constexpr (sizeof(Raw) > kRegisterBytes) {  // only in tests of wider vectors
    asm("" : "+m"(v));
  } else {
#if defined(__x86_64__)
    asm("" : "+x"(v));
#else
    asm("" : "+w"(v));
#endif
  }
  return v;
}

// W integers as wide as the reals they go with: masks (0 or −1), row indices, bit patterns.
template <class I, int W_>
struct IVec {
  static constexpr int W = W_;
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

template <class I>
constexpr I row_limit() {
  return I(1) << 30;
}

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
  JAXINV_INLINE RVec opaque() const { return jaxinv::JAXINV_NAMESPACE::opaque(v); }
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
    return {(re * b.re).opaque() - im * b.im, (re * b.im).opaque() + im * b.re};
  }
  JAXINV_INLINE CVec operator*(Real b) const { return {re * b, im * b}; }
  JAXINV_INLINE CVec operator-() const { return {-re, -im}; }
  JAXINV_INLINE CVec operator-(Real b) const { return {re - b, im}; }
  JAXINV_INLINE CVec opaque() const { return {re.opaque(), im.opaque()}; }
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
JAXINV_INLINE RVec<R, W> magnitude(RVec<R, W> x) {
  return abs(x);
}
template <class R, int W>
JAXINV_INLINE RVec<R, W> magnitude(CVec<R, W> x) {
  return abs(x.re) + abs(x.im);
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
  RVec<R, W> r = reciprocal((x.re * x.re).opaque() + x.im * x.im);
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

// 0, 1, 2, … in the lanes.
template <class Index, int... i>
JAXINV_INLINE Index lane_numbers(std::integer_sequence<int, i...>) {
  return typename Index::Raw{i...};
}
template <class Index>
JAXINV_INLINE Index lane_numbers() {
  return lane_numbers<Index>(std::make_integer_sequence<int, Index::W>{});
}

// What stays of x where the mask is set; zero elsewhere.
template <class R, int W>
JAXINV_INLINE RVec<R, W> keep(typename RVec<R, W>::Index mask, RVec<R, W> x) {
  return RVec<R, W>::from_bits(mask & x.bits());
}
template <class R, int W>
JAXINV_INLINE CVec<R, W> keep(typename RVec<R, W>::Index mask, CVec<R, W> x) {
  return {keep(mask, x.re), keep(mask, x.im)};
}

// pivot_key as integers, which compare faster and put NaN on top.
template <class R, int W>
JAXINV_INLINE typename RVec<R, W>::Index pivot_key_bits(RVec<R, W> x) {
  return abs(x).bits();
}
template <class R, int W>
JAXINV_INLINE typename RVec<R, W>::Index pivot_key_bits(CVec<R, W> x) {
  return abs(abs(x.re) + abs(x.im)).bits();
}

// The sign and the power of two of x: x / power_part(x) lies in [1, 2); of the larger part of a complex x.
template <class R, int W>
JAXINV_INLINE RVec<R, W> power_part(RVec<R, W> x) {
  using V = RVec<R, W>;
  constexpr int kMantissa = sizeof(R) == 4 ? 23 : 52;
  return V::from_bits(x.bits() &
                      typename V::Index(typename V::I(~((typename V::I(1) << kMantissa) - 1))));
}
template <class R, int W>
JAXINV_INLINE RVec<R, W> power_part(CVec<R, W> x) {
  return power_part(select(abs(x.re) > abs(x.im), x.re, x.im));
}
// 1/x for a power of two, as power_part gives them: exact. What the sign borrows goes back to it.
template <class R, int W>
JAXINV_INLINE RVec<R, W> power_reciprocal(RVec<R, W> x) {
  using V = RVec<R, W>;
  constexpr int kMantissa = sizeof(R) == 4 ? 23 : 52;
  constexpr typename V::I kTwice = (sizeof(R) == 4 ? typename V::I(254) : typename V::I(2046))
                                   << kMantissa;
  using Unsigned = std::make_unsigned_t<typename V::I>;
  using Bits = typename RawVector<Unsigned, W>::type;
  return V::from_bits(typename V::Index::Raw(Bits(Unsigned(kTwice) - Bits(x.v))));
}
// x p − 1, rounded once.
template <class R, int W>
JAXINV_INLINE RVec<R, W> product_less_one(RVec<R, W> x, RVec<R, W> p) {
  return fma(x, p, RVec<R, W>(R(-1)));
}
template <class R, int W>
JAXINV_INLINE CVec<R, W> product_less_one(CVec<R, W> x, RVec<R, W> p) {
  return {product_less_one(x.re, p), x.im * p};
}

// 1/x where that neither overflows nor is denormal; anything for others.
template <class R, int W>
JAXINV_INLINE RVec<R, W> usual_reciprocal(RVec<R, W> x) {
  return reciprocal(x);
}
template <class R, int W>
JAXINV_INLINE CVec<R, W> usual_reciprocal(CVec<R, W> x) {
  RVec<R, W> scale = pivot_scale(x);  // |x|² would overflow long before 1/x does
  return reciprocal(x * scale) * scale;
}

// One real of lane 0.
template <class R, int W>
JAXINV_INLINE R real_at(RVec<R, W> x, int) {
  return x.v[0];
}
template <class R, int W>
JAXINV_INLINE R real_at(CVec<R, W> x, int part) {
  return part ? x.im.v[0] : x.re.v[0];
}

template <class R, int W>
JAXINV_INLINE RVec<R, W>& real_part(RVec<R, W>& x) {
  return x;
}
template <class R, int W>
JAXINV_INLINE RVec<R, W>& real_part(CVec<R, W>& x) {
  return x.re;
}

template <class I, int W>
JAXINV_INLINE IVec<I, W> larger(IVec<I, W> a, IVec<I, W> b) {
  return typename IVec<I, W>::Raw(a.v > b.v ? a.v : b.v);
}

// a where it is larger; b where one of them is NaN.
template <class R, int W>
JAXINV_INLINE RVec<R, W> larger(RVec<R, W> a, RVec<R, W> b) {
#ifdef __AVX512F__
  // Where compares give masks GCC does not see that it is one instruction, and these stand in chains.
  if constexpr (sizeof a.v >= 32) {
    typename RVec<R, W>::Raw x;
    if constexpr (sizeof(R) == 4) {
      asm("vmaxps %2, %1, %0" : "=v"(x) : "v"(a.v), "vm"(b.v));
    } else {
      asm("vmaxpd %2, %1, %0" : "=v"(x) : "v"(a.v), "vm"(b.v));
    }
    return x;
  }
#endif
  return typename RVec<R, W>::Raw(a.v > b.v ? a.v : b.v);
}

template <class R, int W>
JAXINV_INLINE RVec<R, W> sum_of_parts(RVec<R, W> x) {
  return x;
}
template <class R, int W>
JAXINV_INLINE RVec<R, W> sum_of_parts(CVec<R, W> x) {
  return x.re + x.im;
}

// |x|²
template <class R, int W>
JAXINV_INLINE RVec<R, W> squared(RVec<R, W> x) {
  return x * x;
}
template <class R, int W>
JAXINV_INLINE RVec<R, W> squared(CVec<R, W> x) {
  return fma(x.re, x.re, x.im * x.im);
}

// sum + 0 · x: NaN from the first x on that is not finite.
template <class R, int W>
JAXINV_INLINE RVec<R, W> add_zeros(RVec<R, W> x, RVec<R, W> sum) {
  return fma(x, RVec<R, W>(R(0)), sum);
}
template <class R, int W>
JAXINV_INLINE RVec<R, W> add_zeros(CVec<R, W> x, RVec<R, W> sum) {
  return add_zeros(x.re, add_zeros(x.im, sum));
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
