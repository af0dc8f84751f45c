// Algorithm: in-place Gauss-Jordan with partial pivoting. Rows never move: lanes are marked as their row is
// chosen, and rows and columns are put in order at the store. Pivot rows stay as they are until then, too, and
// are divided by their pivots at the end: a step is one multiply-add per number.
// Lanes: one row each, in registers; 1, 2 or 4 matrices per warp. At each step a row is rotated by one
// column, so that the column in turn is always the first and the loop over steps needs no unrolling.
// n: above inverse_thread_max to 32; registers for kN ≥ n columns. dtypes: all; half types are computed in
// float32.
// Memory: a tile of n rows of odd length in shared memory, for the way in and out; two pivot rows.
#pragma once

#include "core/range.h"
#include "cuda/staging.cuh"

namespace jaxinv::cuda {

constexpr int lanes_per_matrix(int n) { return n <= 8 ? 8 : n <= 16 ? 16 : 32; }

template <class V, int kN>
struct InverseWarpShared {
  using R = typename Parts<V>::Real;
  static constexpr int kLanes = lanes_per_matrix(kN), kMatrices = kWarpSize / kLanes;
  static constexpr int kStride = kN | 1;  // of the tile, at most
  static constexpr int kPacks = kN / kPack<V>;
  static_assert(kN % kPack<V> == 0);
  struct PivotRow {
    Pack<V, kPack<V>> at[kPacks];
    V inverse;  // of the pivot times `scale`
    R scale;
  };
  V tile[kMatrices * kN * kStride];
  PivotRow row[2][kMatrices];
  int pivot_row[kMatrices][kN];  // the row chosen at each step
};

template <class V, int kN>
constexpr int kInverseWarpWarps = sizeof(InverseWarpShared<V, kN>) * 4 <= kSharedDefault ? 4 : 2;

// core/range.h for rows that are not divided by their pivots: in the course of the elimination they reach the
// size of the matrix times its condition number.
template <class R>
struct UndividedRange {
  static constexpr int kShift = sizeof(R) == 4 ? 32 : 256;
  static constexpr R kUp = sizeof(R) == 4 ? R(0x1p32) : R(0x1p256);
  static constexpr R kHuge = sizeof(R) == 4 ? R(0x1p100) : R(0x1p900);

