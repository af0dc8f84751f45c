// Algorithm: blocked in-place Gauss-Jordan with partial pivoting, one matrix at a time in shared memory. A panel
// is eliminated over all rows (cuda/panel.cuh), its pivot rows are brought to their own steps, then a
// register-tiled product updates everything; rows never move, the store puts rows and columns in order.
// Lanes: a thread per row in the panel, per column in the pivot rows; tiles of 8 rows × 16 bytes in the product.
// n: from 33 to what shared memory holds. dtypes: all; half types are computed in float32.
// Memory: the matrix, the panel's factors and multiples in shared memory; one read, one write of global memory.
#pragma once

#include "cuda/results.cuh"

namespace jaxinv::cuda {

// A block's shared memory: a head of fixed size, then the matrix, factors and multiples.
template <class T>
struct BlockShared {
  static constexpr int kWidth = sizeof(T) == 4 ? 16 : sizeof(T) == 8 ? 8 : 4;  // of a panel
  static constexpr int kThreads = 256;                                         // at most
  static constexpr int kPack = Pack<T>::kSize;
  static constexpr int kRows = 8;  // of a tile

  PanelShared<T, kWidth, kThreads / kWarp> panel;
  alignas(16) T lower[kWidth * kWidth];
  T pivots[kThreads];
  Division<T> divisions[kWidth];
  int32_t pivot_rows[kThreads];
  int32_t order[kThreads];  // the step that a row was the pivot row of, or −1
  SizeShared<Real<T>> size;

