// What the kernels of the grid range share: the scratch memory of a matrix and the sizes of panels and tiles.
#pragma once

#include "core/workspace.h"
#include "cuda/results.cuh"

namespace jaxinv::cuda {

// The scratch of one matrix, in bytes from its start, inverse_grid_bytes at most. Rows of `stride` numbers.
template <class V>
struct Grid {
  static constexpr int kSteps = grid_steps(sizeof(V));  // applied to the whole matrix at once
  static constexpr int kWidth = sizeof(V) == 4 ? 32 : sizeof(V) == 8 ? 16 : 8;  // of a panel
  static constexpr int kOutputChunk = 4;  // rows that a block brings out
  static constexpr int kThreads = 256;    // of all blocks but those of panels

  int n;
  int64_t stride;
  int64_t factors, multiples, lower, pivots, sizes, order, pivot_rows, finite, state, bytes;
  unsigned char* memory;

  __host__ Grid(int64_t n, void* scratch)
      : n(int(n)),
        stride(grid_stride(n, sizeof(V))),
        bytes(int64_t(sizeof(V)) * n * stride),  // the matrix comes first
        memory(static_cast<unsigned char*>(scratch)) {
    auto place = [this](size_t size, int64_t count) {
      const int64_t at = bytes;
      bytes += (int64_t(size) * count + 15) / 16 * 16;
      return at;
    };
    factors = place(sizeof(V), kSteps * stride);
    multiples = place(sizeof(V), kSteps * stride);
    lower = place(sizeof(V), kSteps * kSteps);
    pivots = place(sizeof(V), n);
    sizes = place(sizeof(typename Parts<V>::Real), chunks());
    order = place(4, n);
    pivot_rows = place(4, n);
    finite = place(4, chunks());
    state = place(4, 3);
  }
  __host__ __device__ int chunks() const { return (n + kGridChunk - 1) / kGridChunk; }
};

// The scratch of one matrix as arrays.
template <class V>
struct GridMatrix {
  V* matrix;
  V* factors;    // of each step: what it subtracts of its multiple, in each row
  V* multiples;  // of each step: its pivot row divided by the pivot, in each column
  V* lower;      // lower[d][c]: the factor of step d in the pivot row of a later step c
  V* pivots;
  typename Parts<V>::Real* sizes;  // largest |part| of each chunk
  int32_t* order;                  // the step that a row was the pivot row of, or −1
  int32_t* pivot_rows;
  int32_t* finite;  // of each chunk: false where it holds NaN or Inf
  int32_t& info;
  int32_t& shift;  // the power of two that the matrix was multiplied by
  int32_t& all_finite;

  __device__ __forceinline__ GridMatrix(const Grid<V>& g, int64_t index)
      : GridMatrix(g, g.memory + index * g.bytes) {}

 private:
  __device__ __forceinline__ GridMatrix(const Grid<V>& g, unsigned char* p)
      : matrix(reinterpret_cast<V*>(p)),
        factors(reinterpret_cast<V*>(p + g.factors)),
        multiples(reinterpret_cast<V*>(p + g.multiples)),
        lower(reinterpret_cast<V*>(p + g.lower)),
        pivots(reinterpret_cast<V*>(p + g.pivots)),
        sizes(reinterpret_cast<typename Parts<V>::Real*>(p + g.sizes)),
        order(reinterpret_cast<int32_t*>(p + g.order)),
        pivot_rows(reinterpret_cast<int32_t*>(p + g.pivot_rows)),
        finite(reinterpret_cast<int32_t*>(p + g.finite)),
        info(reinterpret_cast<int32_t*>(p + g.state)[0]),
        shift(reinterpret_cast<int32_t*>(p + g.state)[1]),
        all_finite(reinterpret_cast<int32_t*>(p + g.state)[2]) {}
};

// Steps k + first … k + last − 1, applied to the columns column … column_end − 1. Those from k to own_end − 1
// are the panel's own: columns of the inverse come in their place.
struct GridSteps {
  int k, first, last, column, column_end, own_end;
};

}  // namespace jaxinv::cuda
