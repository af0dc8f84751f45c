// What the kernels of the grid range share: the scratch memory of a matrix and the sizes of panels and tiles.
#pragma once

#include "cuda/results.cuh"

namespace jaxinv::cuda {

// The scratch of one matrix, in bytes from its start. Rows of `stride` numbers: whole packs.
template <class T>
struct Grid {
  static constexpr int kSteps = kParts<T> == 1 ? 64 : 32;  // applied to the whole matrix at once
  static constexpr int kWidth = sizeof(T) == 4 ? 32 : sizeof(T) == 8 ? 16 : 8;  // of a panel
  static constexpr int kChunk = 32;           // rows that a block brings into the scratch
  static constexpr int kOutputChunk = 4;      // rows that a block brings out
  static constexpr int kThreads = 256;        // of all blocks but those of panels
  static constexpr int kPanelThreads = 1024;  // at most: above, a thread has several rows

  int n;
  int64_t stride;
  int64_t factors, multiples, lower, pivots, sizes, order, pivot_rows, spoiled, state, bytes;
  unsigned char* memory;

  __host__ explicit Grid(int64_t n, void* scratch = nullptr)
      : n(int(n)), memory(static_cast<unsigned char*>(scratch)) {
    constexpr int kPack = Pack<T>::kSize;
    stride = (n + kPack - 1) / kPack * kPack;
    auto place = [this](size_t size, int64_t count) {
      const int64_t at = bytes;
      bytes += (int64_t(size) * count + 15) / 16 * 16;
      return at;
    };
    bytes = int64_t(sizeof(T)) * n * stride;  // the matrix comes first
    factors = place(sizeof(T), kSteps * stride);
    multiples = place(sizeof(T), kSteps * stride);
    lower = place(sizeof(T), kSteps * kSteps);
    pivots = place(sizeof(T), n);
    sizes = place(sizeof(Real<T>), chunks());
    order = place(4, n);
    pivot_rows = place(4, n);
    spoiled = place(4, chunks());
    state = place(4, 3);
  }
  __host__ __device__ int chunks() const { return (n + kChunk - 1) / kChunk; }
};

// The scratch of one matrix as arrays.
template <class T>
struct GridMatrix {
  T* matrix;
  T* factors;    // of each step: what it subtracts of its multiple, in each row
  T* multiples;  // of each step: its pivot row divided by the pivot, in each column
  T* lower;      // lower[d][c]: the factor of step d in the pivot row of a later step c
  T* pivots;
  Real<T>* sizes;  // largest |part| of each chunk
  int32_t* order;  // the step that a row was the pivot row of, or −1
  int32_t* pivot_rows;
  int32_t* spoiled;  // chunks that hold NaN or Inf
  int32_t& info;
  int32_t& shift;  // the power of two that the matrix was multiplied by
  int32_t& any_spoiled;

  __device__ __forceinline__ GridMatrix(const Grid<T>& g, int64_t index)
      : GridMatrix(g, g.memory + index * g.bytes) {}

 private:
  __device__ __forceinline__ GridMatrix(const Grid<T>& g, unsigned char* p)
      : matrix(reinterpret_cast<T*>(p)),
        factors(reinterpret_cast<T*>(p + g.factors)),
        multiples(reinterpret_cast<T*>(p + g.multiples)),
        lower(reinterpret_cast<T*>(p + g.lower)),
        pivots(reinterpret_cast<T*>(p + g.pivots)),
        sizes(reinterpret_cast<Real<T>*>(p + g.sizes)),
        order(reinterpret_cast<int32_t*>(p + g.order)),
        pivot_rows(reinterpret_cast<int32_t*>(p + g.pivot_rows)),
        spoiled(reinterpret_cast<int32_t*>(p + g.spoiled)),
        info(reinterpret_cast<int32_t*>(p + g.state)[0]),
        shift(reinterpret_cast<int32_t*>(p + g.state)[1]),
        any_spoiled(reinterpret_cast<int32_t*>(p + g.state)[2]) {}
};

// Steps k + first … k + last − 1, applied to the columns column … column_end − 1. Those from k to own_end − 1 are
// the panel's own: columns of the inverse come in their place.
struct GridSteps {
  int k, first, last, column, column_end, own_end;
};

}  // namespace jaxinv::cuda