  static __device__ __forceinline__ int shift(R size) {
    return size > kHuge ? -kShift : size < scalar::Range<R>::kTiny && size > 0 ? kShift : 0;
  }
  static __device__ __forceinline__ R power(int shift) { return shift > 0 ? kUp : 1 / kUp; }
};

// The rest of a lane's state beside its row.
template <class V>
struct InverseWarpLane {
  using R = typename Parts<V>::Real;
  int step = -1;  // at which its row was chosen
  V pivot = V(1), inverse = V(1);
  R scale = R(1);
  int info = 0;             // of the matrix
  bool zero_pivot = false;  // whether it failed for that
};

// n steps of elimination on row[0 … kN − 1]. Column k of the result ends in row[kN − n + k].
template <class V, int kN>
__device__ __forceinline__ void eliminate(int n, int i, V (&row)[kN], InverseWarpLane<V>& lane,
                                          InverseWarpShared<V, kN>& shared) {
  using Shared = InverseWarpShared<V, kN>;
  using R = typename Parts<V>::Real;
  const int matrix = lane_index() / Shared::kLanes;
  auto key = [&](V x) { return i < n && lane.step < 0 ? key_bits(x) : decltype(key_bits(x))(-1); };
  int chosen = group_argmax<Shared::kLanes>(key(row[0]));
#pragma unroll 1
  for (int k = 0; k < n; ++k) {
    typename Shared::PivotRow& pivot_row = shared.row[k & 1][matrix];
    // Every lane gets ready to be the chosen one.
    const R scale = scalar::pivot_scale(row[0]);
    const V inverse = scalar::reciprocal(row[0] * scale);
    const bool here = i == chosen;
    if (here) {
      JAXINV_UNROLL
      for (int q = 0; q < Shared::kPacks; ++q) {
        JAXINV_UNROLL
        for (int j = 0; j < kPack<V>; ++j) pivot_row.at[q].at[j] = row[q * kPack<V> + j];
      }
      pivot_row.inverse = inverse;
      pivot_row.scale = scale;
      shared.pivot_row[matrix][k] = i;
      lane.step = k;
      lane.pivot = row[0];
      lane.inverse = inverse;
      lane.scale = scale;
    }
    __syncwarp();
    V factor = V(0);
    JAXINV_UNROLL
    for (int q = 0; q < Shared::kPacks; ++q) {
      const Pack<V, kPack<V>> pack = pivot_row.at[q];
      if (q == 0) {
        const V pivot = pack.at[0];
        if (!lane.info && scalar::bad_pivot(pivot)) {
          lane.info = k + 1;
          lane.zero_pivot = is_zero(pivot);
        }
        factor = here ? V(0) : (row[0] * pivot_row.scale) * pivot_row.inverse;
      }
      JAXINV_UNROLL
      for (int j = 0; j < kPack<V>; ++j) {
        const int column = q * kPack<V> + j;
        if (column == 0) continue;
        row[column - 1] = scalar::fnma(factor, pack.at[j], row[column]);
        // The next pivot is looked for while the other columns are updated.
        if (column == 1) chosen = group_argmax<Shared::kLanes>(key(row[0]));
      }
    }
    row[kN - 1] = here ? V(1) : -factor;
  }
}

// info, mantissa and exponent of a warp's matrices, where asked for. `finite`: of the lane's row.
template <class V, int kLanes>
__device__ __forceinline__ void store_determinant(const InverseProblem& p, int64_t index, bool mine,
                                                  int i, const InverseWarpLane<V>& lane, int shift,
                                                  bool finite) {
  const int n = int(p.n);
  if (p.info && mine && i == 0) p.info[index] = lane.info;
  if (!p.mantissa) return;
  // The sign of the permutation: pairs of rows that were chosen against their order.
  bool odd = false;
  for (int j = 1; j < n; ++j) {
    const int other = __shfl_sync(kAllLanes, lane.step, j, kLanes);
    odd ^= j > i && i < n && other < lane.step;
  }
  odd = __popc(group_ballot<kLanes>(odd)) & 1;
  finite = group_ballot<kLanes>(!finite) == 0;
  V mantissa = i < n ? lane.pivot : V(1);
  int exponent = take_exponent(mantissa);
  for (int lanes = 1; lanes < kLanes; lanes *= 2) {
    V other;
    if constexpr (Parts<V>::kCount == 2) {
      other = V(__shfl_xor_sync(kAllLanes, mantissa.re, lanes),
                __shfl_xor_sync(kAllLanes, mantissa.im, lanes));
    } else {
      other = __shfl_xor_sync(kAllLanes, mantissa, lanes);
    }
    multiply(mantissa, exponent, other, __shfl_xor_sync(kAllLanes, exponent, lanes));
  }
  if (!mine || i != 0) return;
  mantissa = odd ? -mantissa : mantissa;
  static_cast<V*>(p.mantissa)[index] =
      lane.info ? failed_mantissa<V>(lane.zero_pivot, finite) : mantissa;
  // The determinant of the matrix before it was multiplied by 2^shift.
  p.exponent[index] = lane.info ? 0 : exponent - shift * n;
}

template <class V, int kN>
__global__ void __launch_bounds__(kWarpSize* kInverseWarpWarps<V, kN>, 1)
    inverse_warp(InverseProblem p) {
  using R = typename Parts<V>::Real;
  using Shared = InverseWarpShared<V, kN>;
  constexpr int kWarps = kInverseWarpWarps<V, kN>, kLanes = Shared::kLanes;
  Shared& shared = shared_memory<Shared[kWarps]>()[threadIdx.x / kWarpSize];
  const int n = int(p.n), stride = n | 1;
  const int matrix = lane_index() / kLanes, i = lane_index() % kLanes;
  const Rows rows(n);
  const int64_t step = int64_t(gridDim.x) * kWarps * Shared::kMatrices;
  for (int64_t first = (int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarpSize) * Shared::kMatrices;
       first < p.batch; first += step) {
    const int count =
        int(p.batch - first < Shared::kMatrices ? p.batch - first : Shared::kMatrices);
    const bool mine = matrix < count, has_row = mine && i < n;
    with_storage<V>(p.dtype, [&](auto s) {
      rows.load(static_cast<const decltype(s)*>(p.a) + first * n * n, count * n * n,
                [&](int r, int j, V x) { shared.tile[r * stride + j] = x; });
    });
    __syncwarp();
    V row[kN];
    V* tile = shared.tile + matrix * n * stride;
    R size = 0;
    JAXINV_UNROLL
    for (int j = 0; j < kN; ++j) {
      row[j] = has_row && j < n ? tile[i * stride + j] : V(0);
      size = fmax(size, largest_part(row[j]));
    }
    size = number_of_key(group_max<kLanes>(key_bits(size)));
    const int shift = UndividedRange<R>::shift(size);
    auto scale = [&] {
      const R power = UndividedRange<R>::power(shift);
      JAXINV_UNROLL
      for (int j = 0; j < kN; ++j) row[j] = row[j] * power;
    };
    if (shift) scale();
    InverseWarpLane<V> lane;
    eliminate(n, i, row, lane, shared);
    bool finite = true;
    if (p.mantissa && has_row) {
      for (int j = 0; j < n; ++j) finite &= is_finite(tile[i * stride + j]);
    }
    store_determinant<V, kLanes>(p, first + matrix, mine, i, lane, shift, finite);
    JAXINV_UNROLL
    for (int j = 0; j < kN; ++j) row[j] = (row[j] * lane.scale) * lane.inverse;
    if (shift) scale();
    if (has_row) {
      JAXINV_UNROLL
      for (int j = 0; j < kN; ++j) {
        const int k = j - (kN - n);
        if (k < 0) continue;
        tile[lane.step * stride + shared.pivot_row[matrix][k]] =
            lane.info ? not_a_number<V>() : row[j];
      }
    }
    __syncwarp();
    with_storage<V>(p.dtype, [&](auto s) {
      rows.store(static_cast<decltype(s)*>(p.x) + first * n * n, count * n * n,
                 [&](int r, int j) { return shared.tile[r * stride + j]; });
    });
    // What the next round writes first, this lane alone has read.
  }
}

}  // namespace jaxinv::cuda
