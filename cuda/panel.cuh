// Algorithm: the steps of Gauss-Jordan elimination on a panel of columns. Pivoting is implicit: rows never
// move, a step marks its row. What a step subtracts of its scaled pivot row stays as the panel's factors
// (docs/adr/0002); the columns of the inverse that come in the panel's place are computed with all others.
// Lanes: one row of the panel per thread, in registers. Each warp brings its best row to the choice of the
// pivot, so that a step has one barrier.
// n: at most as many rows as threads. dtypes: those of cuda/number.cuh.
// Memory: registers; shared memory for the candidates; factors, pivots and their rows where the caller says.
#pragma once

#include "cuda/number.cuh"

namespace jaxinv::cuda {

constexpr int kWarp = 32;

// What a block shares while it eliminates a panel. Steps take turns in the first three; the last two tell the
// pivots afterwards, to the first warp without a barrier.
template <class T, int kWidth, int kWarps>
struct PanelShared {
  alignas(16) T rows[2][kWarps][kWidth];  // the best row of each warp
  PivotKey<T> keys[2][kWarps];            // what it offers as pivot
  int32_t places[2][kWarps];              // its thread
  alignas(
      16) T multiples[kWarps][kWidth];  // the pivot row divided by the pivot: each warp has a copy
  T pivots[kWidth];
  int32_t pivot_rows[kWidth];
};

// Copies the first kCount numbers in units of 16 bytes.
template <int kCount, class T>
__device__ __forceinline__ void copy_packs(T* to, const T* from) {
  constexpr int kPack = Pack<T>::kSize;
  static_assert(kCount % kPack == 0);
#pragma unroll
  for (int j = 0; j < kCount; j += kPack) {
    Pack<T> pack;
#pragma unroll
    for (int e = 0; e < kPack; ++e) pack.v[e] = from[j + e];
    store_pack(to + j, pack);
  }
}

template <class T, int kWidth, int kWarps>
struct Panel {
  PanelShared<T, kWidth, kWarps>& shared;
  T* factors;  // factors[c * stride + i]: what step c subtracts of its multiple in row i < stride
  int64_t stride;
  int width;  // steps of this panel
  int own;  // the step that this thread's row was the pivot row of; kFree: of none yet; kTaken: of an earlier one
  T x[kWidth];  // what is left of the row: the column of the next step comes first

  static constexpr int kFree = -1, kTaken = -2;

  // All steps, by all threads of the block. Returns the first bad one (1-based) or 0.
  __device__ __forceinline__ int eliminate() { return steps<kWidth>(0); }

 private:
  // Steps from c on, kLeft columns being left; as columns become fewer, so do the instructions.
  template <int kLeft>
  __device__ __forceinline__ int steps(int c) {
    constexpr int kGroup = kWidth / 4;
#pragma unroll 1
    for (const int end = c + kGroup; c < end; ++c) {
      if (c == width) return 0;
      if (!step<kLeft>(c)) return c + 1;
    }
    if constexpr (kLeft > kGroup) return steps<kLeft - kGroup>(c);
    return 0;
  }

  template <int kLeft>
  __device__ __forceinline__ bool step(int c) {
    const int place = int(threadIdx.x), lane = place % kWarp, warp = place / kWarp, turn = c & 1;
    // The largest entry of the warp, lowest row first, is its candidate.
    const PivotKey<T> key = own == kFree ? pivot_key(x[0]) + 1 : 0;
    const PivotKey<T> best = warp_max(key);
    if (lane == first_lane(key == best)) {
      copy_packs<kLeft>(shared.rows[turn][warp], x);
      shared.keys[turn][warp] = best;
      shared.places[turn][warp] = place;
    }
    __syncthreads();
    const PivotKey<T> offer = lane < int(blockDim.x) / kWarp ? shared.keys[turn][lane] : 0;
    const int winner = first_lane(offer == warp_max(offer));
    const T* row = shared.rows[turn][winner];
    const int pivot_place = shared.places[turn][winner];
    const T pivot = row[0];
    if (place == 0) {
      shared.pivots[c] = pivot;
      shared.pivot_rows[c] = pivot_place;
    }
    __syncwarp();
    if (is_zero(pivot) || !is_finite(pivot)) return false;
    const Division<T> divided(pivot);
    T* multiples = shared.multiples[warp];
    if (lane < kLeft) multiples[lane] = divided(row[lane]);
    __syncwarp();
    T factor = x[0];
    // The pivot row becomes the multiple: 0 − (−1) · multiple. A branch of one warp, not selects in all.
    if (place == pivot_place) {
#pragma unroll
      for (int j = 0; j < kLeft; ++j) x[j] = T(0);
      factor = T(opaque(-1));
      own = c;
    }
    if (place < stride) factors[c * stride + place] = factor;
#pragma unroll
    for (int j = 0; j < kLeft; j += Pack<T>::kSize) {
      const Pack<T> multiple = load_pack(multiples + j);
#pragma unroll
      for (int e = j == 0; e < Pack<T>::kSize; ++e) {
        x[j + e - 1] = fnma(factor, multiple.v[e], x[j + e]);
      }
    }
    return true;
  }
};

// Takes the factors of the pivot rows of steps first … first + width − 1 apart: those of earlier steps go to
// lower[d][step] (rows of kStride numbers), for a row to be brought to its own step; what stays finishes it from
// there. A warp per row, after a barrier.
template <int kStride, class T>
__device__ __forceinline__ void split_factors(T* factors, int64_t stride, T* lower,
                                              const int32_t* pivot_rows, int first, int width) {
  for (int c = int(threadIdx.x) / kWarp; c < width; c += int(blockDim.x) / kWarp) {
    for (int d = int(threadIdx.x) % kWarp; d < first + c; d += kWarp) {
      T& factor = factors[d * stride + pivot_rows[c]];
      lower[d * kStride + first + c] = factor;
      factor = T(0);
    }
  }
}

// Steps 0 … kWidth − 1 on their pivot rows in one column: y, replaced by the multiples that the steps subtract.
// lower: the first row's, see split_factors; divisions: by the pivots.
template <int kWidth, int kStride, class T>
__device__ __forceinline__ void solve_pivot_rows(T (&y)[kWidth], const T* lower,
                                                 const Division<T>* divisions) {
#pragma unroll
  for (int c = 0; c < kWidth; ++c) {
    y[c] = divisions[c](y[c]);
#pragma unroll
    for (int d = (c + 1) / Pack<T>::kSize * Pack<T>::kSize; d < kWidth; d += Pack<T>::kSize) {
      const Pack<T> factor = load_pack(lower + c * kStride + d);
#pragma unroll
      for (int e = 0; e < Pack<T>::kSize; ++e) {
        if (d + e > c) y[d + e] = fnma(factor.v[e], y[c], y[d + e]);
      }
    }
  }
}

}  // namespace jaxinv::cuda
