// Algorithm: Gauss-Jordan with partial pivoting, one matrix at a time, in panels of up to kColumnPanel
// columns: single steps inside the panel, then all of them at once on every other column. Implicit pivoting:
// rows never move; rows and columns are put in order by the transposes at the load and the store.
// Lanes: consecutive rows of one column.
// n: above a quarter of the widest vector, to inverse_columns_max. dtypes: all; half types are computed in float32.
// Memory: a tile of n columns of whole vectors for each matrix of a group (4 KB at n = 32 in float32).
#pragma once

#include "cpu/columns.h"
#include "cpu/determinant.h"
#include "cpu/inverse_blocked.h"
#include "cpu/range.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// Matrices whose pivot searches take turns: each is one chain of dependent instructions.
constexpr int kColumnGroup = 2;

// The lowest row with the largest entry of a column, among those not taken.
template <int kVectors, class V>
JAXINV_INLINE int64_t find_pivot_row(const ColumnElimination<V>& e, const typename V::R* column) {
  using Index = typename Types<V>::Index;
  using I = typename Types<V>::Real::I;
  constexpr int kReals = V::W * V::kParts;
  // As integers: NaN above all numbers, taken rows below them.
  Index best = pivot_key_bits(V::load(column)) | e.taken[0];
  const int64_t vectors = kVectors ? kVectors : e.vectors;
  Index here = lane_numbers<Index>(), row = here;
  JAXINV_UNROLL
  for (int64_t v = 1; v < vectors; ++v) {
    Index key = pivot_key_bits(V::load(column + v * kReals)) | e.taken[v];
    here = here + Index(I(V::W));
    Index larger = key > best;
    best = select(larger, key, best);
    row = select(larger, here, row);
  }
  return lowest_where_largest(best, row);
}

// The other lanes. Opaque: compilers that know this for a comparison turn an AND with memory into a move and a
// blend.
template <class Index>
JAXINV_INLINE Index others_than(Index lane) {
  return opaque((lane ^ Index(-1)).v);
}

// Step c of the panel of kWidth columns from column k; of all columns where kWidth is 0.
template <int kVectors, int kWidth, class V>
JAXINV_INLINE void eliminate_column(ColumnElimination<V>& state, int64_t k, int64_t c) {
  using R = typename V::R;
  using Index = typename Types<V>::Index;
  using I = typename Types<V>::Real::I;
  constexpr int kReals = V::W * V::kParts;
  const ColumnElimination<V> e = state;  // its pointers in registers: stores could alias them
  const int64_t vectors = kVectors ? kVectors : e.vectors, stride = vectors * kReals;
  R* __restrict panel = e.tile + k * stride;
  R* __restrict column = panel + c * stride;
  const int64_t row = find_pivot_row<kVectors>(e, column), at = e.at(row);
  const V pivot = broadcast_lane<V>(column + at), inverse = usual_reciprocal(pivot);
  e.row[k + c] = row;
  e.step[row] = k + c;
  for (int part = 0; part < V::kParts; ++part) {
    e.pivots[(k + c) * V::kParts + part] = column[at + part * V::W];
  }
  if (__builtin_expect(!is_usual(inverse), 0) && !e.info && !e.awkward) {
    if (bad_pivot(pivot).v[0]) {
      state.info = k + c + 1;
    } else {
      state.awkward = true;
    }
  }
  auto factor_of = [&](int64_t v, Index pivot_lane) {
    return select(pivot_lane, -inverse, V::load(column + v * kReals) * inverse);
  };
  const Index first = lane_numbers<Index>(), lane{I(row)};
  Index largest = *e.largest;
  if constexpr (kWidth == 0) {
    Index pivot_lane[kVectors], others[kVectors];
    V factor[kVectors];
    JAXINV_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      pivot_lane[v] = first + Index(I(v * V::W)) == lane;
      others[v] = others_than(pivot_lane[v]);
      factor[v] = factor_of(v, pivot_lane[v]);
      largest = larger_magnitude(largest, factor[v]);
      e.taken[v] = e.taken[v] | pivot_lane[v];
    }
    R* x = e.tile;
#pragma GCC unroll 4
    for (int64_t d = e.n; d > 0; --d, x += kVectors * kReals) {
      const V multiple = broadcast_lane<V>(x + at);
      JAXINV_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        fnma(factor[v], multiple, keep(others[v], V::load(x + v * kReals))).store(x + v * kReals);
      }
    }
    JAXINV_UNROLL
    for (int v = 0; v < kVectors; ++v) (-factor[v]).store(column + v * kReals);
  } else {
    V multiple[kWidth];
    JAXINV_UNROLL
    for (int d = 0; d < kWidth; ++d) multiple[d] = broadcast_lane<V>(panel + d * stride + at);
    R* factors = e.factors + c * stride;
    Index here = first;
    JAXINV_UNROLL
    for (int64_t v = 0; v < vectors; ++v, here = here + Index(I(V::W))) {
      const Index pivot_lane = here == lane, others = others_than(pivot_lane);
      const V factor = factor_of(v, pivot_lane);
      largest = larger_magnitude(largest, factor);
      e.taken[v] = e.taken[v] | pivot_lane;
      JAXINV_UNROLL
      for (int d = 0; d < kWidth; ++d) {
        R* x = panel + d * stride + v * kReals;
        fnma(factor, multiple[d], keep(others, V::load(x))).store(x);
      }
      factor.store(factors + v * kReals);
      (-factor).store(column + v * kReals);
    }
  }
  *e.largest = largest;
}

