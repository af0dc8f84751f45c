// Algorithm: blocked in-place Gauss-Jordan with partial pivoting, one matrix at a time in shared memory. A
// panel is eliminated over all rows (cuda/panel.cuh), its pivot rows are brought to their own steps, then a
// register-tiled product updates everything; rows never move, the store puts rows and columns in order.
// Lanes: two rows per thread in the panel, a column in the pivot rows, tiles of 8 rows × 16 bytes in the
// product.
// n: from where warps end to what shared memory holds. dtypes: all; half types are computed in float32.
// Memory: the matrix, the panel's factors and multiples in shared memory; one read, one write of global memory.
#pragma once

#include "core/workspace.h"
#include "cuda/results.cuh"

namespace jaxinv::cuda {

// The head of a block's shared memory: the matrix, multiples and factors follow.
template <class V>
struct BlockShared {
  static constexpr int kWidth = block_width(sizeof(V));
  static constexpr int kThreads = block_threads(sizeof(V));  // at most, one per column
  static constexpr int kPanelRows = 2, kPanelWarps = (kThreads / kWarpSize + 1) / 2;
  using BlockPanel = Panel<V, kWidth, kPanelRows, kPanelWarps>;

  PanelShared<V, kWidth, kPanelWarps> panel;
  alignas(16) V lower[kWidth * kWidth];
  V pivots[kThreads];
  Division<V> divisions[kWidth];
  int32_t pivot_rows[kThreads];
  int32_t order[kThreads];  // the step that a row was the pivot row of, or −1
  int32_t failed;           // what the panel returned
  SizeShared<typename Parts<V>::Real> size;
};

// matrix −= factors · multiples, in tiles; where a pivot row or a column of the panel k … k + width − 1 stood,
// the product alone.
template <class V>
__device__ __forceinline__ void update_matrix(const BlockShared<V>& s, V* matrix, const V* factors,
                                              const V* multiples, int n, int k, int width) {
  constexpr int kRows = 8, kColumns = kPack<V>, kGroup = 8;
  const int stride = block_row(n, sizeof(V)), column_stride = block_column(n);
  const int row_tiles = column_stride / kRows, column_tiles = (n + kColumns - 1) / kColumns;
  // Neighbours: eight tiles of a row, then the next row.
  for (int t = int(threadIdx.x); t < row_tiles * column_tiles; t += int(blockDim.x)) {
    const int group = t / (kGroup * row_tiles), rest = t - group * kGroup * row_tiles;
    const int wide = min(kGroup, column_tiles - kGroup * group);
    const int i = rest / wide * kRows, j = (group * kGroup + rest % wide) * kColumns;
    const bool own = j >= k && j < k + width;
    Word<V> x[kRows];
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const bool fresh = own || i + r >= n || s.order[i + r] >= k;
      if (!fresh) x[r] = load_word(matrix + (i + r) * stride + j);
      JAXINV_UNROLL
      for (int e = 0; e < kColumns; ++e) x[r].at[e] = fresh ? V(0) : x[r].at[e];
    }
#pragma unroll 4
    for (int c = 0; c < width; ++c) {
      const Word<V> multiple = load_word(multiples + c * stride + j);
      JAXINV_UNROLL
      for (int r = 0; r < kRows; r += kColumns) {
        const Word<V> factor = load_word(factors + c * column_stride + i + r);
        JAXINV_UNROLL
        for (int f = 0; f < kColumns; ++f) {
          JAXINV_UNROLL
          for (int e = 0; e < kColumns; ++e) {
            x[r + f].at[e] = scalar::fnma(factor.at[f], multiple.at[e], x[r + f].at[e]);
          }
        }
      }
    }
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) {
      if (i + r < n) store_word(matrix + (i + r) * stride + j, x[r]);
    }
  }
}