  // Numbers in a row of the matrix: whole packs, an odd number of them, so that rows fall into all banks.
  __host__ __device__ static int row_stride(int n) { return ((n + kPack - 1) / kPack | 1) * kPack; }
  __host__ __device__ static int column_stride(int n) { return (n + kRows - 1) / kRows * kRows; }
  __host__ static size_t bytes(int n) {
    return sizeof(BlockShared) +
           sizeof(T) * (size_t(n + kWidth) * row_stride(n) + size_t(kWidth) * column_stride(n));
  }
  __host__ static int threads(int n) { return (n + kWarp - 1) / kWarp * kWarp; }
  // The largest matrix for so many bytes of shared memory.
  __host__ static int max_n(size_t shared_bytes) {
    int n = 0;
    while (n < kThreads && bytes(n + 1) <= shared_bytes) ++n;
    return n;
  }
};

// matrix −= factors · multiples, in tiles; where a pivot row or a column of the panel k … k + width − 1 stood, the
// product alone.
template <class T>
__device__ __forceinline__ void update_matrix(const BlockShared<T>& s, T* matrix, const T* factors,
                                              const T* multiples, int n, int k, int width) {
  using B = BlockShared<T>;
  constexpr int kRows = B::kRows, kColumns = B::kPack, kGroup = 8;
  const int stride = B::row_stride(n), column_stride = B::column_stride(n);
  const int row_tiles = column_stride / kRows, column_tiles = (n + kColumns - 1) / kColumns;
  // Neighbours: eight tiles of a row, then the next row.
  for (int t = int(threadIdx.x); t < row_tiles * column_tiles; t += int(blockDim.x)) {
    const int group = t / (kGroup * row_tiles), rest = t - group * kGroup * row_tiles;
    const int wide = min(kGroup, column_tiles - kGroup * group);
    const int i = rest / wide * kRows, j = (group * kGroup + rest % wide) * kColumns;
    const bool own = j >= k && j < k + width;
    Pack<T> x[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const bool fresh = own || i + r >= n || s.order[i + r] >= k;
      if (!fresh) x[r] = load_pack(matrix + (i + r) * stride + j);
#pragma unroll
      for (int e = 0; e < kColumns; ++e) x[r].v[e] = fresh ? T(0) : x[r].v[e];
    }
#pragma unroll 4
    for (int c = 0; c < width; ++c) {
      const Pack<T> multiple = load_pack(multiples + c * stride + j);
#pragma unroll
      for (int r = 0; r < kRows; r += kColumns) {
        const Pack<T> factor = load_pack(factors + c * column_stride + i + r);
#pragma unroll
        for (int f = 0; f < kColumns; ++f) {
#pragma unroll
          for (int e = 0; e < kColumns; ++e) {
            x[r + f].v[e] = fnma(factor.v[f], multiple.v[e], x[r + f].v[e]);
          }
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (i + r < n) store_pack(matrix + (i + r) * stride + j, x[r]);
    }
  }
}

// One panel: steps k … k + width − 1 on the whole matrix. Returns the first bad step (1-based) or 0.
template <class T>
__device__ __forceinline__ int eliminate_block(BlockShared<T>& s, T* matrix, T* factors,
                                               T* multiples, int n, int k, int width) {
  using B = BlockShared<T>;
  constexpr int kWidth = B::kWidth;
  const int stride = B::row_stride(n), column_stride = B::column_stride(n);
  const int thread = int(threadIdx.x);
  Panel<T, kWidth, B::kThreads / kWarp> panel{s.panel, factors, column_stride, width};
  panel.own = thread < n && s.order[thread] < 0 ? panel.kFree : panel.kTaken;
#pragma unroll
  for (int j = 0; j < kWidth; j += B::kPack) {
    Pack<T> pack;
    const bool inside = thread < n && k + j < n;
    if (inside) pack = load_pack(matrix + thread * stride + k + j);
#pragma unroll
    for (int e = 0; e < B::kPack; ++e) panel.x[j + e] = inside ? pack.v[e] : T(0);
  }
  const int failed = panel.eliminate();
  if (thread < width) {
    s.pivots[k + thread] = s.panel.pivots[thread];
    s.pivot_rows[k + thread] = s.panel.pivot_rows[thread];
    s.divisions[thread] = Division<T>(s.panel.pivots[thread]);
  }
  if (failed) return k + failed;
  if (panel.own >= 0) s.order[thread] = k + panel.own;
  __syncthreads();
  split_factors<kWidth>(factors, column_stride, s.lower, s.panel.pivot_rows, 0, width);
  __syncthreads();
  if (thread < n) {
    T y[kWidth];
#pragma unroll
    for (int c = 0; c < kWidth; ++c) {
      const bool own = thread >= k && thread < k + width;
      y[c] = c >= width ? T(0)
             : own      ? T(thread == k + c)
                        : matrix[s.pivot_rows[k + c] * stride + thread];
    }
    solve_pivot_rows<kWidth, kWidth>(y, s.lower, s.divisions);
#pragma unroll
    for (int c = 0; c < kWidth; ++c) multiples[c * stride + thread] = y[c];
  }
  __syncthreads();
  update_matrix(s, matrix, factors, multiples, n, k, width);
  __syncthreads();
  return 0;
}

template <class S>
__global__ void __launch_bounds__(256) inverse_block(InverseProblem p) {
  using T = typename Storage<S>::T;
  using B = BlockShared<T>;
  using R = Real<T>;
  B& s = shared_memory<B>();
  const int n = int(p.n), stride = B::row_stride(n), thread = int(threadIdx.x);
  T* matrix = reinterpret_cast<T*>(&s + 1);
  T* multiples = matrix + n * stride;
  T* factors = multiples + B::kWidth * stride;
  const int64_t index = blockIdx.x;
  const S* a = static_cast<const S*>(p.a) + index * n * n;
  S* x = static_cast<S*>(p.x) + index * n * n;

  R size = 0;
  bool spoiled = false;
  each_number(n, n, [&](int i, int j) {
    const T number = Storage<S>::load(a[i * n + j]);
    size = fmax(size, largest_part(number));  // not that of a NaN
    spoiled |= !is_finite(number);
    matrix[i * stride + j] = number;
  });
  if (thread < n) s.order[thread] = -1;
  size = block_size(s.size, size, spoiled);
  const int shift = Range<R>::shift(size);
  const R power = Range<R>::power(shift);
  if (shift) {
    each_number(n, n, [&](int i, int j) {
      matrix[i * stride + j] = multiply(matrix[i * stride + j], power);
    });
  }
  __syncthreads();
  int info = 0;
  for (int k = 0; k < n && !info; k += B::kWidth) {
    info = eliminate_block(s, matrix, factors, multiples, n, k, min(B::kWidth, n - k));
  }
  each_number(n, n, [&](int i, int j) {
    const T number = info ? not_a_number(T(0)) : matrix[s.pivot_rows[i] * stride + s.order[j]];
    x[i * n + j] = Storage<S>::store(multiply(number, power));
  });
  store_results(p, index, info, s.pivots, s.pivot_rows, spoiled, shift, s.size.votes);
}

}  // namespace jaxinv::cuda
