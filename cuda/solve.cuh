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
  auto read = [&](View<V> t) { return how.transposed ? View<V>{t.at, t.column, t.row} : t; };
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
    const View<V> y = {s.tile, width, 1}, last = {s.tile + (n - 1) * width, -width, 1};
    substitute(team, n, width, read(s.lower()), how.forward_divided ? s.divisions : nullptr, 1, y);
    if (how.backward) {
      substitute(team, n, width, read(s.upper()),
                 how.forward_divided ? nullptr : s.divisions + (n - 1), -1, last);
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

template <class V>
__global__ void __launch_bounds__(kTeamThreads, 1) solve(SolveProblem p) {
  using R = typename Parts<V>::Real;
  const Team team(int(p.n));
  const System<V> s(team, p.n, tile_columns(p.columns));
  const int n = s.n;
  const bool positive = is_pos(p.structure), triangle = is_triangular(p.structure);
  const bool upper = is_upper(p.structure);
  // In shared memory stands op(a), a triangle of it as a lower one. The transpose of a Hermitian matrix is its
  // conjugate.
  const Entries entries = {p.structure, positive ? upper : p.transpose,
                           triangle && upper != p.transpose, positive && upper != p.transpose};
  const Substitutions how = {true, triangle, triangle, !triangle, false};
  const int64_t parts = parts_of(p.columns);
  team.for_each(p.batch * parts, [&](int64_t task, bool mine) {
    const int64_t index = task / parts, part = task - index * parts;
    s.number_rows(team, entries.reversed);
    const Seen<R> seen =
        team.gather(s.load(team, static_cast<const V*>(p.a) + index * n * n, entries));
    const int shift = triangle ? 0 : scalar::Range<R>::shift(seen.size);
    const R power = scalar::Range<R>::power(shift);
    if (shift) s.scale(team, entries, power);
    team.sync();
    int info;
    if (triangle) {
      info = seen.column < n ? seen.column + 1 : 0;
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
__global__ void __launch_bounds__(kTeamThreads, 1) lu_solve(LuSolveProblem p) {
  const Team team(int(p.n));
  const System<V> s(team, p.n, tile_columns(p.columns));
  const int n = s.n;
  const Entries entries = {Structure::kGeneral, false, false, false};
  const Substitutions how = {!p.transpose, p.transpose, p.transpose, true, p.transpose};
  const int64_t parts = parts_of(p.columns);
  team.for_each(p.batch * parts, [&](int64_t task, bool mine) {
    const int64_t index = task / parts, part = task - index * parts;
    s.load(team, static_cast<const V*>(p.lu) + index * n * n, entries);
#pragma unroll 1
    for (int i = team.rank; i < n; i += team.size) s.rows[i] = p.permutation[index * n + i];
    team.sync();
    s.divide_by_diagonal(team);
    const int64_t right = index * n * p.columns;
    solve_part(team, s, static_cast<const V*>(p.b) + right, static_cast<V*>(p.x) + right, p.columns,
               part, mine, false, typename Parts<V>::Real(1), how);
  });
}

template <class V>
void launch_solve(const SolveProblem& p, const Context& context) {
  launch_teams<V>(solve<V>, p, p.batch * parts_of(p.columns), tile_columns(p.columns), context);
}
template <class V>
void launch_lu_solve(const LuSolveProblem& p, const Context& context) {
  launch_teams<V>(lu_solve<V>, p, p.batch * parts_of(p.columns), tile_columns(p.columns), context);
}

}  // namespace jaxinv::cuda
