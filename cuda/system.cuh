// Algorithm: LU with partial pivoting, L D Lᴴ without, and substitution, of one matrix in shared memory. A few steps at
// once: a panel of columns, its rows of U, then the rest; so a number is read and written once for them. Every
// number sees its steps in order, whatever the team.
// Threads: a team (cuda/team.cuh), in rows of a power of two, each with two rows and one column of an update.
// n: up to system_max. dtypes: those of the arithmetic.
// Memory: shared memory; rows of odd length, so that rows and columns fall into all banks.
#pragma once

#include "cuda/team.cuh"

namespace jaxinv::cuda {

constexpr int kSteps = 4;  // at once

template <class V>
__device__ __forceinline__ V conjugate(V x) {
  if constexpr (Parts<V>::kCount == 2) {
    return V(x.re, -x.im);
  } else {
    return x;
  }
}
template <class V>
__device__ __forceinline__ auto real_part(V x) {
  if constexpr (Parts<V>::kCount == 2) {
    return x.re;
  } else {
    return x;
  }
}

// Numbers of a matrix, or of one read by columns, or from its end.
template <class V>
struct View {
  V* at;
  int row, column;
  __device__ __forceinline__ V& operator()(int i, int j) const { return at[i * row + j * column]; }
  __device__ __forceinline__ View from(int i, int j) const { return {&(*this)(i, j), row, column}; }
};

// c(i, j) −= Σ l(i, s) u(s, j) for rows × columns places, s = 0 … kCount − 1 in order. lower: no more than the places
// on and below the diagonal are needed.
template <int kCount, class V>
__device__ __forceinline__ void update(const Team& team, int rows, int columns, const View<V>& l,
                                       const View<V>& u, const View<V>& c, bool lower = false) {
  const Team::Places at = team.places(columns);
#pragma unroll 1
  for (int j = at.column; j < columns; j += at.across) {
    V multiples[kCount];
    JAXINV_UNROLL
    for (int s = 0; s < kCount; ++s) multiples[s] = u(s, j);
#pragma unroll 1
    for (int i = at.row; i < rows; i += 2 * at.down) {
      if (lower && j > i + at.down) continue;
      const bool both = i + at.down < rows;
      const int below = both ? i + at.down : i;
      V x = c(i, j), y = both ? c(below, j) : V(0);
      JAXINV_UNROLL
      for (int s = 0; s < kCount; ++s) {
        x = scalar::fnma(l(i, s), multiples[s], x);
        y = scalar::fnma(l(below, s), multiples[s], y);
      }
      c(i, j) = x;
      if (both) c(below, j) = y;
    }
  }
}

// Rows 0 … steps − 1 of x, in `columns` columns: divided by their pivots where there are divisions (the next one
// `next` further), their multiples taken from the rows behind.
template <class V>
__device__ __forceinline__ void finish_rows(const Team& team, int steps, int columns,
                                            const View<V>& l, const Division<V>* divisions,
                                            int next, const View<V>& x) {
#pragma unroll 1
  for (int j = team.rank; j < columns; j += team.size) {
    V y[kSteps];
    JAXINV_UNROLL
    for (int s = 0; s < kSteps; ++s) y[s] = s < steps ? x(s, j) : V(0);
    JAXINV_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      if (s >= steps) break;
      if (divisions) y[s] = divisions[s * next](y[s]);
      JAXINV_UNROLL
      for (int d = s + 1; d < kSteps; ++d) {
        if (d < steps) y[d] = scalar::fnma(l(d, s), y[s], y[d]);
      }
      x(s, j) = y[s];
    }
  }
}

// x ← l⁻¹ x for a lower triangle, the diagonal 1 where there are no divisions.
template <class V>
__device__ __forceinline__ void substitute(const Team& team, int n, int columns, const View<V>& l,
                                           const Division<V>* divisions, int next,
                                           const View<V>& x) {
#pragma unroll 1
  for (int k = 0; k < n; k += kSteps) {
    const int end = min(k + kSteps, n);
    finish_rows(team, end - k, columns, l.from(k, k), divisions ? divisions + k * next : nullptr,
                next, x.from(k, 0));
    team.sync();
    if (end == n) return;
    update<kSteps>(team, n - end, columns, l.from(end, k), x.from(k, 0), x.from(end, 0));
    team.sync();
  }
}