// One panel: steps k … k + width − 1 on the whole matrix. Returns the first bad step (1-based) or 0.
template <class V>
__device__ __forceinline__ int eliminate_block(BlockShared<V>& s, V* matrix, V* factors,
                                               V* multiples, int n, int k, int width) {
  using B = BlockShared<V>;
  constexpr int kWidth = B::kWidth;
  const int stride = block_row(n, sizeof(V)), column_stride = block_column(n);
  const int thread = int(threadIdx.x);
  const int panel_threads = B::BlockPanel::threads_for(n);
  if (thread < panel_threads) {
    typename B::BlockPanel panel(s.panel, factors, column_stride, panel_threads, width);
    panel.load(matrix + k, stride, n, n - k, s.order);
    const int failed = panel.eliminate();
    JAXINV_UNROLL
    for (int r = 0; r < B::kPanelRows; ++r) {
      if (panel.own[r] >= 0) s.order[panel.row(r)] = k + panel.own[r];
    }
    if (thread < width) {
      s.pivots[k + thread] = s.panel.pivots[thread];
      s.pivot_rows[k + thread] = s.panel.pivot_rows[thread];
      s.divisions[thread] = Division<V>(s.panel.pivots[thread]);
    }
    if (thread == 0) s.failed = failed;
  }
  __syncthreads();
  if (s.failed) return k + s.failed;
  split_factors<kWidth>(factors, column_stride, s.lower, s.panel.pivot_rows, 0, width);
  __syncthreads();
  if (thread < n) {
    V y[kWidth];
    JAXINV_UNROLL
    for (int c = 0; c < kWidth; ++c) {
      const bool own = thread >= k && thread < k + width;
      y[c] = c >= width ? V(0)
             : own      ? V(thread == k + c)
                        : matrix[s.pivot_rows[k + c] * stride + thread];
    }
    solve_pivot_rows<kWidth, kWidth>(y, s.lower, s.divisions);
    JAXINV_UNROLL
    for (int c = 0; c < kWidth; ++c) multiples[c * stride + thread] = y[c];
  }
  __syncthreads();
  update_matrix(s, matrix, factors, multiples, n, k, width);
  __syncthreads();
  return 0;
}

template <class V>
__global__ void __launch_bounds__(block_threads(sizeof(V)), 1) inverse_block(InverseProblem p) {
  using B = BlockShared<V>;
  using R = typename Parts<V>::Real;
  B& s = shared_memory<B>();
  const int n = int(p.n), stride = block_row(n, sizeof(V)), thread = int(threadIdx.x);
  static_assert(sizeof(B) <= kBlockHead);
  V* matrix = reinterpret_cast<V*>(reinterpret_cast<unsigned char*>(&s) + kBlockHead);
  V* multiples = matrix + n * stride;
  V* factors = multiples + B::kWidth * stride;
  const int64_t index = blockIdx.x;

  R size = 0;
  bool finite = true;
  with_storage<V>(p.dtype, [&](auto storage) {
    const auto* a = static_cast<const decltype(storage)*>(p.a) + index * n * n;
    auto get = [&](int i, int j) { return a[i * n + j]; };
    move_numbers(n, n, get, [&](int i, int j, auto stored) {
      const V number = to_arithmetic(stored);
      size = fmax(size, largest_part(number));  // not that of a NaN
      finite &= is_finite(number);
      matrix[i * stride + j] = number;
    });
  });
  if (thread < n) s.order[thread] = -1;
  size = block_size(s.size, size, finite);
  const int shift = scalar::Range<R>::shift(size);
  const R power = scalar::Range<R>::power(shift);
  if (shift) {
    auto get = [&](int i, int j) { return matrix[i * stride + j] * power; };
    move_numbers(n, n, get, [&](int i, int j, V x) { matrix[i * stride + j] = x; });
  }
  __syncthreads();
  int info = 0;
  for (int k = 0; k < n && !info; k += B::kWidth) {
    // Opaque: addresses that stay in registers from panel to panel would crowd out the panel.
    info = eliminate_block(s, matrix, factors, multiples, opaque(n), k, min(B::kWidth, n - k));
  }
  with_storage<V>(p.dtype, [&](auto storage) {
    auto* x = static_cast<decltype(storage)*>(p.x) + index * n * n;
    auto get = [&](int i, int j) {
      return info ? not_a_number<V>() : matrix[s.pivot_rows[i] * stride + s.order[j]] * power;
    };
    move_numbers(n, n, get, [&](int i, int j, V number) { to_storage(number, x[i * n + j]); });
  });
  store_results(p, index, info, s.pivots, s.pivot_rows, finite, shift, s.size.votes);
}

template <class V>
void launch_inverse_block(const InverseProblem& p, const Context& context) {
  const int threads = int(p.n + kWarpSize - 1) / kWarpSize * kWarpSize;
  launch_kernel(inverse_block<V>, p.batch, threads, inverse_block_bytes(p.n, sizeof(V)), context,
                p);
}

}  // namespace jaxinv::cuda
