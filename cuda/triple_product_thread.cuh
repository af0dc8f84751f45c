// Algorithm: y = −op(l) op(g) op(r), fused, unrolled.
// Lanes: one triple of matrices per thread, in its registers.
// n: 1 to triple_product_thread_max, a template parameter. dtypes: all; half types are computed in float32.
// Memory: as in inverse_thread; l is read once where it is r as well.
#pragma once

#include "cuda/inverse_thread.cuh"

namespace jaxinv::cuda {

template <class V, int N>
constexpr int kTripleProductThreadWarps = warps_that_fit(3 * sizeof(Slots<V, N * N>));

// op(m), from its slot.
template <class V, int N>
__device__ __forceinline__ void read_matrix(const Slots<V, N * N>& slots, int slot, bool transpose,
                                            V (&out)[N][N]) {
  V entries[N * N];
  slots.read(slot, entries);
  JAXINV_UNROLL
  for (int e = 0; e < N * N; ++e) {
    out[e / N][e % N] = transpose ? entries[e % N * N + e / N] : entries[e];
  }
}

template <class V, int N>
__global__ void __launch_bounds__(kWarpSize* kTripleProductThreadWarps<V, N>)
    triple_product_thread(TripleProductProblem p) {
  constexpr int kWarps = kTripleProductThreadWarps<V, N>;
  const int warp = int(threadIdx.x) / kWarpSize, lane = lane_index();
  // l, g and, unless it is l, r of each warp.
  auto* slots = &shared_memory<Slots<V, N * N>[3]>()[0] + warp * (p.l == p.r ? 2 : 3);
  auto &l_slots = slots[0], &g_slots = slots[1], &r_slots = slots[p.l == p.r ? 0 : 2];
  const int64_t stride = int64_t(gridDim.x) * kWarps * kWarpSize;
  for (int64_t first = (int64_t(blockIdx.x) * kWarps + warp) * kWarpSize; first < p.batch;
       first += stride) {
    const int count = int(p.batch - first < kWarpSize ? p.batch - first : kWarpSize);
    with_storage<V>(p.dtype, [&](auto s) {
      auto load = [&](const void* src, Slots<V, N * N>& to) {
        load_slots(static_cast<const decltype(s)*>(src) + first * (N * N), count, to);
      };
      load(p.l, l_slots);
      load(p.g, g_slots);
      if (p.r != p.l) load(p.r, r_slots);
    });
    __syncwarp();
    const int slot = lane < count ? lane : 0;
    V r[N][N], x[N][N];
    read_matrix<V, N>(r_slots, slot, p.transpose_r, r);
    read_matrix<V, N>(g_slots, slot, p.transpose_g, x);
    auto times = [](V(&m)[N][N], const V(&right)[N][N], auto first_term, auto next_term) {
      JAXINV_UNROLL
      for (int i = 0; i < N; ++i) {
        V sum[N];
        JAXINV_UNROLL
        for (int j = 0; j < N; ++j) {
          sum[j] = first_term(m[i][0], right[0][j]);
          JAXINV_UNROLL
          for (int k = 1; k < N; ++k) sum[j] = next_term(m[i][k], right[k][j], sum[j]);
        }
        JAXINV_UNROLL
        for (int j = 0; j < N; ++j) m[i][j] = sum[j];
      }
    };
    times(x, r, [](V a, V b) { return a * b; }, [](V a, V b, V c) { return scalar::fma(a, b, c); });
    read_matrix<V, N>(l_slots, slot, p.transpose_l, r);
    times(
        r, x, [](V a, V b) { return -(a * b); },
        [](V a, V b, V c) { return scalar::fnma(a, b, c); });
    V entries[N * N];
    JAXINV_UNROLL
    for (int e = 0; e < N * N; ++e) entries[e] = r[e / N][e % N];
    if (lane < count) g_slots.write(lane, entries);
    __syncwarp();
    with_storage<V>(p.dtype, [&](auto s) {
      store_slots(g_slots, count, static_cast<decltype(s)*>(p.y) + first * (N * N));
    });
    __syncwarp();
  }
}

}  // namespace jaxinv::cuda
