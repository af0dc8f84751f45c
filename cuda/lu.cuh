// LU with partial pivoting of general matrices, L D Lᴴ of positive definite ones, and their determinants. See
// cuda/system.cuh.
#pragma once

#include "core/range.h"
#include "cuda/system.cuh"

namespace jaxinv::cuda {

template <class V>
__global__ void __launch_bounds__(kTeamThreads, 1) lu(LuProblem p) {
  using R = typename Parts<V>::Real;
  const Team team(int(p.n));
  const System<V> s(team, p.n, 0);
  const int n = s.n;
  const bool positive = is_pos(p.structure);
  const bool mirrored = p.structure == Structure::kPosUpper;
  const Entries entries = {p.structure, mirrored, false, mirrored};
  team.for_each(p.batch, [&](int64_t index, bool mine) {
    s.number_rows(team, false);
    const Seen<R> seen =
        team.gather(s.load(team, static_cast<const V*>(p.a) + index * n * n, entries));
    const int shift = p.lu ? 0 : scalar::Range<R>::shift(seen.size);
    if (shift) s.scale(team, entries, scalar::Range<R>::power(shift));
    team.sync();
    const auto outcome = s.factor(team, positive);
    s.store_results(team, p, index, mine, outcome, seen.infinite, shift);
    if (p.lu && mine) {
      V* to = static_cast<V*>(p.lu) + index * n * n;
      auto get = [&](int i, int j) {
        return outcome.info ? not_a_number<V>() : i == j ? s.pivot(i, positive) : s.lower()(i, j);
      };
      team.move(n, n, get, [&](int i, int j, V x) { to[i * n + j] = x; });
#pragma unroll 1
      for (int i = team.rank; i < n; i += team.size) p.permutation[index * n + i] = s.rows[i];
    }
    team.sync();
  });
}

template <class V>
void launch_lu(const LuProblem& p, const Context& context) {
  launch_teams<V>(lu<V>, p, p.batch, 0, context);
}

}  // namespace jaxinv::cuda
