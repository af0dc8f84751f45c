// Algorithm: y = −op(l) op(g) op(r), fused: t = op(g) op(r) and −op(l) t are formed in kRows × kColumns
// register tiles; a transpose is an exchange of strides.
// Lanes: one matrix each.
// n: where triple_product_in_lanes. dtypes: all; half types are computed in float32.
// Memory: four tiles of n² vectors (l, g or the result, r, t) and one group for staging.
#pragma once

#include "cpu/ahead.h"
#include "cpu/lanes.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// A matrix in lane order, with the strides of its rows and columns.
template <class V>
struct LaneMatrix {
  const V* at;
  int row, column;
};
template <class V>
JAXINV_INLINE LaneMatrix<V> lane_matrix(const V* at, int n, bool transpose) {
  return transpose ? LaneMatrix<V>{at, 1, n} : LaneMatrix<V>{at, n, 1};
}

template <int kRows, int kColumns, bool negate, class V>
JAXINV_INLINE void product_tile(int n, int i, int j, LaneMatrix<V> x, LaneMatrix<V> y, V* out) {
  V sum[kRows][kColumns];
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    JAXINV_UNROLL
    for (int c = 0; c < kColumns; ++c) sum[r][c] = V(0);
  }
  const V* xk = x.at + i * x.row;
  const V* yk = y.at + j * y.column;
  for (int k = 0; k < n; ++k, xk += x.column, yk += y.row) {
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) {
      V left = xk[r * x.row];
      JAXINV_UNROLL
      for (int c = 0; c < kColumns; ++c) {
        V right = yk[c * y.column];
        sum[r][c] = negate ? fnma(left, right, sum[r][c]) : fma(left, right, sum[r][c]);
      }
    }
  }
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    JAXINV_UNROLL
    for (int c = 0; c < kColumns; ++c) out[(i + r) * n + j + c] = sum[r][c];
  }
}

template <bool negate, class V>
void lane_product(int n, LaneMatrix<V> x, LaneMatrix<V> y, V* out) {
  constexpr int kRows = V::kParts == 2 ? 2 : 3;
  constexpr int kColumns = V::kParts == 2 ? 1 : 3;
  const int rows = n - n % kRows, columns = n - n % kColumns;
  for (int i = 0; i < rows; i += kRows) {
    for (int j = 0; j < columns; j += kColumns) {
      product_tile<kRows, kColumns, negate>(n, i, j, x, y, out);
    }
    for (int j = columns; j < n; ++j) product_tile<kRows, 1, negate>(n, i, j, x, y, out);
  }
  for (int i = rows; i < n; ++i) {
    for (int j = 0; j < n; ++j) product_tile<1, 1, negate>(n, i, j, x, y, out);
  }
}

// n = N at compile time for the smallest, 0 otherwise.
template <class S, int N>
void triple_product_sized(const TripleProductProblem& p, int64_t begin, int64_t end,
                          void* scratch) {
  using R = typename Storage<S>::R;
  constexpr int kParts = Storage<S>::kParts;
  // From n = 4 on half of a vector of 64 bytes is faster: at n = 9 tiles of wide ones fill the nearest cache
  // (decision 31).
  constexpr int kWide = lanes_for<R>(N ? N * N * kParts : 64),
                kNarrow = kNarrowBytes / int(sizeof(R));
  constexpr int W = (N == 0 || N >= 4) && kWide > kNarrow ? kNarrow : kWide;
  using V = Value<R, W, kParts>;
  const int n = N ? N : int(p.n);
  const auto reals = [&] {
    if constexpr (N > 0) {
      return reals_of<kParts>(Known<N>());
    } else {
      return reals_of<kParts>(p.n);
    }
  }();
  V* l = static_cast<V*>(scratch);
  V* g = l + n * n;
  V* r = g + n * n;
  V* t = r + n * n;
  R* staging = reinterpret_cast<R*>(t + n * n);
  for (int64_t index = begin; index < end; index += W) {
    auto load = [&](const void* base, V* tile) {
      const R* src = group_in<S, W>(base, index, end, reals, staging);
      load_lanes<R, W>(src, reals, reinterpret_cast<R*>(tile));
    };
    if (n > 2) ask_ahead(p, index * n * n * sizeof(S), W * n * n * sizeof(S));
    load(p.l, l);
    load(p.g, g);
    if (p.r != p.l) load(p.r, r);
    const V* right = p.r == p.l ? l : r;
    lane_product<false>(n, lane_matrix(g, n, p.transpose_g), lane_matrix(right, n, p.transpose_r),
                        t);
    V* out = g;
    lane_product<true>(n, lane_matrix(l, n, p.transpose_l), lane_matrix<V>(t, n, false), out);
    R* y = group_out<S, W>(p.y, index, end, reals, staging);
    store_lanes<R, W>(reinterpret_cast<const R*>(out), reals, y);
    group_done<S, W>(p.y, index, end, reals, y);
  }
}

template <class S>
size_t triple_product_lanes_scratch(int64_t n) {
  using R = typename Storage<S>::R;
  constexpr int W = kVectorBytes / int(sizeof(R));
  return 5 * n * n * sizeof(R) * W * Storage<S>::kParts;
}

template <class S, int N>
void triple_product_up_to(const TripleProductProblem& p, int64_t begin, int64_t end,
                          void* scratch) {
  if (N == 0 || p.n == N) return triple_product_sized<S, N>(p, begin, end, scratch);
  if constexpr (N > 0) return triple_product_up_to<S, N - 1>(p, begin, end, scratch);
}

template <class S>
void triple_product_lanes(const TripleProductProblem& p, int64_t begin, int64_t end,
                          void* scratch) {
  triple_product_up_to<S, 4>(p, begin, end, scratch);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
