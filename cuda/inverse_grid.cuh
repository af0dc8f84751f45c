// Algorithm: blocked in-place Gauss-Jordan with partial pivoting over a batch, a fixed sequence of launches for
// each n: panels of a few columns (cuda/grid_panel.cuh) until 64 steps (complex128: 32) are done, each applied to
// the rest of these columns; then all to the whole matrix by register-tiled products (cuda/grid_update.cuh).
// Lanes: a block per panel; a block per tile in the products, many blocks per matrix.
// n: above what inverse_block holds. dtypes: all; half types are computed in float32.
// Memory: scratch holds the matrix, factors and multiples; a and x are touched once.
#pragma once

#include <algorithm>

#include "cuda/grid_panel.cuh"
#include "cuda/grid_update.cuh"
#include "cuda/kernels.cuh"

namespace jaxinv::cuda {

// Brings a matrix into its scratch, a block per chunk of rows.
template <class V>
__global__ void __launch_bounds__(256) load_grid(InverseProblem p, Grid<V> g) {
  using R = typename Parts<V>::Real;
  const unsigned chunks = g.chunks(), chunk = blockIdx.x % chunks;
  const int64_t index = blockIdx.x / chunks;
  const GridMatrix<V> m(g, index);
  const int first = int(chunk) * kGridChunk, rows = min(kGridChunk, g.n - first);
  V* matrix = m.matrix + first * g.stride;
  R size = 0;
  bool finite = true;
  with_storage<V>(p.dtype, [&](auto storage) {
    const auto* a = static_cast<const decltype(storage)*>(p.a) + (index * g.n + first) * g.n;
    auto get = [&](int i, int j) { return a[int64_t(i) * g.n + j]; };
    move_numbers(rows, g.n, get, [&](int i, int j, auto stored) {
      const V number = to_arithmetic(stored);
      size = fmax(size, largest_part(number));  // not that of a NaN
      finite &= is_finite(number);
      matrix[i * g.stride + j] = number;
    });
  });
  if (int(threadIdx.x) < rows) m.order[first + threadIdx.x] = -1;
  size = block_size(shared_memory<SizeShared<R>>(), size, finite);
  if (threadIdx.x == 0) {
    m.sizes[chunk] = size;
    m.finite[chunk] = finite;
  }
}

// Multiplies the matrices that are too large or too small by a power of two, in the same blocks.
template <class V>
__global__ void __launch_bounds__(256) scale_grid(Grid<V> g) {
  using R = typename Parts<V>::Real;
  const unsigned chunks = g.chunks(), chunk = blockIdx.x % chunks;
  const GridMatrix<V> m(g, blockIdx.x / chunks);
  R size = 0;
  bool finite = true;
  for (unsigned c = threadIdx.x; c < chunks; c += blockDim.x) {
    size = fmax(size, m.sizes[c]);
    finite &= m.finite[c] != 0;
  }
  size = block_size(shared_memory<SizeShared<R>>(), size, finite);
  const int shift = scalar::Range<R>::shift(size);
  if (chunk == 0 && threadIdx.x == 0) {
    m.info = 0;
    m.shift = shift;
    m.all_finite = finite;
  }
  if (!shift) return;
  const int first = int(chunk) * kGridChunk;
  V* matrix = m.matrix + first * g.stride;
  auto get = [&](int i, int j) {
    return matrix[i * g.stride + j] * scalar::Range<R>::power(shift);
  };
  move_numbers(min(kGridChunk, g.n - first), g.n, get,
               [&](int i, int j, V x) { matrix[i * g.stride + j] = x; });
}

// Writes a few rows of the inverse per block, rows and columns put in order. staged: the rows fit into shared
// memory, where reading them out of order is cheap.
template <class V>
__global__ void __launch_bounds__(256) store_grid(InverseProblem p, Grid<V> g, bool staged) {
  using G = Grid<V>;
  using R = typename Parts<V>::Real;
  const unsigned chunks = (g.n + G::kOutputChunk - 1) / G::kOutputChunk;
  const int first = int(blockIdx.x % chunks) * G::kOutputChunk;
  const int rows = min(G::kOutputChunk, g.n - first);
  const int64_t index = blockIdx.x / chunks;
  const GridMatrix<V> m(g, index);
  const int info = m.info;
  V* staging = &shared_memory<V>();
  auto number_at = [&](int i, int j) { return m.matrix[m.pivot_rows[first + i] * g.stride + j]; };
  if (staged && !info) {
    move_numbers(rows, g.n, number_at, [&](int i, int j, V x) { staging[i * g.n + j] = x; });
    __syncthreads();
  }
  const R power = scalar::Range<R>::power(m.shift);
  with_storage<V>(p.dtype, [&](auto storage) {
    auto* x = static_cast<decltype(storage)*>(p.x) + (index * g.n + first) * g.n;
    for (int j = int(threadIdx.x); j < g.n; j += int(blockDim.x)) {
      const int from = info ? 0 : m.order[j];
      JAXINV_UNROLL
      for (int i = 0; i < G::kOutputChunk; ++i) {
        if (i >= rows) break;
        const V number = info     ? not_a_number<V>()
                         : staged ? staging[i * g.n + from]
                                  : number_at(i, from);
        to_storage(number * power, x[int64_t(i) * g.n + j]);
      }
    }
  });
  if (first) return;
  __syncthreads();  // the shared memory changes its owner
  store_results(p, index, info, m.pivots, m.pivot_rows, m.all_finite != 0, m.shift,
                shared_memory<SizeShared<R>>().votes);
}

template <class V>
void launch_steps(const Grid<V>& g, const GridSteps& steps, int64_t batch, const Context& context) {
  using Q = Tile<V>;
  auto parts = [](int64_t count, int64_t size) { return (count + size - 1) / size; };
  const int64_t columns = steps.column_end - steps.column;
  const int threads = columns <= 64 ? 64 : 128;
  launch_kernel(pivot_rows_grid<V>, batch * parts(columns, threads), threads,
                sizeof(PivotRowsShared<V>), context, g, steps);
  const int64_t tiles = parts(g.n, Q::kTileRows) * parts(columns, Q::kTileColumns);
  launch_kernel(update_grid<V>, batch * tiles, Q::kThreads, sizeof(TileShared<V>), context, g,
                steps);
}

// The whole sequence: it depends on n alone.
template <class V>
void launch_inverse_grid(const InverseProblem& p, const Context& context, int panel_rows) {
  using G = Grid<V>;
  const G g(p.n, p.scratch);
  const int n = g.n;
  const size_t size_bytes = sizeof(SizeShared<typename Parts<V>::Real>);
  launch_kernel(load_grid<V>, p.batch * g.chunks(), G::kThreads, size_bytes, context, p, g);
  launch_kernel(scale_grid<V>, p.batch * g.chunks(), G::kThreads, size_bytes, context, g);
  for (int k = 0; k < n; k += G::kSteps) {
    const int count = std::min(G::kSteps, n - k);
    for (int first = 0; first < count; first += G::kWidth) {
      const int width = std::min(G::kWidth, count - first), last = first + width;
      if (n <= panel_rows) {
        launch_kernel(panel_grid<V>, p.batch, GridPanel<V>::threads_for(n),
                      sizeof(GridPanelShared<V>), context, g, k, first, width);
      } else {
        launch_kernel(tall_panel_grid<V>, p.batch, panel_rows, sizeof(TallPanelShared<V>), context,
                      g, k, first, width);
      }
      if (last < count) {
        launch_steps(g, {k, first, last, k + last, k + count, k}, p.batch, context);
      }
    }
    launch_steps(g, {k, 0, count, 0, n, k + count}, p.batch, context);
  }
  const size_t rows_bytes = sizeof(V) * G::kOutputChunk * n;
  const bool staged = rows_bytes <= kSharedDefault;
  launch_kernel(store_grid<V>, p.batch * ((n + G::kOutputChunk - 1) / G::kOutputChunk), G::kThreads,
                std::max(staged ? rows_bytes : 0, size_bytes), context, p, g, staged);
}

}  // namespace jaxinv::cuda
