// The determinant as mantissa and power of two, from the pivots of an elimination.
#pragma once

#include "cpu/lanes.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// Takes the power of two out of x: returns it as integers, leaves x in [1, 2) (the larger part of a
// complex number). Exact for normal x; a denormal is first multiplied by 2^64.
template <class V>
JAXINV_INLINE typename V::Index take_exponent(V& x) {
  using Real = typename Types<V>::Real;
  using R = typename Real::R;
  using I = typename Real::I;
  using Index = typename Real::Index;
  constexpr int kMantissa = sizeof(R) == 4 ? 23 : 52;
  constexpr I kBias = sizeof(R) == 4 ? 127 : 1023;
  auto exponent_of = [](const V& y) {
    Real size;
    if constexpr (V::kParts == 2) {
      size = select(abs(y.re) > abs(y.im), abs(y.re), abs(y.im));
    } else {
      size = abs(y);
    }
    return Index(typename Index::Raw(size.bits().v >> kMantissa));
  };
  Index tiny = exponent_of(x) == Index(I(0));
  x = x * select(tiny, Real(R(18446744073709551616.0)), Real(R(1)));
  Index exponent = exponent_of(x) - Index(kBias);
  // 2^-exponent in two factors: for the largest numbers it is below the normal range.
  Index half = Index(typename Index::Raw(exponent.v >> 1));
  auto power = [](Index e) {
    return Real::from_bits(typename Index::Raw((e.v + kBias) << kMantissa));
  };
  x = x * power(Index(I(0)) - half) * power(half - exponent);
  return exponent - (tiny & Index(I(64)));
}

// Product of n pivots, pivot(k) the k-th, negated where `odd`, as mantissa in [1, 2) and exponent.
template <class V, class Index, class Pivot>
JAXINV_INLINE void determinant(int64_t n, Pivot&& pivot_at, Index odd, V& mantissa,
                               Index& exponent) {
  using I = typename Types<V>::Real::I;
  mantissa = V(1);
  exponent = Index(I(0));
  // Numbers below 2 (complex: 2√2), of which so many multiply to less than the range.
  constexpr int64_t kTogether = 32;
  for (int64_t k = 0; k < n; k += kTogether) {
    for (int64_t j = k; j < n && j < k + kTogether; ++j) {
      V pivot = pivot_at(j);
      exponent = exponent + take_exponent(pivot);
      mantissa = mantissa * pivot;
    }
    exponent = exponent + take_exponent(mantissa);
  }
  mantissa = select(odd, -mantissa, mantissa);
}

// Whether an entry is read.
inline bool reads(Structure structure, int64_t row, int64_t column) {
  if (structure == Structure::kGeneral) return true;
  return is_upper(structure) ? row <= column : row >= column;
}

// The mantissa of an n × n matrix whose elimination failed: 0 when its pivot was exactly zero and every entry
// that is read is finite, NaN otherwise.
template <class S, class R = typename Storage<S>::R>
JAXINV_INLINE R failed_mantissa(const S* a, int64_t n, Structure structure, bool zero_pivot) {
  R sum = 0;  // stays zero while x - x does: NaN for NaN and Inf
  for (int64_t i = 0; i < n * n; ++i) {
    const int64_t row = i / n, column = i % n;
    if (!reads(structure, row, column)) continue;
    if constexpr (Storage<S>::kParts == 2) {
      if (is_pos(structure) && row == column) {
        sum += a[i].re - a[i].re;
        continue;
      }
    }
    if constexpr (kIsHalf<S>) {
      sum += to_float(a[i]) - to_float(a[i]);
    } else if constexpr (Storage<S>::kParts == 2) {
      sum += (a[i].re - a[i].re) + (a[i].im - a[i].im);
    } else {
      sum += a[i] - a[i];
    }
  }
  return zero_pivot && sum == 0 ? R(0) : R(__builtin_nan(""));
}

