// Algorithm: blocked in-place Gauss-Jordan with partial pivoting over a batch, a fixed sequence of launches for each
// n: panels of a few columns (cuda/grid_panel.cuh) until 64 steps (complex: 32) are done, each applied to the rest
// of these columns; then all of them to the whole matrix by register-tiled products (cuda/grid_update.cuh).
// Lanes: a block per panel; a block per tile in the products, many blocks per matrix.
// n: above what inverse_block holds. dtypes: all; half types are computed in float32.
// Memory: scratch holds the matrix, factors and multiples; a and x are touched once.
#pragma once

#include <algorithm>

#include "cuda/grid_panel.cuh"
#include "cuda/grid_update.cuh"

namespace jaxinv::cuda {

// Brings a matrix into its scratch, a block per chunk of rows.
template <class S, class T = typename Storage<S>::T>
__global__ void __launch_bounds__(256) load_grid(InverseProblem p, Grid<T> g) {
  using R = Real<T>;
  const unsigned chunks = g.chunks(), chunk = blockIdx.x % chunks;
  const int64_t index = blockIdx.x / chunks;
  const GridMatrix<T> m(g, index);
  const int first = int(chunk) * Grid<T>::kChunk, rows = min(Grid<T>::kChunk, g.n - first);
  const S* a = static_cast<const S*>(p.a) + (index * g.n + first) * g.n;
  R size = 0;
  bool spoiled = false;
  each_number(rows, g.n, [&](int i, int j) {
    const T number = Storage<S>::load(a[int64_t(i) * g.n + j]);
    size = fmax(size, largest_part(number));  // not that of a NaN
    spoiled |= !is_finite(number);
    m.matrix[(first + i) * g.stride + j] = number;
  });
  if (int(threadIdx.x) < rows) m.order[first + threadIdx.x] = -1;
  size = block_size(shared_memory<SizeShared<R>>(), size, spoiled);
  if (threadIdx.x == 0) {
    m.sizes[chunk] = size;
    m.spoiled[chunk] = spoiled;
  }
}

// Multiplies the matrices that are too large or too small, in the same blocks.
template <class T>
__global__ void __launch_bounds__(256) scale_grid(Grid<T> g) {
  using R = Real<T>;
  const unsigned chunks = g.chunks(), chunk = blockIdx.x % chunks;
  const GridMatrix<T> m(g, blockIdx.x / chunks);
  R size = 0;
  bool spoiled = false;
  for (unsigned c = threadIdx.x; c < chunks; c += blockDim.x) {
    size = fmax(size, m.sizes[c]);
    spoiled |= m.spoiled[c] != 0;
  }
  size = block_size(shared_memory<SizeShared<R>>(), size, spoiled);
  const int shift = Range<R>::shift(size);
  if (chunk == 0 && threadIdx.x == 0) {
    m.info = 0;
    m.shift = shift;
    m.any_spoiled = spoiled;
  }
  if (!shift) return;
  const int first = int(chunk) * Grid<T>::kChunk;
  each_number(min(Grid<T>::kChunk, g.n - first), g.n, [&](int i, int j) {
    T& number = m.matrix[(first + i) * g.stride + j];
    number = multiply(number, Range<R>::power(shift));
  });
}

// Writes a few rows of the inverse per block, rows and columns put in order. staged: the rows fit into shared
// memory, where reading them out of order is cheap.
template <class S, class T = typename Storage<S>::T>
__global__ void __launch_bounds__(256) store_grid(InverseProblem p, Grid<T> g, bool staged) {
  const unsigned chunks = (g.n + Grid<T>::kOutputChunk - 1) / Grid<T>::kOutputChunk;
  const int first = int(blockIdx.x % chunks) * Grid<T>::kOutputChunk;
  const int rows = min(Grid<T>::kOutputChunk, g.n - first);
  const int64_t index = blockIdx.x / chunks;
  const GridMatrix<T> m(g, index);
  const int info = m.info;
  auto* rows_shared = &shared_memory<T>();
  if (staged && !info) {
    for (int i = 0; i < rows; ++i) {
      const T* row = m.matrix + m.pivot_rows[first + i] * g.stride;
      for (int j = int(threadIdx.x); j < g.n; j += int(blockDim.x)) {
        rows_shared[i * g.n + j] = row[j];
      }
    }
    __syncthreads();
  }
  const Real<T> power = Range<Real<T>>::power(m.shift);
  S* x = static_cast<S*>(p.x) + (index * g.n + first) * g.n;
  for (int j = int(threadIdx.x); j < g.n; j += int(blockDim.x)) {
    const int from = info ? 0 : m.order[j];
    for (int i = 0; i < rows; ++i) {
      const T number = info     ? not_a_number(T(0))
                       : staged ? rows_shared[i * g.n + from]
                                : m.matrix[m.pivot_rows[first + i] * g.stride + from];
      x[int64_t(i) * g.n + j] = Storage<S>::store(multiply(number, power));
    }
  }
  if (first) return;
  __syncthreads();  // the shared memory changes its owner
  store_results(p, index, info, m.pivots, m.pivot_rows, m.any_spoiled != 0, m.shift,
                shared_memory<SizeShared<Real<T>>>().votes);
}

// A grid of `each` blocks per matrix; never more than 2³¹ − 1, or the matrices would not fit into memory.
template <class... Parameters, class... Arguments>
void launch_each(void (*kernel)(Parameters...), int64_t batch, int64_t each, int threads,
                 size_t shared_bytes, cudaStream_t stream, Arguments... arguments) {
  launch_kernel(kernel, unsigned(batch * each), unsigned(threads), shared_bytes, stream,
                arguments...);
}

template <class T>
void launch_steps(const Grid<T>& g, const GridSteps& steps, int64_t batch, cudaStream_t stream) {
  using Q = Tile<T>;
  auto parts = [](int64_t count, int64_t size) { return (count + size - 1) / size; };
  const int64_t columns = steps.column_end - steps.column;
  // Few columns: small blocks.
  const int threads = columns <= 64 ? 64 : 128;
  launch_each(pivot_rows_grid<T>, batch, parts(columns, threads), threads,
              sizeof(PivotRowsShared<T>), stream, g, steps);
  launch_each(update_grid<T>, batch, parts(g.n, Q::kTileRows) * parts(columns, Q::kTileColumns),
              Q::kThreads, sizeof(TileShared<T>), stream, g, steps);
}

// panel_rows: above, a thread of a panel has several rows (tests make it small).
template <class S>
void launch_inverse_grid(const InverseProblem& p, void* scratch, cudaStream_t stream,
                         int panel_rows = Grid<typename Storage<S>::T>::kPanelThreads) {
  using T = typename Storage<S>::T;
  using G = Grid<T>;
  const G g(p.n, scratch);
  const int n = g.n, threads = G::kThreads;
  launch_each(load_grid<S>, p.batch, g.chunks(), threads, sizeof(SizeShared<Real<T>>), stream, p,
              g);
  launch_each(scale_grid<T>, p.batch, g.chunks(), threads, sizeof(SizeShared<Real<T>>), stream, g);
  for (int k = 0; k < n; k += G::kSteps) {
    const int count = std::min(G::kSteps, n - k);
    for (int first = 0; first < count; first += G::kWidth) {
      const int width = std::min(G::kWidth, count - first), last = first + width;
      if (n <= panel_rows) {
        launch_each(panel_grid<T>, p.batch, 1, (n + kWarp - 1) / kWarp * kWarp,
                    sizeof(GridPanelShared<T>), stream, g, k, first, width);
      } else {
        launch_each(tall_panel_grid<T>, p.batch, 1, panel_rows, sizeof(TallPanelShared<T>), stream,
                    g, k, first, width);
      }
      if (last < count) {
        launch_steps(g, {k, first, last, k + last, k + count, k}, p.batch, stream);
      }
    }
    launch_steps(g, {k, 0, count, 0, n, k + count}, p.batch, stream);
  }
  const size_t rows = sizeof(T) * G::kOutputChunk * n;
  const bool staged = rows <= 48 << 10;
  launch_each(store_grid<S>, p.batch, (n + G::kOutputChunk - 1) / G::kOutputChunk, threads,
              std::max(staged ? rows : 0, sizeof(SizeShared<Real<T>>)), stream, p, g, staged);
}

}  // namespace jaxinv::cuda
