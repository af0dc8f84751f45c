// Algorithm: y = −op(l) op(g) op(r): t = op(g) op(r), then −op(l) t, each in register tiles of rows by vectors of sums:
// numbers of the left factor times rows of the right one.
// Lanes: neighbours in a row of one matrix. The last vector of a row ends with the row, and repeats some of what stands
// in the one before; where a row is shorter than a vector, numbers behind it go along.
// n: to kTripleProductRowsMax, but where triple_product_in_lanes. dtypes: all; half types are computed in float32.
// Memory: op(r) and t as rows of vectors; l, g and y where they stand, but for half types, and for the last matrix of a
// task where rows are shorter than a vector.
#pragma once

#include "cpu/ahead.h"
#include "cpu/lanes.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

template <class V>
JAXINV_INLINE int64_t row_vectors(int64_t n) {
  return (n + V::W - 1) / V::W;
}
// Where vector q of a row begins.
template <class V>
JAXINV_INLINE int64_t first_column(int64_t n, int64_t q) {
  const int64_t last = n > V::W ? n - V::W : 0;
  return q * V::W < last ? q * V::W : last;
}

// The rows of op(r).
template <class V>
JAXINV_INLINE void load_right(int64_t n, const typename V::R* r, bool transpose, V* right) {
  constexpr int W = V::W, P = V::kParts;
  const int64_t vectors = row_vectors<V>(n);
  if (!transpose) {
    for (int64_t k = 0; k < n; ++k) {
      for (int64_t q = 0; q < vectors; ++q) {
        right[k * vectors + q] = load_numbers<V>(r + (k * n + first_column<V>(n, q)) * P);
      }
    }
    return;
  }
  auto transpose_block = [&](int64_t q, int64_t column, auto&& exists) {
    const typename V::R* from = r + (first_column<V>(n, q) * n + column) * P;
    V x[W];
    JAXINV_UNROLL
    for (int d = 0; d < W; ++d) x[d] = load_numbers<V>(from + (exists(d) ? d : 0) * n * P);
    transpose_numbers(x);
    JAXINV_UNROLL
    for (int d = 0; d < W; ++d) {
      if (exists(d)) right[(column + d) * vectors + q] = x[d];
    }
  };
  if (n < W) return transpose_block(0, 0, [&](int d) { return d < n; });
  for (int64_t q = 0; q < vectors; ++q) {
    for (int64_t p = 0; p < vectors; ++p) {
      transpose_block(q, first_column<V>(n, p), [](int) { return true; });
    }
  }
}

// put(i, q, vector q of row i of ± op(left) right), for kRows rows from `row` on and kVectors vectors from q on.
template <int N, int kRows, int kVectors, bool kTranspose, bool kNegate, class V, class Put>
JAXINV_INLINE void product_rows_tile(int64_t n, const typename V::R* left, const V* right,
                                     int64_t row, int64_t q, const Put& put) {
  constexpr int P = V::kParts;
  V sum[kRows][kVectors];
  int64_t offset[kRows];
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    offset[r] = (kTranspose ? r : r * n) * P;
    // Else the compiler derives it from others in every step.
    if constexpr (!kTranspose && !N) asm("" : "+r"(offset[r]));
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) sum[r][c] = V(0).opaque();
  }
  left += (kTranspose ? row : row * n) * P;
  right += q;
  auto step = [&] {
    V own[kVectors];
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) own[c] = right[c];
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const V x = broadcast_entry<V>(left + offset[r]);
      JAXINV_UNROLL
      for (int c = 0; c < kVectors; ++c) {
        sum[r][c] = kNegate ? fnma(x, own[c], sum[r][c]) : fma(x, own[c], sum[r][c]);
      }
    }
    left += (kTranspose ? n : 1) * P;
    right += row_vectors<V>(n);
  };
  if constexpr (N > 0) {
    JAXINV_UNROLL
    for (int k = 0; k < N; ++k) step();
  } else {
#pragma GCC unroll 2
    for (int64_t k = 0; k < n; ++k) step();
  }
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) put(row + r, q + c, sum[r][c]);
  }
}

// The rows from `row` on, in tiles of kRows, then of half as many.
template <int N, int kRows, int kVectors, bool kTranspose, bool kNegate, class V, class Put>
JAXINV_INLINE void product_rows_from(int64_t row, int64_t n, const typename V::R* left,
                                     const V* right, int64_t q, const Put& put) {
  for (; n - row >= kRows; row += kRows) {
    product_rows_tile<N, kRows, kVectors, kTranspose, kNegate>(n, left, right, row, q, put);
  }
  if constexpr (kRows > 1) {
    product_rows_from<N, kRows / 2, kVectors, kTranspose, kNegate>(row, n, left, right, q, put);
  }
}

