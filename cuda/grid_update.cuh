// Algorithm: matrix −= factors · multiples, the product of all steps of a panel, for a batch of matrices.
// Lanes: a block of 256 threads per tile of 128 × 128 (float32), each with 8 × 8 numbers in registers; factors
// and multiples come through shared memory in slabs, the next one on its way while one is used.
// n: any. dtypes: float, double and their complex. Memory: scratch, see cuda/grid.cuh.
#pragma once

#include "cuda/grid.cuh"

namespace jaxinv::cuda {

template <class V>
struct Tile {
  // Numbers per thread: 64 registers of sums whatever the type.
  static constexpr int kRows = sizeof(V) == 16 ? 4 : 8, kColumns = sizeof(V) == 4 ? 8 : 4;
  static constexpr int kUnroll = sizeof(V) == 4 ? 8 : 1;
  static constexpr int kSlab = sizeof(V) == 16 ? 4 : 8;  // steps
  // Threads of a warp: 4 × 8; warps: 4 × 2.
  static constexpr int kWarpRows = 4 * kRows, kWarpColumns = 8 * kColumns;
  static constexpr int kTileRows = 4 * kWarpRows, kTileColumns = 2 * kWarpColumns;
  static constexpr int kThreads = 256;
};

template <class V>
struct TileShared {
  alignas(16) V factors[2][Tile<V>::kSlab][Tile<V>::kTileRows];
  alignas(16) V multiples[2][Tile<V>::kSlab][Tile<V>::kTileColumns];
};

// kLength numbers of each step of a slab on their way into shared memory, by way of registers.
template <class V, int kLength>
class Slab {
 public:
  // from: the first step's numbers, `length` of which are there; zeros stand for the others.
  __device__ __forceinline__ Slab(const V* from, int64_t stride, int64_t length)
      : next_(from + step(0) * stride + column()), stride_(stride), inside_(column() < length) {}
  // Of the next slab, `steps` of which are left.
  __device__ __forceinline__ void load(int steps) {
    JAXINV_UNROLL
    for (int u = 0; u < kCount; ++u) {
      const bool inside = inside_ && step(u) < steps;
      if (inside) packs_[u] = load_word(next_ + u * kApart * stride_);
      JAXINV_UNROLL
      for (int e = 0; e < kPack; ++e) packs_[u].at[e] = inside ? packs_[u].at[e] : V(0);
    }
    next_ += Tile<V>::kSlab * stride_;
  }
  __device__ __forceinline__ void store(V (&to)[Tile<V>::kSlab][kLength]) const {
    JAXINV_UNROLL
    for (int u = 0; u < kCount; ++u) store_word(&to[step(u)][column()], packs_[u]);
  }

 private:
  static constexpr int kPack = cuda::kPack<V>, kRow = kLength / kPack;
  static constexpr int kCount = Tile<V>::kSlab * kRow / Tile<V>::kThreads;
  static constexpr int kApart = Tile<V>::kThreads / kRow;  // steps between the packs of a thread
  static_assert(kApart * kRow == Tile<V>::kThreads && kCount * kApart == Tile<V>::kSlab);
  __device__ static int step(int u) { return int(threadIdx.x) / kRow + u * kApart; }
  __device__ static int column() { return int(threadIdx.x) % kRow * kPack; }

