// Algorithm: y = −op(l) op(g) op(r), fused: t = op(g) op(r), then −op(l) t, as sums of multiples of rows.
// Lanes: one row of t and of y each, in registers; 1, 2 or 4 triples per warp. The rows of op(r) and of t are
// broadcast from shared memory in 16-byte words.
// n: above triple_product_thread_max to 32; registers for kN ≥ n columns. dtypes: all; half types are
// computed in float32.
// Memory: g (later y) and l with rows of odd length, op(r) (later t) with rows of whole words; each operand
// is read once, also where l is r.
#pragma once

#include "cuda/inverse_warp.cuh"

namespace jaxinv::cuda {

template <class V, int kN>
struct TripleProductShared {
  static constexpr int kLanes = lanes_per_matrix(kN), kMatrices = kWarpSize / kLanes;
  static constexpr int kStride = kN | 1;                           // at most
  static constexpr int kPacks = kN / kPack<V>, kRow = kPacks | 1;  // of op(r), in words
  static_assert(kN % kPack<V> == 0);
  Pack<V, kPack<V>> right[kMatrices * kN * kRow];
  V g[kMatrices * kN * kStride], l[kMatrices * kN * kStride];
};

template <class V, int kN>
constexpr int kTripleProductWarpWarps = warps_that_fit(sizeof(TripleProductShared<V, kN>));

// Row i of ± op(m) times the rows at `right`: m's number (i, k) stands at m[k * step].
template <bool kNegate, class V, int kN>
__device__ __forceinline__ void row_times(int n, const V* m, int step,
                                          const Pack<V, kPack<V>>* right, V (&row)[kN]) {
  constexpr int kPacks = kN / kPack<V>, kRow = kPacks | 1;
  JAXINV_UNROLL
  for (int j = 0; j < kN; ++j) row[j] = V(0);
#pragma unroll(sizeof(V) == 16 ? 1 : 2)
  for (int k = 0; k < n; ++k) {
    const V factor = kNegate ? -m[k * step] : m[k * step];
    JAXINV_UNROLL
    for (int q = 0; q < kPacks; ++q) {
      const Pack<V, kPack<V>> pack = right[k * kRow + q];
      JAXINV_UNROLL
      for (int j = 0; j < kPack<V>; ++j) {
        V& sum = row[q * kPack<V> + j];
        sum = scalar::fma(factor, pack.at[j], sum);
      }
    }
  }
}

template <class V, int kN>
__global__ void __launch_bounds__(kWarpSize* kTripleProductWarpWarps<V, kN>, 1)
    triple_product_warp(TripleProductProblem p) {
  using Shared = TripleProductShared<V, kN>;
  constexpr int kWarps = kTripleProductWarpWarps<V, kN>, kLanes = Shared::kLanes;
  Shared& shared = shared_memory<Shared[kWarps]>()[threadIdx.x / kWarpSize];
  const int n = int(p.n), stride = n | 1;
  const int matrix = lane_index() / kLanes, i = lane_index() % kLanes;
  const Rows rows(n);
  auto put_right = [&](int r, int j, V x) {
    const int m = rows.row(r), row = r - m * n;
    const int at = p.transpose_r ? row : j;
    const int k = (p.transpose_r ? j : row) + m * n;
    shared.right[k * Shared::kRow + at / kPack<V>].at[at % kPack<V>] = x;
  };
  const int64_t step = int64_t(gridDim.x) * kWarps * Shared::kMatrices;
  for (int64_t first = (int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarpSize) * Shared::kMatrices;
       first < p.batch; first += step) {
    const int count =
        int(p.batch - first < Shared::kMatrices ? p.batch - first : Shared::kMatrices);
    const bool has_row = matrix < count && i < n;
    with_storage<V>(p.dtype, [&](auto s) {
      auto load = [&](const void* src, auto&& put) {
        rows.load(static_cast<const decltype(s)*>(src) + first * n * n, count * n * n, put);
      };
      load(p.g, [&](int r, int j, V x) { shared.g[r * stride + j] = x; });
      load(p.l, [&](int r, int j, V x) {
        shared.l[r * stride + j] = x;
        if (p.l == p.r) put_right(r, j, x);
      });
      if (p.l != p.r) load(p.r, put_right);
    });
    __syncwarp();
    V row[kN];
    const int tile = matrix * n * stride;
    Pack<V, kPack<V>>* right = shared.right + matrix * n * Shared::kRow;
    auto multiply_rows = [&](auto negate, const V* m, bool transpose) {
      if (has_row) {
        row_times<decltype(negate)::value>(n, m + tile + i * (transpose ? 1 : stride),
                                           transpose ? stride : 1, right, row);
      }
      __syncwarp();
    };
    multiply_rows(std::false_type(), shared.g, p.transpose_g);
    if (has_row) {
      JAXINV_UNROLL
      for (int q = 0; q < Shared::kPacks; ++q) {
        Pack<V, kPack<V>> pack;
        JAXINV_UNROLL
        for (int j = 0; j < kPack<V>; ++j) pack.at[j] = row[q * kPack<V> + j];
        right[i * Shared::kRow + q] = pack;
      }
    }
    __syncwarp();
    multiply_rows(std::true_type(), shared.l, p.transpose_l);
    if (has_row) {
      JAXINV_UNROLL
      for (int j = 0; j < kN; ++j) {
        if (j < n) shared.g[tile + i * stride + j] = row[j];
      }
    }
    __syncwarp();
    with_storage<V>(p.dtype, [&](auto s) {
      rows.store(static_cast<decltype(s)*>(p.y) + first * n * n, count * n * n,
                 [&](int r, int j) { return shared.g[r * stride + j]; });
    });
    // What the next round writes first, this lane alone has read.
  }
}

}  // namespace jaxinv::cuda