// How the entries that are read come into shared memory.
struct Entries {
  Structure structure;
  bool transposed, reversed, conjugated;  // reversed: the last row and column first
};

// A matrix in its team's shared memory, with what belongs to it.
template <class V>
struct System {
  using R = typename Parts<V>::Real;
  int n, stride;
  V* a;
  V* tile;  // columns beside the matrix
  Division<V>* divisions;
  int32_t* rows;  // which row of the matrix each was

  __device__ __forceinline__ System(const Team& team, int64_t n, int64_t columns)
      : n(int(n)), stride(int(n) | 1) {
    a = reinterpret_cast<V*>(team.memory(system_bytes(n, columns, sizeof(V))));
    tile = a + n * stride;
    divisions = reinterpret_cast<Division<V>*>(tile + n * columns);
    rows = reinterpret_cast<int32_t*>(divisions + n);
    static_assert(sizeof(Division<V>) <= 2 * sizeof(V));
  }
  __device__ __forceinline__ View<V> lower() const { return {a, stride, 1}; }
  // The same from the last row and column on: a lower triangle of what was the upper one.
  __device__ __forceinline__ View<V> upper() const {
    return {a + (n - 1) * (stride + 1), -stride, -1};
  }
  __device__ __forceinline__ V pivot(int k, bool positive) const {
    const V x = a[k * (stride + 1)];
    return positive ? V(real_part(x)) : x;
  }
  __device__ __forceinline__ int place(const Entries& entries, int i, int j) const {
    const int row = entries.transposed ? j : i, column = entries.transposed ? i : j;
    const int at = row * stride + column;
    return entries.reversed ? (n - 1) * (stride + 1) - at : at;
  }

  // Brings a matrix in. Says what this thread saw of it.
  template <class S>
  __device__ __forceinline__ Seen<R> load(const Team& team, const S* from,
                                          const Entries& entries) const {
    const Structure structure = entries.structure;
    Seen<R> seen;
    seen.column = n;
    auto get = [&](int i, int j) {
      return is_read(structure, i, j) ? to_arithmetic(from[i * n + j]) : V(0);
    };
    team.move(n, n, get, [&](int i, int j, V x) {
      if (!is_read(structure, i, j)) return;
      if (is_pos(structure) && i == j) x = V(real_part(x));
      const bool finite = is_finite(x);
      seen.size = fmax(seen.size, largest_part(x));  // not that of a NaN
      seen.infinite |= !finite;
      if (!finite || (i == j && is_zero(x))) seen.column = min(seen.column, j);
      a[place(entries, i, j)] = entries.conjugated ? conjugate(x) : x;
    });
    return seen;
  }
  __device__ __forceinline__ void number_rows(const Team& team, bool reversed,
                                              const int32_t* permutation = nullptr) const {
#pragma unroll 1
    for (int i = team.rank; i < n; i += team.size) {
      rows[i] = permutation ? permutation[i] : reversed ? n - 1 - i : i;
    }
  }
  // Multiplies what load brought in; the same threads the same numbers.
  __device__ __forceinline__ void scale(const Team& team, const Entries& entries, R power) const {
    team.move(
        n, n, [&](int i, int j) { return a[place(entries, i, j)] * power; },
        [&](int i, int j, V x) { a[place(entries, i, j)] = x; });
  }
  static __device__ __forceinline__ bool is_read(Structure structure, int i, int j) {
    return structure == Structure::kGeneral || (is_upper(structure) ? i <= j : i >= j);
  }

  __device__ __forceinline__ void divide_by_diagonal(const Team& team) const {
#pragma unroll 1
    for (int k = team.rank; k < n; k += team.size) divisions[k] = Division<V>(pivot(k, false));
  }

