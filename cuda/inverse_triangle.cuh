// Inverses of triangles by substitution, of Hermitian positive definite matrices as Wᴴ W, W = D^(-1/2) L⁻¹ by the same:
// strips of columns of the identity, each with the part of the triangle that it meets. See cuda/system.cuh.
// dtypes: all; half types are computed in float32.
#pragma once

#include "core/range.h"
#include "cuda/system.cuh"

namespace jaxinv::cuda {

// w ← the lower triangle of wᴴ w in place, w lower triangular. A few rows at once need no row of w above them; those
// of the columns on their diagonal come last.
template <class V>
__device__ __forceinline__ void multiply_by_adjoint(const Team& team, int n, const View<V>& w) {
  const Team::Places at = team.places(n);
  const int group = 2 * at.down;
#pragma unroll 1
  for (int first = 0; first < n; first += group) {
    const int i = first + at.row, below = i + at.down;
    const int left = min(i, n - 1), left_below = min(below, n - 1);
#pragma unroll 1
    for (int j = at.column; j - at.column < min(first + group, n); j += at.across) {
      const int right = min(j, n - 1);
      V x = V(0), y = V(0);
#pragma unroll 1
      for (int k = first; k < n; ++k) {
        const V factor = w(k, right);
        x = scalar::fma(conjugate(w(k, left)), factor, x);
        y = scalar::fma(conjugate(w(k, left_below)), factor, y);
      }
      team.sync();
      if (i < n && j <= i) w(i, j) = x;
      if (below < n && j <= below) w(below, j) = y;
    }
  }
}

template <class V>
__global__ void __launch_bounds__(kTeamThreads, 1) inverse_triangle(InverseProblem p) {
  using R = typename Parts<V>::Real;
  const Team team(int(p.n));
  const System<V> s(team, p.n, kSystemColumns);
  const int n = s.n;
  const View<V> lower = s.lower();
  const bool positive = is_pos(p.structure), upper = is_upper(p.structure);
  // Always a lower triangle: of the transposed matrix, or of the one with the last row and column first.
  const bool reversed = upper && !positive;
  const Entries entries = {p.structure, upper && positive, reversed, upper && positive};
  team.for_each(p.batch, [&](int64_t index, bool mine) {
    Seen<R> seen;
    with_storage<V>(p.dtype, [&](auto storage) {
      const auto* a = static_cast<const decltype(storage)*>(p.a) + index * n * n;
      seen = s.load(team, a, entries);
    });
    seen = team.gather(seen);
    const int shift = scalar::Range<R>::shift(seen.size);
    const R power = scalar::Range<R>::power(shift);
    if (shift) s.scale(team, entries, power);
    team.sync();
    typename System<V>::Outcome outcome = {0, false, false};
    if (positive) {
      outcome = s.factor(team, true);
    } else {
      if (seen.column < n) {
        outcome.info = seen.column + 1;
        outcome.zero = is_zero(s.pivot(reversed ? n - 1 - seen.column : seen.column, false));
      }
      s.divide_by_diagonal(team);
    }
    s.store_results(team, p, index, mine, outcome, seen.infinite, shift);
    if (positive) {
#pragma unroll 1
      for (int k = team.rank; k < n; k += team.size) {
        s.divisions[k].scale = R(1) / sqrt(real_part(s.pivot(k, true)));
      }
    }
    auto store = [&](int i, int j, V number) {
      const int at = i * n + j;
      with_storage<V>(p.dtype, [&](auto storage) {
        auto* x = static_cast<decltype(storage)*>(p.x) + index * n * n;
        to_storage(outcome.info ? not_a_number<V>() : number * power,
                   x[reversed ? n * n - 1 - at : at]);
      });
    };
#pragma unroll 1
    for (int first = 0; first < n; first += kSystemColumns) {
      const int width = min(kSystemColumns, n - first);
      team.move(
          n - first, width, [&](int i, int j) { return V(R(i == j)); },
          [&](int i, int j, V x) { s.tile[i * width + j] = x; });
      team.sync();
      substitute<V>(team, n - first, width, lower.from(first, first),
                    positive ? nullptr : s.divisions + first, 1, {s.tile, width, 1});
      auto get = [&](int i, int j) {
        return i < first + j ? V(0) : s.tile[(i - first) * width + j];
      };
      team.move(n, width, get, [&](int i, int j, V x) {
        if (positive) {
          lower(i, first + j) = x * s.divisions[i].scale;
        } else if (mine) {
          store(i, first + j, x);
        }
      });
      team.sync();
    }
    if (positive) {
      multiply_by_adjoint(team, n, lower);
      team.sync();
      if (mine) {
        auto get = [&](int i, int j) {
          return i == j ? s.pivot(i, true) : i > j ? lower(i, j) : conjugate(lower(j, i));
        };
        team.move(n, n, get, store);
      }
      team.sync();
    }
  });
}

template <class V>
void launch_inverse_triangle(const InverseProblem& p, const Context& context) {
  launch_teams<V>(inverse_triangle<V>, p, p.batch, kSystemColumns, context);
}

}  // namespace jaxinv::cuda