// All steps of a panel, whose pivot rows start at `at`, on kColumns columns: the entries of the pivot rows as
// each step finds them, then one pass.
template <int kVectors, int kWidth, int kColumns, class V>
JAXINV_INLINE void update_columns(const ColumnElimination<V>& e, const int64_t (&at)[kWidth],
                                  const V (&lower)[kWidth][kWidth], typename V::R* __restrict x) {
  using R = typename V::R;
  constexpr int kReals = V::W * V::kParts;
  const int64_t vectors = kVectors ? kVectors : e.vectors, stride = vectors * kReals;
  const R* __restrict factors = e.factors;
  const auto* __restrict others = e.others;
  V multiple[kColumns][kWidth];
  JAXINV_UNROLL
  for (int j = 0; j < kColumns; ++j) {
    JAXINV_UNROLL
    for (int c = 0; c < kWidth; ++c) {
      multiple[j][c] = broadcast_lane<V>(x + j * stride + at[c]);
      JAXINV_UNROLL
      for (int d = 0; d < c; ++d) {
        multiple[j][c] = fnma(lower[c][d], multiple[j][d], multiple[j][c]);
      }
    }
  }
  JAXINV_UNROLL
  for (int64_t v = 0; v < vectors; ++v) {
    V sum[kColumns];
    JAXINV_UNROLL
    for (int j = 0; j < kColumns; ++j) {
      sum[j] = keep(others[v], V::load(x + j * stride + v * kReals));
    }
    JAXINV_UNROLL
    for (int c = 0; c < kWidth; ++c) {
      const V factor = V::load(factors + c * stride + v * kReals);
      JAXINV_UNROLL
      for (int j = 0; j < kColumns; ++j) sum[j] = fnma(factor, multiple[j][c], sum[j]);
    }
    JAXINV_UNROLL
    for (int j = 0; j < kColumns; ++j) sum[j].store(x + j * stride + v * kReals);
  }
}

template <int kVectors, int kWidth, class V>
void eliminate_columns(ColumnElimination<V>* group, int count, int64_t k) {
  using R = typename V::R;
  using Index = typename Types<V>::Index;
  using I = typename Types<V>::Real::I;
  for (int64_t c = 0; c < kWidth; ++c) {
    for (int g = 0; g < count; ++g) eliminate_column<kVectors, kWidth>(group[g], k, c);
  }
  for (int g = 0; g < count; ++g) {
    const ColumnElimination<V> e = group[g];
    const int64_t vectors = kVectors ? kVectors : e.vectors, stride = vectors * V::W * V::kParts;
    const int64_t* row = e.row + k;
    // What earlier steps subtract in a pivot row goes to `lower`; the pass itself has nothing to add to it.
    V lower[kWidth][kWidth];
    JAXINV_UNROLL
    for (int c = 1; c < kWidth; ++c) {
      JAXINV_UNROLL
      for (int d = 0; d < c; ++d) {
        lower[c][d] = broadcast_lane<V>(e.factors + d * stride + e.at(row[c]));
      }
    }
    Index here = lane_numbers<Index>();
    JAXINV_UNROLL
    for (int64_t v = 0; v < vectors; ++v, here = here + Index(I(V::W))) {
      Index others(I(-1));  // than the rows of later steps
      JAXINV_UNROLL
      for (int c = kWidth - 1; c >= 0; --c) {
        R* factor = e.factors + c * stride + v * V::W * V::kParts;
        if (c + 1 < kWidth) keep(others, V::load(factor)).store(factor);
        others = others ^ (here == Index(I(row[c])));
      }
      e.others[v] = others;
    }
    int64_t at[kWidth];
    for (int c = 0; c < kWidth; ++c) at[c] = e.at(row[c]);
    constexpr int kColumns = V::kParts == 2 ? 1 : 2;
    auto update = [&](int64_t j, int64_t end) {
      for (; j + kColumns <= end; j += kColumns) {
        update_columns<kVectors, kWidth, kColumns>(e, at, lower, e.tile + j * stride);
      }
      if (j < end) update_columns<kVectors, kWidth, 1>(e, at, lower, e.tile + j * stride);
    };
    update(0, k);
    update(k + kWidth, e.n);
  }
}

