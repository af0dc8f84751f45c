// Algorithm: the panel of the grid range: pivot search and single steps over a few columns and all rows of one
// matrix, then its pivot rows brought to their own steps over all columns.
// Lanes: a block per panel; two rows per thread, in registers (cuda/panel.cuh), up to 1024 rows, above any
// number, in memory; in the pivot rows a thread per column.
// n: any. dtypes: float, double and their complex. Memory: scratch, see cuda/grid.cuh.
#pragma once

#include "cuda/grid.cuh"

namespace jaxinv::cuda {

constexpr int kGridPanelRows = 2, kGridPanelWarps = 16;  // 1024 rows at most
template <class V>
using GridPanel = Panel<V, Grid<V>::kWidth, kGridPanelRows, kGridPanelWarps>;
template <class V>
using GridPanelShared = PanelShared<V, Grid<V>::kWidth, kGridPanelWarps>;

// Steps k + first … of a matrix of at most 1024 rows; one block per matrix.
template <class V>
__global__ void __launch_bounds__(kGridPanelWarps* kWarpSize, 1)
    panel_grid(Grid<V> g, int k, int first, int width) {
  const GridMatrix<V> m(g, blockIdx.x);
  if (m.info) return;
  const int thread = int(threadIdx.x), start = k + first;
  GridPanel<V> panel(shared_memory<GridPanelShared<V>>(), m.factors + first * g.stride, g.stride,
                     int(blockDim.x), width);
  panel.load(m.matrix + start, g.stride, g.n, width, m.order);
  const int failed = panel.eliminate();
  if (thread < width) {
    m.pivots[start + thread] = panel.shared.pivots[thread];
    m.pivot_rows[start + thread] = panel.shared.pivot_rows[thread];
  }
  if (failed) {
    if (thread == 0) m.info = start + failed;
    return;
  }
  JAXINV_UNROLL
  for (int r = 0; r < kGridPanelRows; ++r) {
    if (panel.own[r] >= 0) m.order[panel.row(r)] = start + panel.own[r];
  }
  split_factors<Grid<V>::kSteps>(m.factors, g.stride, m.lower, panel.shared.pivot_rows, first,
                                 width);
}

template <class V>
struct TallPanelShared {
  Key<V> keys[kWarpSize];
  int32_t rows[kWarpSize];
  V multiples[Grid<V>::kWidth];
  int32_t pivot_rows[Grid<V>::kWidth];
};

// The largest key among the threads' best rows, lowest row first; every thread gets the row.
template <class V>
__device__ __forceinline__ int best_row(TallPanelShared<V>& s, Key<V> key, int row) {
  auto best_of_warp = [&] {
    const Key<V> best = group_max<kWarpSize>(key);
    row = ~group_max<kWarpSize>(key == best ? ~row : int(1u << 31));
    key = best;
  };
  best_of_warp();
  if (lane_index() == 0) {
    s.keys[threadIdx.x / kWarpSize] = key;
    s.rows[threadIdx.x / kWarpSize] = row;
  }
  __syncthreads();
  const bool inside = lane_index() < int(blockDim.x) / kWarpSize;
  key = inside ? s.keys[lane_index()] : Key<V>(-1);
  row = inside ? s.rows[lane_index()] : 0;
  best_of_warp();
  return row;
}

// The same for any number of rows; the panel stands where its factors will.
template <class V>
__global__ void __launch_bounds__(1024, 1) tall_panel_grid(Grid<V> g, int k, int first, int width) {
  const GridMatrix<V> m(g, blockIdx.x);
  if (m.info) return;
  auto& s = shared_memory<TallPanelShared<V>>();
  const int thread = int(threadIdx.x), threads = int(blockDim.x);
  V* panel = m.factors + first * g.stride;
  for (int i = thread; i < g.n; i += threads) {
    for (int j = 0; j < width; ++j) {
      panel[j * g.stride + i] = m.matrix[i * g.stride + k + first + j];
    }
  }
  for (int c = 0; c < width; ++c) {
    V* column = panel + c * g.stride;
    Key<V> best = -1;
    int row = 0;
    for (int i = thread; i < g.n; i += threads) {
      const Key<V> key = m.order[i] < 0 ? key_bits(column[i]) : Key<V>(-1);
      if (key > best) {
        best = key;
        row = i;
      }
    }
    row = best_row(s, best, row);
    const V pivot = column[row];
    if (thread == 0) {
      m.pivots[k + first + c] = pivot;
      m.pivot_rows[k + first + c] = s.pivot_rows[c] = row;
    }
    if (scalar::bad_pivot(pivot)) {
      if (thread == 0) m.info = k + first + c + 1;
      return;
    }
    const Division<V> divided(pivot);
    if (thread < width - c) s.multiples[thread] = divided(column[thread * g.stride + row]);
    __syncthreads();
    for (int i = thread; i < g.n; i += threads) {
      const bool own = i == row;  // becomes the multiple: 0 − (−1) · multiple
      const V factor = own ? V(-1) : column[i];
      if (own) {
        column[i] = factor;
        m.order[i] = k + first + c;
      }
      constexpr int kAtOnce = 4;  // loads under way
      for (int j = 1; j < width - c; j += kAtOnce) {
        V x[kAtOnce];
        JAXINV_UNROLL
        for (int e = 0; e < kAtOnce; ++e) {
          x[e] = own || j + e >= width - c ? V(0) : column[(j + e) * g.stride + i];
        }
        JAXINV_UNROLL
        for (int e = 0; e < kAtOnce; ++e) {
          if (j + e < width - c) {
            column[(j + e) * g.stride + i] = scalar::fnma(factor, s.multiples[j + e], x[e]);
          }
        }
      }
    }
  }
  split_factors<Grid<V>::kSteps>(m.factors, g.stride, m.lower, s.pivot_rows, first, width);
}

template <class V>
struct PivotRowsShared {
  alignas(16) V lower[Grid<V>::kSteps * Grid<V>::kSteps];
  Division<V> divisions[Grid<V>::kSteps];
  int32_t rows[Grid<V>::kSteps];
};

// The multiples of steps k + first … k + last − 1; blocks along the columns, then along the batch.
template <class V>
__global__ void __launch_bounds__(256) pivot_rows_grid(Grid<V> g, GridSteps steps) {
  using G = Grid<V>;
  const unsigned blocks = (steps.column_end - steps.column + blockDim.x - 1) / blockDim.x;
  const GridMatrix<V> m(g, blockIdx.x / blocks);
  if (m.info) return;
  auto& s = shared_memory<PivotRowsShared<V>>();
  const int thread = int(threadIdx.x), k = steps.k, first = steps.first;
  const int count = steps.last - first;
  for (int e = thread; e < count * count; e += int(blockDim.x)) {
    const int d = e / count, c = e % count;
    // Above the diagonal of lower[d][c] nothing was written.
    s.lower[d * G::kSteps + c] = d < c ? m.lower[(first + d) * G::kSteps + first + c] : V(0);
  }
  if (thread < count) {
    s.divisions[thread] = Division<V>(m.pivots[k + first + thread]);
    s.rows[thread] = m.pivot_rows[k + first + thread];
  }
  __syncthreads();
  const int j = steps.column + int(blockIdx.x % blocks * blockDim.x) + thread;
  if (j >= steps.column_end) return;
  const bool own = j >= k && j < steps.own_end;
  V* multiples = m.multiples + first * g.stride + j;
  for (int base = 0; base < count; base += G::kWidth) {
    const int width = min(G::kWidth, count - base);
    V y[G::kWidth];
    JAXINV_UNROLL
    for (int c = 0; c < G::kWidth; ++c) {
      y[c] = c >= width ? V(0)
             : own      ? V(j == k + base + c)
                        : m.matrix[s.rows[base + c] * g.stride + j];
    }
    for (int d = 0; d < base; ++d) {
      const V multiple = multiples[d * g.stride];
      JAXINV_UNROLL
      for (int c = 0; c < G::kWidth; c += kPack<V>) {
        const Word<V> factor = load_word(s.lower + d * G::kSteps + base + c);
        JAXINV_UNROLL
        for (int e = 0; e < kPack<V>; ++e) {
          y[c + e] = scalar::fnma(factor.at[e], multiple, y[c + e]);
        }
      }
    }
    solve_pivot_rows<G::kWidth, G::kSteps>(y, s.lower + base * G::kSteps + base,
                                           s.divisions + base);
    JAXINV_UNROLL
    for (int c = 0; c < G::kWidth; ++c) {
      if (c < width) multiples[(base + c) * g.stride] = y[c];
    }
  }
}

}  // namespace jaxinv::cuda
