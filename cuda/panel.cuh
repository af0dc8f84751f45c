// Algorithm: the steps of Gauss-Jordan elimination on a panel of columns. Pivoting is implicit: rows never
// move, a step marks its row. What a step subtracts of its scaled pivot row stays as the panel's factors
// (docs/adr/0002); the columns of the inverse that come in the panel's place are computed with all others.
// Lanes: a few rows of the panel per thread, in registers. Each warp brings its best row to the choice of the
// pivot, so that a step has one barrier, or none for a panel of one warp.
// n: as many rows as the threads have. dtypes: those of the arithmetic.
// Memory: registers; shared memory for the candidates; factors, pivots and their rows where the caller says.
#pragma once

#include "cuda/staging.cuh"

namespace jaxinv::cuda {

// Sixteen bytes of numbers.
template <class V>
using Word = Pack<V, kPack<V>>;
template <class V>
__device__ __forceinline__ Word<V> load_word(const V* p) {
  return *reinterpret_cast<const Word<V>*>(p);
}
template <class V>
__device__ __forceinline__ void store_word(V* p, const Word<V>& x) {
  *reinterpret_cast<Word<V>*>(p) = x;
}

// What the pivot search compares, see key_bits.
template <class V>
using Key = std::conditional_t<sizeof(typename Parts<V>::Real) == 4, int, long long>;

// x, of which the compiler knows nothing any more.
__device__ __forceinline__ int opaque(int x) {
#ifdef __CUDA_ARCH__
  asm volatile("" : "+r"(x));
#endif
  return x;
}

// Division by a pivot, by way of an exact power of two: a denormal one must not make 0 · inf.
template <class V>
struct Division {
  typename Parts<V>::Real scale;
  V inverse;
  Division() = default;
  __device__ __forceinline__ explicit Division(V pivot)
      : scale(scalar::pivot_scale(pivot)), inverse(scalar::reciprocal(pivot * scale)) {}
  __device__ __forceinline__ V operator()(V x) const { return (x * scale) * inverse; }
};

// What the threads of a panel share. Steps take turns in the first three; the last two tell the pivots
// afterwards, to the first warp without a barrier.
template <class V, int kWidth, int kWarps>
struct PanelShared {
  alignas(16) V rows[2][kWarps][kWidth];  // the best row of each warp
  Key<V> keys[2][kWarps];                 // what it offers as pivot
  int32_t places[2][kWarps];              // which row it is
  // The pivot row divided by the pivot: each warp has a copy.
  alignas(16) V multiples[kWarps][kWidth];
  V pivots[kWidth];
  int32_t pivot_rows[kWidth];
};

// Copies the first kCount numbers in units of 16 bytes.
template <int kCount, class V>
__device__ __forceinline__ void copy_words(V* to, const V* from) {
  static_assert(kCount % kPack<V> == 0);
  JAXINV_UNROLL
  for (int j = 0; j < kCount; j += kPack<V>) {
    Word<V> word;
    JAXINV_UNROLL
    for (int e = 0; e < kPack<V>; ++e) word.at[e] = from[j + e];
    store_word(to + j, word);
  }
}

// A panel in the registers of the first `threads` threads of a block, kRows neighbouring rows in each.
template <class V, int kWidth, int kRows, int kWarps>
struct Panel {
  PanelShared<V, kWidth, kWarps>& shared;
  V* factors;  // factors[c * stride + i]: what step c subtracts of its multiple in row i < stride
  int64_t stride;
  int threads;         // whole warps
  int width;           // steps of this panel
  int own[kRows];      // the step that a row was the pivot row of, or one of the constants below
  V x[kRows][kWidth];  // what is left of the rows: the column of the next step comes first

  static constexpr int kFree = -1, kTaken = -2;  // of none yet; of one before the panel

  __device__ __forceinline__ Panel(PanelShared<V, kWidth, kWarps>& shared, V* factors,
                                   int64_t stride, int threads, int width)
      : shared(shared), factors(factors), stride(stride), threads(threads), width(width) {}

  // Threads for n rows.
  __host__ __device__ static int threads_for(int n) {
    return (n + kRows * kWarpSize - 1) / (kRows * kWarpSize) * kWarpSize;
  }
  __device__ __forceinline__ static int row(int r) { return int(threadIdx.x) * kRows + r; }

  // The rows' numbers from column `matrix` on, rows `row_stride` apart; order[i] ≥ 0: of a former pivot row.
  __device__ __forceinline__ void load(const V* matrix, int64_t row_stride, int n, int columns,
                                       const int32_t* order) {
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) {
      own[r] = row(r) < n && order[row(r)] < 0 ? kFree : kTaken;
      JAXINV_UNROLL
      for (int j = 0; j < kWidth; j += kPack<V>) {
        Word<V> word = {};
        if (row(r) < n && j < columns) word = load_word(matrix + row(r) * row_stride + j);
        JAXINV_UNROLL
        for (int e = 0; e < kPack<V>; ++e) x[r][j + e] = word.at[e];
      }
    }
  }