template <int kVectors, class V>
void eliminate(ColumnElimination<V>* group, int count) {
  const int64_t n = group[0].n;
  if constexpr (kVectors == 1 || kVectors == 2) {
    // The pivot rows of a panel would cost more than the loads and stores it saves.
    for (int64_t c = 0; c < n; ++c) {
      for (int g = 0; g < count; ++g) eliminate_column<kVectors, 0>(group[g], 0, c);
    }
  } else {
    int64_t k = 0;
    for (; k + 4 <= n; k += 4) eliminate_columns<kVectors, 4>(group, count, k);
    if (n - k == 3) eliminate_columns<kVectors, 3>(group, count, k);
    if (n - k == 2) eliminate_columns<kVectors, 2>(group, count, k);
    if (n - k == 1) eliminate_columns<kVectors, 1>(group, count, k);
  }
}

template <class S, int W, int kVectors>
void inverse_columns_sized(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts;
  using V = Value<R, W, P>;
  using E = ColumnElimination<V>;
  using Index = typename E::Index;
  using Real = typename Types<V>::Real;
  using I = typename Real::I;
  const int64_t n = p.n;
  const size_t bytes = (E::bytes(n) + 63) / 64 * 64;
  char* memory = static_cast<char*>(scratch);
  E group[kColumnGroup] = {E(n, memory), E(n, memory + bytes)};
  R* staging = reinterpret_cast<R*>(memory + kColumnGroup * bytes);
  int shift[kColumnGroup];
  for (int64_t index = begin; index < end; index += kColumnGroup) {
    const int count = end - index < kColumnGroup ? int(end - index) : kColumnGroup;
    for (int g = 0; g < count; ++g) {
      E& e = group[g];
      const R* a = group_in<S, 1>(p.a, index + g, index + g + 1, n * n * P, staging);
      const I bits = load_columns(e, a);
      R size;
      memcpy(&size, &bits, sizeof size);
      shift[g] = Range<R>::shift(size);
      if (shift[g]) scale_columns(e, Range<R>::power(shift[g]));
      Index rows = lane_numbers<Index>();
      for (int64_t v = 0; v < e.vectors; ++v, rows = rows + Index(I(W))) {
        e.taken[v] = rows > Index(I(n - 1));
      }
      *e.largest = Index(I(0));
      e.info = 0;
      e.awkward = false;
    }
    eliminate<kVectors>(group, count);
    for (int g = 0; g < count; ++g) {
      E& e = group[g];
      S* dst = static_cast<S*>(p.x) + (index + g) * n * n;
      // An infinite factor (of a row that had its step) made NaN of the zeros it multiplied.
      const I infinite = Real(R(__builtin_inf())).bits().v[0];
      e.awkward |= !e.info && largest_lane(*e.largest).v[0] >= infinite;
      if (e.awkward) continue;
      if (e.info) {
        fill_nan(dst, n * n);
      } else {
        if (shift[g]) scale_columns(e, Range<R>::power(shift[g]));
        R* x = group_out<S, 1>(p.x, index + g, index + g + 1, n * n * P, staging);
        store_columns(e, x);
        group_done<S, 1>(p.x, index + g, index + g + 1, n * n * P, x);
      }
      store_by_products<S>(p, index + g, e.info, e.pivots,
                           p.mantissa && !e.info && odd_permutation(n, e.row, e.step), shift[g]);
    }
    for (int g = 0; g < count; ++g) {
      // Last: it takes all of the scratch memory.
      if (group[g].awkward) inverse_blocked<S>(p, index + g, scratch, nullptr);
    }
  }
}

// Vectors of half the width where a column would leave half of one empty.
template <class S, int W>
void inverse_columns_wide(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  if constexpr (W > 4) {
    if (2 * p.n <= W) return inverse_columns_wide<S, W / 2>(p, begin, end, scratch);
  }
  switch ((p.n + W - 1) / W) {
    case 1:
      return inverse_columns_sized<S, W, 1>(p, begin, end, scratch);
    case 2:
      return inverse_columns_sized<S, W, 2>(p, begin, end, scratch);
    default:
      return inverse_columns_sized<S, W, 0>(p, begin, end, scratch);
  }
}

template <class S>
void inverse_columns(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  inverse_columns_wide<S, kVectorBytes / int(sizeof(typename Storage<S>::R))>(p, begin, end,
                                                                              scratch);
}

// Bytes of scratch for one worker.
template <class S>
size_t inverse_columns_scratch(int64_t n) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts;
  using V = Value<R, kVectorBytes / int(sizeof(R)), P>;
  size_t own = kColumnGroup * ((ColumnElimination<V>::bytes(n) + 63) / 64 * 64) + sizeof(R) * n * n;
  size_t blocked = inverse_blocked_scratch<S>(n);
  return own > blocked ? own : blocked;
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
