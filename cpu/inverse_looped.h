// Algorithm: Gauss-Jordan column by column, as core/small_inverse.h, with the columns in a loop and the steps unrolled: a
// column stays in registers while it gets all steps before its own, and again while it gets those behind it. What is
// eliminated is the transpose, so that pivots are chosen among columns, and it is rows of the inverse that come out
// of order: each goes to its own place as a whole. Matrices that may be singular, or whose results are not finite, are
// done again by inverse_panels, with pivots among rows.
// Lanes: one matrix each.
// n: a template parameter, above the unrolled sizes. dtypes: all; half types are computed in float32.
// Memory: input and factors, n × n vectors each, for each group of lanes (4 KB at n = 8 with AVX2).
#pragma once

#include "cpu/columns.h"
#include "cpu/inverse_panels.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

template <class V, int N>
struct LoopedElimination {
  using R = typename V::R;
  using Real = typename Types<V>::Real;
  using Index = typename Types<V>::Index;
  using I = typename Real::I;
  static constexpr int W = V::W, P = V::kParts, kReals = N * N * P;
  // Of the inverse of the matrix whose rows are divided by their norms: the square of its own. Above, the matrix may be
  // singular but for rounding: whether it is, and from which step on, pivots among rows decide.
  static constexpr R kUsualNorm = sizeof(R) == 4 ? R(0x1p36) : R(0x1p94);
  // A group so small is over before what it asks for has come: each asks for what a later one reads, then for what
  // that writes. A larger one asks for what it writes itself first.
  static constexpr bool kSoonOver = sizeof(R) * kReals * W <= 10 << 10;

  V matrix[N][N];   // rows, which are the transpose's columns
  V factors[N][N];  // of each step; −1 in the pivot's place
  V inverse[N];     // 1 / pivot
  V pivots[N];
  Real squares[N];  // of a row, their sum
  Index swaps[N];   // what was exchanged with place k at step k
  R staging[2 * kReals * W];

  template <int k, class T>
  JAXINV_INLINE void exchange(T (&x)[N]) const {
    const Index swap = swaps[k];
    const T own = x[k];
    T top = own;
    JAXINV_UNROLL
    for (int i = k + 1; i < N; ++i) {
      const Index here = swap == Index(I(i));
      const T other = x[i];
      top = select(here, other, top);
      x[i] = select(here, own, other);
    }
    x[k] = top;
  }
  // Step k on another column.
  template <int k>
  JAXINV_INLINE void apply(V (&x)[N]) const {
    exchange<k>(x);
    const V top = x[k] * inverse[k];
    x[k] = top;
    JAXINV_UNROLL
    for (int i = 0; i < N; ++i) {
      if (i != k) x[i] = fnma(factors[k][i], top, x[i]);
    }
  }
  // Step k on its own.
  template <int k>
  JAXINV_INLINE void find(V (&x)[N]) {
    Real best = magnitude(x[k]);
    Index swap = Index(I(k));
    JAXINV_UNROLL
    for (int i = k + 1; i < N; ++i) {
      const Real key = magnitude(x[i]);
      const Index larger = key > best;
      best = select(larger, key, best);
      swap = select(larger, Index(I(i)), swap);
    }
    swaps[k] = swap;
    exchange<k>(x);
    pivots[k] = x[k];
    inverse[k] = usual_reciprocal(x[k]);
    x[k] = V(R(-1));
    JAXINV_UNROLL
    for (int i = 0; i < N; ++i) factors[k][i] = x[i];
  }
  // Column j up to its own step.
  template <int k = 0>
  JAXINV_INLINE void begin(V (&x)[N], int j) {
    if (j == k) return find<k>(x);
    if constexpr (k + 1 < N) {
      apply<k>(x);
      begin<k + 1>(x, j);
    }
  }
  // And from there on.
  template <int k = 1>
  JAXINV_INLINE void end(V (&x)[N], int j) const {
    if constexpr (k < N) {
      if (k > j) apply<k>(x);
      end<k + 1>(x, j);
    }
  }
  template <int k = 0>
  JAXINV_INLINE void exchange_all(Index (&x)[N]) const {
    if constexpr (k + 1 < N) {
      exchange<k>(x);
      exchange_all<k + 1>(x);
    }
  }
  // Reals of a row, from kFirst on, to each lane's `to`.
  template <int kFirst>
  static JAXINV_INLINE void store_part(const V (&x)[N], R* const (&to)[W]) {
    constexpr int kCount = N * P < W ? N * P : W;
    typename Real::Raw v[W] = {};
    JAXINV_UNROLL
    for (int r = 0; r < kCount; ++r) {
      if constexpr (P == 2) {
        const V& number = x[(kFirst + r) / 2];
        v[r] = (kFirst + r) % 2 ? number.im.v : number.re.v;
      } else {
        v[r] = x[kFirst + r].v;
      }
    }
    transpose<W>(v);
    JAXINV_UNROLL
    for (int l = 0; l < W; ++l) store_first<kCount>(Real(v[l]), to[l] + kFirst);
  }
  template <int kFirst = 0>
  static JAXINV_INLINE void store_row(const V (&x)[N], R* const (&to)[W]) {
    if constexpr (kFirst + W <= N * P) {
      store_part<kFirst>(x, to);
      store_row<kFirst + W>(x, to);
    } else if constexpr (kFirst < N * P) {
      store_part<(N * P < W ? 0 : N * P - W)>(x, to);
    }
  }
  // Inverts what stands in `matrix`. Returns the lanes that came out well.
  __attribute__((noinline)) Index run(R* out, Ahead ahead) {
    for (int j = 0; j < N; ++j) {
      kSoonOver ? ahead.fetch_in() : ahead.fetch_out();
      V x[N];
      Real sum(R(0));
      JAXINV_UNROLL
      for (int i = 0; i < N; ++i) {
        x[i] = matrix[j][i];
        sum = sum + squared(x[i]);
      }
      squares[j] = sum;
      begin(x, j);
    }
    Index order[N];
    JAXINV_UNROLL
    for (int i = 0; i < N; ++i) order[i] = Index(I(i * N * P));
    exchange_all(order);
    I rows[N][W];
    memcpy(rows, order, sizeof rows);
    Real norm(R(0));
    for (int j = 0; j < N; ++j) {
      kSoonOver ? ahead.fetch_out() : ahead.fetch_in();
      V x[N];
      const V negative = -inverse[j];
      JAXINV_UNROLL
      for (int i = 0; i < N; ++i) x[i] = factors[j][i] * negative;
      end(x, j);
      Real sum(R(0));
      JAXINV_UNROLL
      for (int i = 0; i < N; ++i) sum = fma(squared(x[i]), squares[i], sum);
      norm = norm + sum;
      R* to[W];
      JAXINV_UNROLL
      for (int l = 0; l < W; ++l) to[l] = out + l * kReals + rows[j][l];
      store_row(x, to);
    }
    return Real(kUsualNorm) > norm;
  }
};