  // Factors in place. Positive: without pivoting, from the lower triangle alone; U = D Lᴴ.
  struct Outcome {
    int info;
    bool odd;   // the permutation of the rows
    bool zero;  // the bad pivot is exactly zero
  };
  __device__ __forceinline__ Outcome factor(const Team& team, bool positive) const {
    const View<V> at = lower();
    Outcome out = {0, false, false};
#pragma unroll 1
    for (int first = 0; first < n; first += kSteps) {
      const int end = min(first + kSteps, n);
#pragma unroll 1
      for (int k = first; k < end; ++k) {
        if (!positive) exchange_rows(team, k, out);
        // Dividing by way of an exact power of two: a denormal pivot must not make 0 · inf.
        const V diagonal = pivot(k, positive);
        const Division<V> divided(diagonal);
        const bool bad = scalar::bad_pivot(diagonal) || (positive && !(real_part(diagonal) > R(0)));
        if (bad && !out.info) {
          out.info = k + 1;
          out.zero = is_zero(diagonal);
        }
        if (team.rank == 0) divisions[k] = divided;
#pragma unroll 1
        for (int i = k + 1 + team.rank; i < n; i += team.size) {
          const V x = at(i, k);
          if (positive) at(k, i) = conjugate(x);
          at(i, k) = divided(x);
        }
        team.sync();
        if (k + 1 == end) break;
        update<1>(team, n - k - 1, end - k - 1, at.from(k + 1, k), at.from(k, k + 1),
                  at.from(k + 1, k + 1), positive);
        team.sync();
      }
      if (end == n) break;
      if (!positive) {
        finish_rows<V>(team, end - first, n - end, at.from(first, first), nullptr, 0,
                       at.from(first, end));
        team.sync();
      }
      update<kSteps>(team, n - end, n - end, at.from(end, first), at.from(first, end),
                     at.from(end, end), positive);
      team.sync();
    }
    return out;
  }

  // NaN counts as the largest; ties take the lowest row as rows stand.
  __device__ __forceinline__ void exchange_rows(const Team& team, int k, Outcome& out) const {
    const int row = team.find_largest<R>(k, n, [&](int i) { return key_bits(a[i * stride + k]); });
    if (row != k) {
      out.odd ^= true;
#pragma unroll 1
      for (int j = team.rank; j < n; j += team.size) {
        const V x = a[k * stride + j];
        a[k * stride + j] = a[row * stride + j];
        a[row * stride + j] = x;
      }
      if (team.rank == 0) {
        const int32_t other = rows[k];
        rows[k] = rows[row];
        rows[row] = other;
      }
    }
    team.sync();
  }

  // info, mantissa and exponent of an InverseProblem or a LuProblem, where asked for. infinite: some entry is not
  // finite; shift: the power of two that the matrix was multiplied by. The first warp of a block.
  template <class Problem>
  __device__ __forceinline__ void store_results(const Team& team, const Problem& p, int64_t index,
                                                bool mine, const Outcome& outcome, bool infinite,
                                                int shift) const {
    const bool positive = is_pos(p.structure);
    mine &= team.rank == 0;
    if (mine && p.info) p.info[index] = outcome.info;
    if (!p.mantissa || team.rank >= kWarpSize) return;
    V mantissa = V(1);
    int exponent = 0;
#pragma unroll 1
    for (int k = team.rank; k < n; k += team.lanes()) {
      V factor = pivot(k, positive);
      const int other = take_exponent(factor);
      multiply(mantissa, exponent, factor, other);
    }
    for (int lanes = 1; lanes < team.lanes(); lanes *= 2) {
      multiply(mantissa, exponent, shuffle_xor(mantissa, lanes), shuffle_xor(exponent, lanes));
    }
    if (!mine) return;
    mantissa = outcome.odd ? -mantissa : mantissa;
    V* to = static_cast<V*>(p.mantissa) + index;
    *to = outcome.info ? failed_mantissa<V>(outcome.zero, !infinite) : mantissa;
    // The determinant of the matrix before it was multiplied by 2^shift.
    p.exponent[index] = outcome.info ? 0 : exponent - shift * n;
  }
};

}  // namespace jaxinv::cuda