// info, mantissa and exponent of one group, where asked for: of an InverseProblem or a LuProblem.
template <class V, class Problem>
JAXINV_INLINE void store_group_by_products(const Problem& p, int64_t index, int64_t count,
                                           const typename V::R* a, const V* pivots,
                                           typename V::Index info, typename V::Index odd,
                                           typename V::Index shift) {
  using R = typename V::R;
  int64_t reals = p.n * p.n * V::kParts;
  auto matrix_of = [&](int lane) { return matrix_of_lane<R, V::W>(lane, reals); };
  if (p.info) {
    for (int lane = 0; lane < V::W; ++lane) {
      if (matrix_of(lane) < count) p.info[index + matrix_of(lane)] = int32_t(info.v[lane]);
    }
  }
  if (!p.mantissa) return;
  V mantissa;
  typename V::Index exponent;
  determinant<V>(p.n, [&](int64_t k) { return pivots[k]; }, odd, mantissa, exponent);
  R* out = static_cast<R*>(p.mantissa) + index * V::kParts;
  R values[V::kParts * V::W];
  mantissa.store(values);
  // The determinant of the matrix before it was multiplied by 2^shift.
  using Index = typename V::Index;
  exponent = Index(typename Index::Raw(exponent.v - shift.v * typename Types<V>::Real::I(p.n)));
  JAXINV_UNROLL
  for (int lane = 0; lane < V::W; ++lane) {
    const int64_t matrix = matrix_of(lane);
    if (matrix >= count) continue;
    for (int part = 0; part < V::kParts; ++part) {
      out[matrix * V::kParts + part] = values[part * V::W + lane];
    }
    p.exponent[index + matrix] = int32_t(exponent.v[lane]);
  }
  for (int lane = 0; lane < V::W; ++lane) {
    const int64_t matrix = matrix_of(lane);
    if (matrix >= count || info.v[lane] == 0) continue;
    R pivot[V::kParts * V::W];
    pivots[info.v[lane] - 1].store(pivot);
    const bool zero =
        pivot[lane] == 0 && (V::kParts == 1 || pivot[(V::kParts - 1) * V::W + lane] == 0);
    using S = std::conditional_t<V::kParts == 2, ComplexOf<R>, R>;
    const R special =
        failed_mantissa(reinterpret_cast<const S*>(a) + matrix * p.n * p.n, p.n, p.structure, zero);
    for (int part = 0; part < V::kParts; ++part) out[matrix * V::kParts + part] = special;
    p.exponent[index + matrix] = 0;
  }
}

// What stands beside the inverse of one matrix that was eliminated on its own: info, mantissa and exponent,
// where asked for. `pivots`: its n pivots; `shift`: the power of two it was multiplied by.
template <class S, class Problem>
void store_by_products(const Problem& p, int64_t index, int64_t info,
                       const typename Storage<S>::R* pivots, bool odd, int shift) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts, W = kVectorBytes / int(sizeof(R));
  using V = Value<R, W, P>;
  using Index = typename Types<V>::Index;
  using I = typename Types<V>::Real::I;
  if (p.info) p.info[index] = int32_t(info);
  if (!p.mantissa) return;
  R* out = static_cast<R*>(p.mantissa) + index * P;
  if (info) {
    bool zero = true;
    for (int part = 0; part < P; ++part) zero &= pivots[(info - 1) * P + part] == 0;
    const S* a = static_cast<const S*>(p.a) + index * p.n * p.n;
    R value = failed_mantissa<S>(a, p.n, p.structure, zero);
    for (int part = 0; part < P; ++part) out[part] = value;
    p.exponent[index] = 0;
    return;
  }
  V mantissa;
  Index exponent;
  auto pivot = [&](int64_t k) {
    if constexpr (P == 2) {
      return V(RVec<R, W>(pivots[k * P]), RVec<R, W>(pivots[k * P + 1]));
    } else {
      return V(pivots[k]);
    }
  };
  determinant<V>(p.n, pivot, Index(I(odd ? -1 : 0)), mantissa, exponent);
  if constexpr (P == 2) {
    out[0] = mantissa.re.v[0];
    out[1] = mantissa.im.v[0];
  } else {
    out[0] = mantissa.v[0];
  }
  p.exponent[index] = int32_t(exponent.v[0]) - int32_t(shift * p.n);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