// Does lanes of the group at `index` again: those not `usual`, as a small batch of their own. It takes all of the scratch
// memory.
template <class S, int N, class Index>
__attribute__((noinline)) void invert_by_rows(const InverseProblem& p, int64_t index, int64_t lanes,
                                              Index usual, void* scratch) {
  using R = typename Storage<S>::R;
  constexpr int W = Index::W, P = Storage<S>::kParts;
  S a[W * N * N], x[W * N * N];
  R mantissa[W * P];
  int32_t info[W], exponent[W];
  int64_t own[W], count = 0;
  auto matrix = [&](auto* batch, int64_t i) { return batch + i * N * N; };
  for (int64_t lane = 0; lane < lanes; ++lane) {
    if (usual.v[lane]) continue;
    own[count] = index + lane;
    memcpy(matrix(a, count++), matrix(static_cast<const S*>(p.a), index + lane), sizeof(S) * N * N);
  }
  if (!count) return;  // a lane behind the last matrix
  InverseProblem again = p;
  again.a = a;
  again.x = x;
  if (p.info) again.info = info;
  if (p.mantissa) {
    again.mantissa = mantissa;
    again.exponent = exponent;
  }
  inverse_panels<S>(again, 0, count, scratch);
  for (int64_t i = 0; i < count; ++i) {
    memcpy(matrix(static_cast<S*>(p.x), own[i]), matrix(x, i), sizeof(S) * N * N);
    if (p.info) p.info[own[i]] = info[i];
    if (!p.mantissa) continue;
    memcpy(static_cast<R*>(p.mantissa) + own[i] * P, mantissa + i * P, sizeof(R) * P);
    p.exponent[own[i]] = exponent[i];
  }
}

template <class S, int N>
void inverse_looped(const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
  using R = typename Storage<S>::R;
  constexpr int P = Storage<S>::kParts, kReals = N * N * P;
  constexpr int W = kVectorBytes / int(sizeof(R));
  using V = Value<R, W, P>;
  using E = LoopedElimination<V, N>;
  using Index = typename E::Index;
  using I = typename E::I;
  constexpr int64_t kBytes = N * N * sizeof(S);
  E& e = *static_cast<E*>(scratch);
  for (int64_t index = begin; index < end; index += W) {
    const R* a = group_in<S, W>(p.a, index, end, kReals, e.staging);
    load_lanes<R, W>(a, Known<kReals>(), reinterpret_cast<R*>(e.matrix));
    R* x = group_out<S, W>(p.x, index, end, kReals, e.staging + kReals * W);
    const Index usual = e.run(x, E::kSoonOver ? Ahead::of_later(p, index * kBytes, W * kBytes, N)
                                              : Ahead(p, index * kBytes, W * kBytes, N));
    group_done<S, W>(p.x, index, end, kReals, x);
    const int64_t lanes = end - index < W ? end - index : W;
    if (p.info || p.mantissa) {
      Index odd(I(0));
      for (int k = 0; k < N; ++k) odd = odd ^ ((e.swaps[k] == Index(I(k))) ^ Index(I(-1)));
      store_group_by_products<V>(p, index, lanes, a, e.pivots, Index(I(0)), odd, Index(I(0)));
    }
    if (__builtin_expect(!all_set(usual), 0)) invert_by_rows<S, N>(p, index, lanes, usual, scratch);
  }
}

// Bytes of scratch for one worker, for all sizes up to kMax.
template <class S, int kMax>
size_t inverse_looped_scratch() {
  using R = typename Storage<S>::R;
  constexpr size_t kOwn =
      sizeof(LoopedElimination<Value<R, kVectorBytes / int(sizeof(R)), Storage<S>::kParts>, kMax>);
  const size_t panels = inverse_panels_scratch<S>(kMax);
  return kOwn > panels ? kOwn : panels;
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
