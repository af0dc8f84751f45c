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

// What a block shares while it eliminates a panel. Steps take turns in the first three.
template <class T, int kWidth, int kWarps>
struct PanelShared {
  alignas(16) T rows[2][kWarps][kWidth];  // the best row of each warp
  PivotKey<T> keys[2][kWarps];            // what it offers as pivot
  int32_t places[2][kWarps];              // its thread
  alignas(
      16) T multiples[kWarps][kWidth];  // the pivot row divided by the pivot: each warp has a copy
};

// Where the steps of a panel leave their results.
template <class T>
struct PanelResults {
  T* factors;  // factors[c * stride + i]: what step c subtracts of its multiple in row i < stride
  int64_t stride;
  T* pivots;
  int32_t* pivot_rows;
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
  PanelResults<T> results;
  int width;       // steps of this panel
  bool eligible;   // this thread's row may become a pivot row
  int own = -1;    // the step that it was the pivot row of
  int failed = 0;  // the first bad step (1-based), the same in all threads
  T x[kWidth];     // what is left of the row: the column of the next step comes first

  // All steps, by all threads of the block.
  __device__ __forceinline__ void eliminate() { steps<kWidth>(0); }

 private:
  // Steps from c on, kLeft columns being left; as columns become fewer, so do the instructions.
  template <int kLeft>
  __device__ __forceinline__ void steps(int c) {
    constexpr int kGroup = kWidth / 4;
#pragma unroll 1
    for (const int end = c + kGroup; c < end; ++c) {
      if (c == width || !step<kLeft>(c)) return;
    }
    if constexpr (kLeft > kGroup) steps<kLeft - kGroup>(c);
  }

  template <int kLeft>
  __device__ __forceinline__ bool step(int c) {
    const int place = int(threadIdx.x), lane = place % kWarp, warp = place / kWarp, turn = c & 1;
    // The largest entry of the warp, lowest row first, is its candidate.
    const PivotKey<T> key = eligible ? pivot_key(x[0]) + 1 : 0;
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
      results.pivots[c] = pivot;
      results.pivot_rows[c] = pivot_place;
    }
    if (is_zero(pivot) || !is_finite(pivot)) {
      failed = c + 1;
      return false;
    }
    const Division<T> divided(pivot);
    T* multiples = shared.multiples[warp];
    if (lane < kLeft) multiples[lane] = divided(row[lane]);
    __syncwarp();
    T factor = x[0];
    if (place == pivot_place) {  // becomes the multiple: 0 − (−1) · multiple
#pragma unroll
      for (int j = 0; j < kLeft; ++j) x[j] = T(0);
      factor = T(-1);
      eligible = false;
      own = c;
    }
    if (place < results.stride) results.factors[c * results.stride + place] = factor;
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

// Takes the factors of a pivot row apart, `step` its own: those of earlier steps go to lower[d][step] (rows of
// kStride numbers), for the row to be brought to its own step; what stays finishes it from there.
template <int kStride, class T>
__device__ __forceinline__ void split_factors(T* factors, int64_t stride, T* __restrict__ lower,
                                              int step) {
#pragma unroll 4
  for (int d = 0; d < step; ++d) lower[d * kStride + step] = factors[d * stride];
#pragma unroll 4
  for (int d = 0; d < step; ++d) factors[d * stride] = T(0);
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
