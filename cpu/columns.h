// What eliminations by columns share: the pivot search, and the ways between a tile of columns and memory, which
// transpose and put rows and columns in order. Place p of a column holds row n − 1 − p.
//
// Such an elimination E has n(), vectors() of a column, stride() between columns, and the arrays tile(); pivots(), the
// pivot of each step, laid out as a column; place(), the place of each row, or kTaken once it was a pivot; at(), the
// place of the pivot of each step; step(), the step of each place.
#pragma once

#include "cpu/determinant.h"
#include "cpu/lanes.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// Pivots above it, and below its reciprocal, need no care: their reciprocals, and what those multiply, stay in the
// range.
template <class R>
constexpr R kLeastPivot = sizeof(R) == 4 ? R(0x1p-100) : R(0x1p-900);

// Types and constants of an elimination by columns of vectors V.
template <class V_>
struct ColumnTypes {
  using V = V_;
  using R = typename V::R;
  using Real = typename Types<V>::Real;
  using Index = typename Types<V>::Index;
  using I = typename Real::I;
  static constexpr int W = V::W, P = V::kParts, kReals = W * P;
  static constexpr I kTaken = I(I(1) << (8 * sizeof(I) - 1));
  // Where number i of a column starts (its real part; the imaginary part W further).
  static constexpr int64_t offset(int64_t i) { return P == 1 ? i : i / W * W * P + i % W; }
};

// What a step multiplies its column by, and what it puts in the pivot's own row. The pivot row is divided by the pivot but
// for its power of two, which the store makes good: that factor lies in (1/2, 1], and multiplying by it is adding a
// multiple of the row, as it is for the other rows.
template <class V>
struct PivotFactors {
  V negative, excess;
  typename Types<V>::Real power;

  JAXINV_INLINE explicit PivotFactors(V pivot) : power(power_part(pivot)) {
    const V inverse = usual_reciprocal(pivot);
    negative = -inverse;
    excess = product_less_one(inverse, power);
  }
};

template <class V>
JAXINV_INLINE V broadcast_lane(const typename V::R* p) {
  using Real = typename Types<V>::Real;
  if constexpr (V::kParts == 2) {
    return {Real(p[0]), Real(p[V::W])};
  } else {
    return V(p[0]);
  }
}

// What the pivot search compares: the magnitude, its low bits replaced by the place; negative for rows that had
// their step. One search finds both, and takes the lowest row where entries are nearly the same. Half the exponent,
// since infinity and NaN are to compare as the large numbers they look like.
template <class E>
JAXINV_INLINE typename E::Real place_key(typename E::V x, typename E::Index place) {
  using Index = typename E::Index;
  const Index bits = pivot_key_bits(x) & Index(typename E::I(~(2 * E::kPlaces + 1)));
  return E::Real::from_bits(Index(typename Index::Raw(bits.v >> 1)) | place);
}

// Reads the matrix into columns, before the first step.
template <class E>
void load_columns(E& e, const typename E::R* a) {
  using V = typename E::V;
  using Index = typename E::Index;
  using I = typename E::I;
  constexpr int W = E::W, P = E::P;
  const int64_t n = e.n(), vectors = e.vectors(), stride = e.stride();
  for (int64_t v = 0; v < vectors; ++v) {
    const Index here = lane_numbers<Index>() + Index(I(v * W));
    e.place()[v] = select(here > Index(I(n - 1)), Index(E::kTaken), here);
    const int64_t last = n - 1 - v * W;  // the row of lane 0
    for (int64_t block = 0; block < n; block += W) {
      // Of the last columns again those left.
      const int64_t j = block && block + W > n ? n - W : block;
      const typename V::R* from = a + (last * n + j) * P;
      V x[W];
      JAXINV_UNROLL
      for (int l = 0; l < W; ++l) {
        x[l] = l > last ? V(0) : load_numbers<V>(from - l * n * P);
      }
      transpose_numbers(x);
      typename V::R* to = e.tile() + j * stride + v * E::kReals;
      JAXINV_UNROLL
      for (int l = 0; l < W; ++l) {
        x[l].store(to + l * stride);
      }
    }
  }
}

// Writes the inverse: entry (k, c) stands in the place of step k, in the
// column of the step of row c. False where an entry is not finite.
template <class E>
bool store_columns(E& e, typename E::R* dst) {
  using V = typename E::V;
  using R = typename V::R;
  using Real = typename E::Real;
  constexpr int W = E::W, P = E::P;
  const int64_t n = e.n(), vectors = e.vectors(), stride = e.stride();
  Real finite(R(0));  // zeros times the entries
  for (int64_t v = 0; v < vectors; ++v) {
    const int64_t* steps = e.step() + v * W;
    const Real unpower = power_reciprocal(e.power()[v]);
    for (int64_t block = 0; block < n; block += W) {
      const int64_t j = block && block + W > n ? n - W : block;
      V x[W];
      JAXINV_UNROLL
      for (int l = 0; l < W; ++l) {
        x[l] = V::load(e.tile() + e.step()[n - 1 - j - l] * stride + v * E::kReals) * unpower;
        finite = add_zeros(x[l], finite);
      }
      transpose_numbers(x);
      JAXINV_UNROLL
      for (int l = 0; l < W; ++l) {
        if (v * W + l < n) store_numbers(x[l], dst + (steps[l] * n + j) * P);
      }
    }
  }
  return all_set(finite == Real(R(0)));
}

// Whether the permutation that took row[k] at step k is odd: by its cycles. `step`, its inverse, is used up.
inline bool odd_permutation(int64_t n, const int64_t* row, int64_t* step) {
  bool odd = false;
  for (int64_t k = 0; k < n; ++k) {
    for (int64_t i = k; step[i] >= 0;) {
      step[i] = -1;
      i = row[i];
      odd ^= i != k;
    }
  }
  return odd;
}

// False where a pivot needs care.
template <class E>
JAXINV_INLINE bool usual_pivots(E& e) {
  using Real = typename E::Real;
  const int64_t vectors = e.vectors();
  typename E::Index usual(-1);
  for (int64_t v = 0; v < vectors; ++v) {
    const Real size = magnitude(E::V::load(e.pivots() + v * E::kReals)),
               least(kLeastPivot<typename E::R>);
    usual = usual & (size > least) & (reciprocal(least) > size);
  }
  return all_set(usual);
}

// Determinant and info, where asked for, of a matrix whose pivots were usual.
template <class S, class E>
void store_by_products(const InverseProblem& p, int64_t index, E& e) {
  if (p.info) p.info[index] = 0;
  if (!p.mantissa) return;
  const int64_t n = e.n();
  typename E::R* pivots = e.tile();  // done with
  for (int64_t k = 0; k < n; ++k) {
    for (int part = 0; part < E::P; ++part) {
      pivots[k * E::P + part] = e.pivots()[E::offset(k) + part * E::W];
    }
    e.at()[k] = n - 1 - e.at()[k];  // rows in place of places
  }
  for (int64_t k = 0; k < n; ++k) e.step()[e.at()[k]] = k;
  store_by_products<S>(p, index, 0, pivots, odd_permutation(n, e.at(), e.step()), 0);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
