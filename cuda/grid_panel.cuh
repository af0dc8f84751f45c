// Algorithm: the panel of the grid range: pivot search and single steps over a few columns and all rows of one
// matrix, then its pivot rows brought to their own steps over all columns.
// Lanes: a block per panel; a thread per row, in registers (cuda/panel.cuh), up to 1024 rows, above several rows
// per thread, in memory; in the pivot rows a thread per column.
// n: any. dtypes: float, double and their complex. Memory: scratch, see cuda/grid.cuh.
#pragma once

#include "cuda/grid.cuh"

namespace jaxinv::cuda {

template <class T>
using GridPanelShared = PanelShared<T, Grid<T>::kWidth, Grid<T>::kPanelThreads / kWarp>;

// Steps k + first … of a matrix of at most as many rows as threads; one block per matrix.
template <class T>
__global__ void __launch_bounds__(1024) panel_grid(Grid<T> g, int k, int first, int width) {
  using G = Grid<T>;
  const GridMatrix<T> m(g, blockIdx.x);
  if (m.info) return;
  const int thread = int(threadIdx.x);
  Panel<T, G::kWidth, G::kPanelThreads / kWarp> panel{
      shared_memory<GridPanelShared<T>>(),
      m.factors + first * g.stride,
      g.stride,
      width,
  };
  panel.own = thread < g.n && m.order[thread] < 0 ? panel.kFree : panel.kTaken;
  const T* row = m.matrix + thread * g.stride + k + first;
#pragma unroll
  for (int j = 0; j < G::kWidth; j += Pack<T>::kSize) {
    const bool inside = thread < g.n && j < width;
    Pack<T> pack;
    if (inside) pack = load_pack(row + j);
#pragma unroll
    for (int e = 0; e < Pack<T>::kSize; ++e) panel.x[j + e] = inside ? pack.v[e] : T(0);
  }
  const int failed = panel.eliminate();
  if (thread < width) {
    m.pivots[k + first + thread] = panel.shared.pivots[thread];
    m.pivot_rows[k + first + thread] = panel.shared.pivot_rows[thread];
  }
  if (failed) {
    if (thread == 0) m.info = k + first + failed;
    return;
  }
  if (panel.own >= 0) m.order[thread] = k + first + panel.own;
  __syncthreads();
  split_factors<G::kSteps>(m.factors, g.stride, m.lower, panel.shared.pivot_rows, first, width);
}

template <class T>
struct TallPanelShared {
  PivotKey<T> keys[kWarp];
  int32_t rows[kWarp];
  T multiples[Grid<T>::kWidth];
  int32_t pivot_rows[Grid<T>::kWidth];
};

// The largest key among the threads' best rows, lowest row first; every thread gets the row.
template <class T>
__device__ __forceinline__ int best_row(TallPanelShared<T>& s, PivotKey<T> key, int row) {
  auto best_of_warp = [&] {
    const PivotKey<T> best = warp_max(key);
    row = int(~warp_max(key == best ? ~uint32_t(row) : 0u));
    key = best;
  };
  best_of_warp();
  const int lane = int(threadIdx.x) % kWarp;
  if (lane == 0) {
    s.keys[threadIdx.x / kWarp] = key;
    s.rows[threadIdx.x / kWarp] = row;
  }
  __syncthreads();
  const bool inside = lane < int(blockDim.x) / kWarp;
  key = inside ? s.keys[lane] : 0;
  row = inside ? s.rows[lane] : 0;
  best_of_warp();
  return row;
}

// The same for any number of rows; the panel stands where its factors will.
template <class T>
__global__ void __launch_bounds__(1024) tall_panel_grid(Grid<T> g, int k, int first, int width) {
  const GridMatrix<T> m(g, blockIdx.x);
  if (m.info) return;
  auto& s = shared_memory<TallPanelShared<T>>();
  const int thread = int(threadIdx.x), threads = int(blockDim.x);
  T* panel = m.factors + first * g.stride;
  for (int i = thread; i < g.n; i += threads) {
    for (int j = 0; j < width; ++j) {
      panel[j * g.stride + i] = m.matrix[i * g.stride + k + first + j];
    }
  }
  for (int c = 0; c < width; ++c) {
    T* column = panel + c * g.stride;
    PivotKey<T> best = 0;
    int row = 0;
    for (int i = thread; i < g.n; i += threads) {
      const PivotKey<T> key = m.order[i] < 0 ? pivot_key(column[i]) + 1 : 0;
      if (key > best) {
        best = key;
        row = i;
      }
    }
    row = best_row(s, best, row);
    const T pivot = column[row];
    if (thread == 0) {
      m.pivots[k + first + c] = pivot;
      m.pivot_rows[k + first + c] = s.pivot_rows[c] = row;
    }
    if (is_zero(pivot) || !is_finite(pivot)) {
      if (thread == 0) m.info = k + first + c + 1;
      return;
    }
    const Division<T> divided(pivot);
    if (thread < width - c) s.multiples[thread] = divided(column[thread * g.stride + row]);
    __syncthreads();
    for (int i = thread; i < g.n; i += threads) {
      const bool own = i == row;  // becomes the multiple: 0 − (−1) · multiple
      const T factor = own ? T(-1) : column[i];
      if (own) {
        column[i] = factor;
        m.order[i] = k + first + c;
      }
      constexpr int kAtOnce = 4;  // loads under way
      for (int j = 1; j < width - c; j += kAtOnce) {
        T x[kAtOnce];
#pragma unroll
        for (int e = 0; e < kAtOnce; ++e) {
          x[e] = own || j + e >= width - c ? T(0) : column[(j + e) * g.stride + i];
        }
#pragma unroll
        for (int e = 0; e < kAtOnce; ++e) {
          if (j + e < width - c) {
            column[(j + e) * g.stride + i] = fnma(factor, s.multiples[j + e], x[e]);
          }
        }
      }
    }
  }
  __syncthreads();
  split_factors<Grid<T>::kSteps>(m.factors, g.stride, m.lower, s.pivot_rows, first, width);
}

template <class T>
struct PivotRowsShared {
  alignas(16) T lower[Grid<T>::kSteps * Grid<T>::kSteps];
  Division<T> divisions[Grid<T>::kSteps];
  int32_t rows[Grid<T>::kSteps];
};

// The multiples of steps k + first … k + last − 1; blocks along the columns, then along the batch.
template <class T>
__global__ void __launch_bounds__(256) pivot_rows_grid(Grid<T> g, GridSteps steps) {
  using G = Grid<T>;
  const unsigned blocks = (steps.column_end - steps.column + blockDim.x - 1) / blockDim.x;
  const GridMatrix<T> m(g, blockIdx.x / blocks);
  if (m.info) return;
  auto& s = shared_memory<PivotRowsShared<T>>();
  const int thread = int(threadIdx.x), k = steps.k, first = steps.first;
  const int count = steps.last - first;
  for (int e = thread; e < count * count; e += int(blockDim.x)) {
    const int d = e / count, c = e % count;
    // Above the diagonal of lower[d][c] nothing was written.
    s.lower[d * G::kSteps + c] = d < c ? m.lower[(first + d) * G::kSteps + first + c] : T(0);
  }
  if (thread < count) {
    s.divisions[thread] = Division<T>(m.pivots[k + first + thread]);
    s.rows[thread] = m.pivot_rows[k + first + thread];
  }
  __syncthreads();
  const int j = steps.column + int(blockIdx.x % blocks * blockDim.x) + thread;
  if (j >= steps.column_end) return;
  const bool own = j >= k && j < steps.own_end;
  T* multiples = m.multiples + first * g.stride + j;
  for (int base = 0; base < count; base += G::kWidth) {
    const int width = min(G::kWidth, count - base);
    T y[G::kWidth];
#pragma unroll
    for (int c = 0; c < G::kWidth; ++c) {
      y[c] = c >= width ? T(0)
             : own      ? T(j == k + base + c)
                        : m.matrix[s.rows[base + c] * g.stride + j];
    }
    for (int d = 0; d < base; ++d) {
      const T multiple = multiples[d * g.stride];
#pragma unroll
      for (int c = 0; c < G::kWidth; c += Pack<T>::kSize) {
        const Pack<T> factor = load_pack(s.lower + d * G::kSteps + base + c);
#pragma unroll
        for (int e = 0; e < Pack<T>::kSize; ++e) {
          y[c + e] = fnma(factor.v[e], multiple, y[c + e]);
        }
      }
    }
    solve_pivot_rows<G::kWidth, G::kSteps>(y, s.lower + base * G::kSteps + base,
                                           s.divisions + base);
#pragma unroll
    for (int c = 0; c < G::kWidth; ++c) {
      if (c < width) multiples[(base + c) * g.stride] = y[c];
    }
  }
}

}  // namespace jaxinv::cuda