  // All steps, by the threads of the panel. Returns the first bad one (1-based) or 0.
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
    const int lane = lane_index(), warp = int(threadIdx.x) / kWarpSize, turn = c & 1;
    // The largest entry of the warp, lowest row first, is its candidate.
    Key<V> key = -1;
    int best = 0;
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Key<V> other = own[r] == kFree ? key_bits(x[r][0]) : Key<V>(-1);
      best = other > key ? r : best;
      key = max(other, key);
    }
    if (lane == group_argmax<kWarpSize>(key)) {
      JAXINV_UNROLL
      for (int r = 0; r < kRows; ++r) {
        if (r == best) copy_words<kLeft>(shared.rows[turn][warp], x[r]);
      }
      shared.keys[turn][warp] = key;
      shared.places[turn][warp] = row(best);
    }
    int winner = 0;
    if (threads > kWarpSize) {
      __barrier_sync_count(1, threads);
      winner = group_argmax<kWarpSize>(lane < threads / kWarpSize ? shared.keys[turn][lane]
                                                                  : Key<V>(-1));
    } else {
      __syncwarp();
    }
    const V* pivot_row = shared.rows[turn][winner];
    const int place = shared.places[turn][winner];
    const V pivot = pivot_row[0];
    if (threadIdx.x == 0) {
      shared.pivots[c] = pivot;
      shared.pivot_rows[c] = place;
    }
    __syncwarp();
    if (scalar::bad_pivot(pivot)) return false;
    const Division<V> divided(pivot);
    V* multiples = shared.multiples[warp];
    if (lane < kLeft) multiples[lane] = divided(pivot_row[lane]);
    __syncwarp();
    V factor[kRows];
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) {
      factor[r] = x[r][0];
      // The pivot row becomes the multiple: 0 − (−1) · multiple.
      if (place == row(r)) {
        JAXINV_UNROLL
        for (int j = 0; j < kLeft; ++j) x[r][j] = V(0);
        factor[r] = V(opaque(-1));
        own[r] = c;
      }
    }
    if (row(0) < stride) {
      JAXINV_UNROLL
      for (int r = 0; r < kRows; ++r) factors[c * stride + row(r)] = factor[r];
    }
    JAXINV_UNROLL
    for (int j = 0; j < kLeft; j += kPack<V>) {
      const Word<V> multiple = load_word(multiples + j);
      JAXINV_UNROLL
      for (int e = j == 0; e < kPack<V>; ++e) {
        JAXINV_UNROLL
        for (int r = 0; r < kRows; ++r) {
          x[r][j + e - 1] = scalar::fnma(factor[r], multiple.at[e], x[r][j + e]);
        }
      }
    }
    return true;
  }
};

// Takes the factors of the pivot rows of steps first … first + width − 1 apart: those of earlier steps go to
// lower[d][step] (rows of kStride numbers), for a row to be brought to its own step; what stays finishes it
// from there. A warp per row, the first warp the last one: right after the steps that needs no barrier.
template <int kStride, class V>
__device__ __forceinline__ void split_factors(V* factors, int64_t stride, V* lower,
                                              const int32_t* pivot_rows, int first, int width) {
  const int warp = int(threadIdx.x) / kWarpSize, warps = int(blockDim.x) / kWarpSize;
  for (int c = width - 1 - warp; c >= 0; c -= warps) {
    for (int d = lane_index(); d < first + c; d += kWarpSize) {
      V& factor = factors[d * stride + pivot_rows[c]];
      lower[d * kStride + first + c] = factor;
      factor = V(0);
    }
  }
}

// Steps 0 … kWidth − 1 on their pivot rows in one column: y, replaced by the multiples that the steps
// subtract. lower: the first row's, see split_factors; divisions: by the pivots.
template <int kWidth, int kStride, class V>
__device__ __forceinline__ void solve_pivot_rows(V (&y)[kWidth], const V* lower,
                                                 const Division<V>* divisions) {
  JAXINV_UNROLL
  for (int c = 0; c < kWidth; ++c) {
    y[c] = divisions[c](y[c]);
    JAXINV_UNROLL
    for (int d = (c + 1) / kPack<V> * kPack<V>; d < kWidth; d += kPack<V>) {
      const Word<V> factor = load_word(lower + c * kStride + d);
      JAXINV_UNROLL
      for (int e = 0; e < kPack<V>; ++e) {
        if (d + e > c) y[d + e] = scalar::fnma(factor.at[e], y[c], y[d + e]);
      }
    }
  }
}

}  // namespace jaxinv::cuda
