// What eliminations by columns share: the pivot search, and the ways between a tile of columns and memory, which
// transpose and put rows and columns in order. Place p of a column holds row n − 1 − p.
//
// Such an elimination E has n(), vectors() of a column, stride() between columns, and the arrays tile(); pivots(), the
// pivot of each step, laid out as a column; place(), the place of each row, or kTaken once it was a pivot; at(), the
// place of the pivot of each step; step(), the step of each place; from(), room for n addresses.
#pragma once

#include "cpu/ahead.h"
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

// Calls block(j) for whole vectors of columns from j on; of the last columns once more those left. n is W at least.
template <int W, class Block>
JAXINV_INLINE void for_column_blocks(int64_t n, Block&& block) {
#pragma GCC unroll 1
  for (int64_t j = 0; j < n - W; j += W) block(j);
  block(n - W);
}

// Calls body(v) for the vectors of a column, unrolled where their number is known when compiling.
template <class Body>
JAXINV_INLINE void for_vectors(int64_t vectors, Body&& body) {
#pragma GCC unroll 1
  for (int64_t v = 0; v < vectors; ++v) body(v);
}
template <int64_t kVectors, class Body>
JAXINV_INLINE void for_vectors(Known<kVectors>, Body&& body) {
  JAXINV_UNROLL
  for (int v = 0; v < int(kVectors); ++v) body(v);
}

// To the kWidth columns of a panel what came after them. lower[c][q]: what step q added to the pivot row of step c, which
// stands at offset[c] of a column.
template <int kWidth, class Count, class V, int kSteps>
JAXINV_INLINE void finish_columns(Count vectors, int64_t stride, const V (&lower)[kSteps][kSteps],
                                  const int64_t* offset, typename V::R* __restrict panel) {
  constexpr int kReals = V::W * V::kParts;
  V multiple[kWidth][kWidth];
  JAXINV_UNROLL
  for (int q = 0; q < kWidth; ++q) {
    JAXINV_UNROLL
    for (int c = q + 1; c < kWidth; ++c) {
      multiple[q][c] = lower[c][q];
      JAXINV_UNROLL
      for (int d = q + 1; d < c; ++d) {
        multiple[q][c] = fma(lower[c][d], multiple[q][d], multiple[q][c]);
      }
    }
  }
  if constexpr (kWidth > 1) {
    for_vectors(vectors, [&](int64_t v) {
      V sum[kWidth];
      JAXINV_UNROLL
      for (int c = 0; c < kWidth; ++c) {
        sum[c] = V::load(panel + c * stride + v * kReals);
        JAXINV_UNROLL
        for (int q = 0; q < c; ++q) sum[q] = fma(sum[c], multiple[q][c], sum[q]);
      }
      JAXINV_UNROLL
      for (int q = 0; q < kWidth - 1; ++q) sum[q].store(panel + q * stride + v * kReals);
    });
  }
  // The pivot rows got one less than their share.
  JAXINV_UNROLL
  for (int c = 0; c < kWidth; ++c) panel[c * stride + offset[c]] += typename V::R(1);
}

// Reads the matrix into columns, before the first step. Places after the last hold its first row again.
template <class E>
void load_columns(E& e, const typename E::R* a) {
  using V = typename E::V;
  using Index = typename E::Index;
  using I = typename E::I;
  constexpr int W = E::W, P = E::P;
  const int64_t n = e.n(), stride = e.stride();
  for_vectors(e.vectors(), [&](int64_t v) {
    const Index here = lane_numbers<Index>() + Index(I(v * W));
    e.place()[v] = select(here > Index(I(n - 1)), Index(E::kTaken), here);
    const int64_t last = n - 1 - v * W;  // the row of lane 0
    const typename V::R* row[W];
    JAXINV_UNROLL
    for (int l = 0; l < W; ++l) row[l] = a + (l > last ? 0 : last - l) * n * P;
    typename V::R* to = e.tile() + v * E::kReals;
    for_column_blocks<W>(n, [&](int64_t j) {
      V x[W];
      JAXINV_UNROLL
      for (int l = 0; l < W; ++l) x[l] = load_numbers<V>(row[l] + j * P);
      transpose_numbers(x);
      JAXINV_UNROLL
      for (int l = 0; l < W; ++l) x[l].store(to + (j + l) * stride);
    });
  });
}

// Writes the inverse: entry (k, c) stands in the place of step k, in the
// column of the step of row c. False where an entry is not finite, or the sum of several is not.
template <class E>
bool store_columns(E& e, typename E::R* dst) {
  using V = typename E::V;
  using R = typename V::R;
  using Real = typename E::Real;
  constexpr int W = E::W, P = E::P;
  const int64_t n = e.n(), stride = e.stride();
  const R** const from = e.from();
  for (int64_t j = 0; j < n; ++j) from[j] = e.tile() + e.step()[n - 1 - j] * stride;
  Real finite(R(0));  // zeros times sums of entries
  for_vectors(e.vectors(), [&](int64_t v) {
    const int64_t* steps = e.step() + v * W;
    const int64_t last = n - 1 - v * W;
    R* row[W];
    JAXINV_UNROLL
    for (int l = 0; l < W; ++l) row[l] = dst + steps[l > last ? 0 : l] * n * P;
    const Real unpower = power_reciprocal(e.power()[v]);
    for_column_blocks<W>(n, [&](int64_t j) {
      V x[W];
      Real sum;
      JAXINV_UNROLL
      for (int l = 0; l < W; ++l) {
        x[l] = V::load(from[j + l] + v * E::kReals) * unpower;
        sum = l ? sum + sum_of_parts(x[l]) : sum_of_parts(x[0]);
      }
      // Added up first: products with zero, one onto the other, would wait for each other from block to block.
      finite = add_zeros(sum, finite);
      transpose_numbers(x);
      // Lane 0 last: over what stands in places after the last.
      JAXINV_UNROLL
      for (int l = W - 1; l >= 0; --l) store_numbers(x[l], row[l] + j * P);
    });
  });
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