  const V* next_;
  int64_t stride_;
  bool inside_;
  Word<V> packs_[kCount];
};

// Blocks along the rows of tiles, then along their columns, then along the batch.
template <class V>
__global__ void __launch_bounds__(256, 2) update_grid(Grid<V> g, GridSteps steps) {
  using Q = Tile<V>;
  constexpr int kPack = cuda::kPack<V>;
  const unsigned row_tiles = (g.n + Q::kTileRows - 1) / Q::kTileRows;
  const unsigned column_tiles =
      (steps.column_end - steps.column + Q::kTileColumns - 1) / Q::kTileColumns;
  const GridMatrix<V> m(g, blockIdx.x / (row_tiles * column_tiles));
  if (m.info) return;
  auto& s = shared_memory<TileShared<V>>();
  const int row = int(blockIdx.x % row_tiles) * Q::kTileRows;
  const int column = steps.column + int(blockIdx.x / row_tiles % column_tiles) * Q::kTileColumns;
  const int lane = lane_index(), warp = int(threadIdx.x) / kWarpSize;
  // This thread's first number within the tile; its others follow in packs, 4 or 8 packs apart.
  const int i0 = warp / 2 * Q::kWarpRows + lane / 8 * kPack;
  const int j0 = warp % 2 * Q::kWarpColumns + lane % 8 * kPack;
  const bool active =
      row + warp / 2 * Q::kWarpRows < g.n && column + warp % 2 * Q::kWarpColumns < steps.column_end;

  Slab<V, Q::kTileRows> factors(m.factors + steps.first * g.stride + row, g.stride, g.stride - row);
  Slab<V, Q::kTileColumns> multiples(m.multiples + steps.first * g.stride + column, g.stride,
                                     steps.column_end - column);
  int left = steps.last - steps.first;
  factors.load(left);
  multiples.load(left);
  // Visits the packs of this thread: their place in x and in the matrix, and whether they are inside.
  auto each_pack = [&](int row, auto&& visit) {
    JAXINV_UNROLL
    for (int r = 0; r < Q::kRows; ++r) {
      const int i = row + i0 + r / kPack * 4 * kPack + r % kPack;
      JAXINV_UNROLL
      for (int c = 0; c < Q::kColumns / kPack; ++c) {
        const int j = column + j0 + c * 8 * kPack;
        visit(r, c, i, j, i < g.n && j < steps.column_end);
      }
    }
  };
  // Where a pivot row or a column of the panel stood, the product alone.
  bool kept[Q::kRows] = {};
  each_pack(row, [&](int r, int c, int i, int, bool) {
    if (c || i >= g.n) return;
    const int order = m.order[i] - steps.k;
    kept[r] = order < steps.first || order >= steps.last;
  });
  Word<V> x[Q::kRows][Q::kColumns / kPack];
  each_pack(row, [&](int r, int c, int i, int j, bool inside) {
    x[r][c] = {};
    if (inside && kept[r] && (j < steps.k || j >= steps.own_end)) {
      x[r][c] = load_word(m.matrix + i * g.stride + j);
    }
  });
  factors.store(s.factors[0]);
  multiples.store(s.multiples[0]);
  __syncthreads();
#pragma unroll 1
  for (int turn = 0; left > 0; turn ^= 1) {
    left -= Q::kSlab;
    if (left > 0) {
      factors.load(left);
      multiples.load(left);
    }
    if (active) {
#pragma unroll Q::kUnroll
      for (int d = 0; d < Q::kSlab; ++d) {
        Word<V> factor[Q::kRows / kPack], multiple[Q::kColumns / kPack];
        JAXINV_UNROLL
        for (int u = 0; u < Q::kRows / kPack; ++u) {
          factor[u] = load_word(&s.factors[turn][d][i0 + u * 4 * kPack]);
        }
        JAXINV_UNROLL
        for (int u = 0; u < Q::kColumns / kPack; ++u) {
          multiple[u] = load_word(&s.multiples[turn][d][j0 + u * 8 * kPack]);
        }
        JAXINV_UNROLL
        for (int r = 0; r < Q::kRows; ++r) {
          JAXINV_UNROLL
          for (int c = 0; c < Q::kColumns; ++c) {
            V& y = x[r][c / kPack].at[c % kPack];
            y = scalar::fnma(factor[r / kPack].at[r % kPack], multiple[c / kPack].at[c % kPack], y);
          }
        }
      }
    }
    if (left > 0) {
      factors.store(s.factors[turn ^ 1]);
      multiples.store(s.multiples[turn ^ 1]);
    }
    __syncthreads();
  }
  // Addresses that waited in registers for the end of the loop would not fit: they are computed again.
  each_pack(opaque(row), [&](int r, int c, int i, int j, bool inside) {
    if (inside) store_word(m.matrix + i * g.stride + j, x[r][c]);
  });
}

}  // namespace jaxinv::cuda
