// Systems of general, triangular and positive definite matrices, and systems by their factors. See cuda/system.cuh.
// A team has up to kSystemPart right-hand sides of a matrix, a few at a time beside it in shared memory; no factor
// is written.
#pragma once

#include "core/range.h"
#include "cuda/system.cuh"

namespace jaxinv::cuda {

// Teams of one matrix; one where there is nothing to solve for.
__host__ __device__ __forceinline__ int64_t parts_of(int64_t columns) {
  return columns <= kSystemPart ? 1 : (columns + kSystemPart - 1) / kSystemPart;
}
__host__ __device__ __forceinline__ int64_t tile_columns(int64_t columns) {
  return columns < kSystemColumns ? columns : kSystemColumns;
}

// What substitutions do to the right-hand sides of a part, and where their rows come from and go.
struct Substitutions {
  bool gather, scatter;  // row i from, or to, rows[i]
  bool forward_divided;  // by the pivots
  bool backward;         // there is a second one, divided where the first is not
  bool transposed;       // both of the transposed factors
};

template <class V>
__device__ __forceinline__ void solve_part(const Team& team, const System<V>& s, const V* b, V* x,
                                           int64_t columns, int64_t part, bool mine, bool failed,
                                           typename Parts<V>::Real power,
                                           const Substitutions& how) {
  const int n = s.n;
  const int64_t most = max(min(columns, int64_t(kSystemPart)), int64_t(1));
#pragma unroll 1
  for (int64_t first = part * kSystemPart; first < part * kSystemPart + most;
       first += kSystemColumns) {
    // Perhaps none: teams of a warp stay together, and wait for each other's divisions at least.
    const int width = int(max(min(columns - first, int64_t(kSystemColumns)), int64_t(0)));
    team.move(
        n, width,
        [&](int i, int j) { return b[(how.gather ? s.rows[i] : i) * columns + first + j]; },
        [&](int i, int j, V y) { s.tile[i * width + j] = y; });
    team.sync();
    // Forward from the first row on, then backward, which is forward from the last one on.
#pragma unroll 1
    for (int pass = 0; pass <= how.backward; ++pass) {
      const View<V> t = pass ? s.upper() : s.lower();
      const int start = pass ? n - 1 : 0, next = pass ? -1 : 1;
      substitute<V>(team, n, width, how.transposed ? View<V>{t.at, t.column, t.row} : t,
                    how.forward_divided == (pass == 0) ? s.divisions + start : nullptr, next,
                    {s.tile + start * width, next * width, 1});
    }
    if (mine) {
      auto get = [&](int i, int j) {
        return failed ? not_a_number<V>() : s.tile[i * width + j] * power;
      };
      team.move(n, width, get, [&](int i, int j, V y) {
        x[(how.scatter ? s.rows[i] : i) * columns + first + j] = y;
      });
    }
    team.sync();
  }
}

// permutation: of the factors that stand in the place of a; null where a itself does.
template <class V>
__global__ void __launch_bounds__(kTeamThreads, 1)
    solve(SolveProblem p, const int32_t* permutation) {
  using R = typename Parts<V>::Real;
  const Team team(int(p.n));
  const System<V> s(team, p.n, tile_columns(p.columns));
  const int n = s.n;
  const bool positive = is_pos(p.structure), triangle = is_triangular(p.structure);
  const bool upper = is_upper(p.structure), factored = permutation;
  const bool transposed_factors = factored && p.transpose;
  // In shared memory stands op(a), a triangle of it as a lower one; or the factors as they are. The transpose of a
  // Hermitian matrix is its conjugate.
  const Entries entries = {p.structure, positive ? upper : p.transpose && !factored,
                           triangle && upper != p.transpose, positive && upper != p.transpose};
  const Substitutions how = {!transposed_factors, triangle || transposed_factors,
                             triangle || transposed_factors, !triangle, transposed_factors};
  const int64_t parts = parts_of(p.columns);
  team.for_each(p.batch * parts, [&](int64_t task, bool mine) {
    const int64_t index = parts == 1 ? task : task / parts, part = task - index * parts;
    Seen<R> seen = s.load(team, static_cast<const V*>(p.a) + index * n * n, entries);
    s.number_rows(team, entries.reversed, factored ? permutation + index * n : nullptr);
    if (!factored) seen = team.gather(seen);
    const int shift = triangle || factored ? 0 : scalar::Range<R>::shift(seen.size);
    const R power = scalar::Range<R>::power(shift);
    if (shift) s.scale(team, entries, power);
    team.sync();
    int info = triangle && seen.column < n ? seen.column + 1 : 0;
    if (triangle || factored) {
      s.divide_by_diagonal(team);
    } else {
      info = s.factor(team, positive).info;
    }
    if (mine && p.info && part == 0 && team.rank == 0) p.info[index] = info;
    const int64_t right = index * n * p.columns;
    solve_part(team, s, static_cast<const V*>(p.b) + right, static_cast<V*>(p.x) + right, p.columns,
               part, mine, info != 0, power, how);
  });
}

template <class V>
void launch_solve(const SolveProblem& p, const Context& context, const int32_t* permutation) {
  launch_teams<V>(solve<V>, p, p.batch * parts_of(p.columns), tile_columns(p.columns), context,
                  permutation);
}

}  // namespace jaxinv::cuda