// put(i, q, vector q of row i of ± op(left) right), for all. Not inlined: the compiler would compute what calls for a
// matrix and for its transpose have in common before it knows which is wanted.
template <int N, bool kTranspose, bool kNegate, class V, class Put>
__attribute__((noinline)) void product_rows(int64_t size, const typename V::R* left, const V* right,
                                            Put put) {
  constexpr int P = V::kParts;
  const int64_t n = N ? N : size, vectors = row_vectors<V>(n);
  int64_t q = 0;
  if constexpr (P == 1) {
    for (; vectors - q >= 3 && vectors - q != 4; q += 3) {
      product_rows_from<N, 4, 3, kTranspose, kNegate>(0, n, left, right, q, put);
    }
  }
  for (; vectors - q >= 2; q += 2) {
    product_rows_from<N, 4 / P, 2, kTranspose, kNegate>(0, n, left, right, q, put);
  }
  if (q < vectors) {
    product_rows_from<N, 8 / P, 1, kTranspose, kNegate>(0, n, left, right, q, put);
  }
}
template <int N, bool kNegate, class V, class Put>
JAXINV_INLINE void product_rows(int64_t n, const typename V::R* left, bool transpose,
                                const V* right, Put put) {
  if (transpose) return product_rows<N, true, kNegate>(n, left, right, put);
  product_rows<N, false, kNegate>(n, left, right, put);
}

// Of one matrix; `scratch` holds two factors as rows of vectors. Where rows are shorter than a vector, what lies behind
// those of r is read, and what lies behind those of y is written.
template <int N, class V, class R = typename V::R>
JAXINV_INLINE void triple_product_by_rows(const TripleProductProblem& p, const R* l, const R* g,
                                          const R* r, R* y, V* scratch) {
  const int64_t n = N ? N : p.n, vectors = row_vectors<V>(n);
  V *right = scratch, *t = scratch + n * vectors;
  load_right(n, r, p.transpose_r, right);
  product_rows<N, false>(n, g, p.transpose_g, right,
                         [=](int64_t i, int64_t q, V x) { t[i * vectors + q] = x; });
  product_rows<N, true>(n, l, p.transpose_l, t, [=](int64_t i, int64_t q, V x) {
    store_numbers(x, y + (i * n + first_column<V>(n, q)) * V::kParts);
  });
}

// n = N at compile time, where it is not 0. A vector is half as wide where the rows fit that.
template <class S, int N>
struct TripleProductRows {
  using R = typename Storage<S>::R;
  static constexpr int kLanes = kVectorBytes / int(sizeof(R)), P = Storage<S>::kParts;
  using V = Value<R, (N && 2 * N <= kLanes ? kLanes / 2 : kLanes), P>;
  static constexpr int64_t kBehind = V::W * P;  // reals behind a matrix that rows may reach

  static size_t scratch(int64_t n) {
    const bool stages = kIsHalf<S> || n < V::W;
    return 2 * n * row_vectors<V>(n) * sizeof(V) +
           (stages ? 4 * (n * n * P + kBehind) * sizeof(R) : 0);
  }

  static void run(const TripleProductProblem& p, int64_t begin, int64_t end, void* scratch) {
    const int64_t n = N ? N : p.n, reals = n * n * P;
    V* rows = static_cast<V*>(scratch);
    R* staging = reinterpret_cast<R*>(rows + 2 * n * row_vectors<V>(n));
    // n = 5 … 11 gain nothing by it, and lose a tenth in the caches.
    const bool asks = n == 4 || n >= 12;
    for (int64_t index = begin; index < end; ++index) {
      if (asks) ask_ahead(p, index * n * n * sizeof(S), n * n * sizeof(S));
      // What lies behind the last matrix is not this task's.
      const bool staged = kIsHalf<S> || (n < V::W && index + 1 == end);
      auto operand = [&](const void* base, int place) -> const R* {
        const S* from = static_cast<const S*>(base) + index * n * n;
        R* copy = staging + place * (reals + kBehind);
        if constexpr (kIsHalf<S>) {
          for (int64_t i = 0; i < reals; ++i) copy[i] = to_float(from[i]);
        } else {
          if (!staged) return reinterpret_cast<const R*>(from);
          __builtin_memcpy(copy, from, sizeof(R) * reals);
        }
        return copy;
      };
      const R *l = operand(p.l, 0), *g = operand(p.g, 1), *r = p.r == p.l ? l : operand(p.r, 2);
      S* to = static_cast<S*>(p.y) + index * n * n;
      R* y = staged ? staging + 3 * (reals + kBehind) : reinterpret_cast<R*>(to);
      triple_product_by_rows<N>(p, l, g, r, y, rows);
      if constexpr (kIsHalf<S>) {
        for (int64_t i = 0; i < reals; ++i) from_float(y[i], to[i]);
      } else if (staged) {
        __builtin_memcpy(to, y, sizeof(R) * reals);
      }
    }
  }
};

// Calls f with the TripleProductRows of size n.
template <class S, class F>
auto with_triple_product_rows(int64_t n, F&& f) {
  if constexpr (Storage<S>::kParts == 1) {
    switch (n) {
      case 4:
        return f(TripleProductRows<S, sizeof(S) == 8 ? 4 : 0>{});  // the others: lanes
      case 5:
        return f(TripleProductRows<S, 5>{});
      case 6:
        return f(TripleProductRows<S, 6>{});
      case 7:
        return f(TripleProductRows<S, 7>{});
      case 8:
        return f(TripleProductRows<S, 8>{});
    }
  }
  return f(TripleProductRows<S, 0>{});
}

template <class S>
void triple_product_rows(const TripleProductProblem& p, int64_t begin, int64_t end, void* scratch) {
  with_triple_product_rows<S>(p.n, [&](auto rows) { rows.run(p, begin, end, scratch); });
}
template <class S>
size_t triple_product_rows_scratch(int64_t n) {
  return with_triple_product_rows<S>(n, [&](auto rows) { return rows.scratch(n); });
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
