// A team of threads that works on one matrix in shared memory: a power of two of neighbouring lanes of a warp, or
// all threads of a block. Which of both it is follows from n at run time: kernels are compiled once for either.
#pragma once

#include "core/workspace.h"
#include "cuda/results.cuh"

namespace jaxinv::cuda {

constexpr int kTeamThreads = 256;  // at most

// What was seen of a matrix as it was read.
template <class R>
struct Seen {
  R size = 0;            // the largest part of an entry that is no NaN
  int32_t infinite = 0;  // set where an entry is not finite
  int32_t column;  // the first one of a triangle with such an entry or a zero on its diagonal, or n
};

template <class R>
struct TeamShared {
  Seen<R> seen[kTeamThreads / kWarpSize];
  int32_t row;
};

struct Team {
  int size, rank;

  __device__ __forceinline__ explicit Team(int n)
      : size(system_threads(n)), rank(int(threadIdx.x) & (size - 1)) {}

  // Shared memory of this team, `bytes` of each.
  __device__ __forceinline__ unsigned char* memory(int64_t bytes) const {
    const int offset = is_block() ? kSystemHead : int(threadIdx.x) / size * int(bytes);
    return &shared_memory<unsigned char>() + offset;
  }

#ifdef __CUDACC__
  __device__ __forceinline__ void sync() const { is_block() ? __syncthreads() : __syncwarp(); }
#else
  // The emulator tells barriers apart by where they stand.
  void sync(int line = __builtin_LINE(), const char* file = __builtin_FILE()) const {
    is_block() ? __syncthreads(line, file) : __syncwarp(kAllLanes, line, file);
  }
#endif

  // body(index, mine) for all of `count` problems, one at a time. Teams of a warp stay together: where there is
  // no problem for one, it repeats the last, and `mine` is false.
  template <class F>
  __device__ __forceinline__ void for_each(int64_t count, F&& body) const {
    const int per_block = int(blockDim.x) / size, own = int(threadIdx.x) / size;
    const int first = is_block() ? 0 : int(threadIdx.x) / kWarpSize * kWarpSize / size;
    for (int64_t at = int64_t(blockIdx.x) * per_block; at + first < count;
         at += int64_t(gridDim.x) * per_block) {
      const bool mine = at + own < count;
      body(mine ? at + own : count - 1, mine);
    }
  }

  // Threads in rows of a power of two: where this one starts, how far it goes.
  struct Places {
    int row, column, down, across;
  };
  __device__ __forceinline__ Places places(int columns) const {
    const int shift = min(32 - __clz(columns - 1), 32 - __clz(lanes() - 1));
    return {rank >> shift, rank & ((1 << shift) - 1), size >> shift, 1 << shift};
  }

  // put(i, j, get(i, j)) for rows × columns places, neighbours of a row by neighbouring threads, a few under way at
  // once. The same thread meets a place again in another call of these numbers.
  template <class Get, class Put>
  __device__ __forceinline__ void move(int rows, int columns, Get&& get, Put&& put) const {
    constexpr int kBatch = 4;
    const Places at = places(columns);
#pragma unroll 1
    for (int j = at.column; j < columns; j += at.across) {
#pragma unroll 1
      for (int i = at.row; i < rows; i += kBatch * at.down) {
        decltype(get(0, 0)) numbers[kBatch] = {};
        JAXINV_UNROLL
        for (int b = 0; b < kBatch; ++b) {
          if (i + b * at.down < rows) numbers[b] = get(i + b * at.down, j);
        }
        JAXINV_UNROLL
        for (int b = 0; b < kBatch; ++b) {
          if (i + b * at.down < rows) put(i + b * at.down, j, numbers[b]);
        }
      }
    }
  }

  // What all threads have seen, known to all.
  template <class R>
  __device__ __forceinline__ Seen<R> gather(Seen<R> seen) const {
    auto join = [&](R size, int infinite, int column) {
      seen.size = fmax(seen.size, size);
      seen.infinite |= infinite;
      seen.column = min(seen.column, column);
    };
#pragma unroll 1
    for (int lanes = this->lanes() / 2; lanes > 0; lanes /= 2) {
      join(shuffle_xor(seen.size, lanes), shuffle_xor(seen.infinite, lanes),
           shuffle_xor(seen.column, lanes));
    }
    if (!is_block()) return seen;
    auto& shared = shared_memory<TeamShared<R>>();
    if (rank % kWarpSize == 0) shared.seen[rank / kWarpSize] = seen;
    sync();
#pragma unroll 1
    for (int w = 0; w < size / kWarpSize; ++w) {
      join(shared.seen[w].size, shared.seen[w].infinite, shared.seen[w].column);
    }
    return seen;
  }

  // The row of k … n − 1 with the largest key, the lowest of several, known to all. The first warp of a block looks.
  template <class R, class F>
  __device__ __forceinline__ int find_largest(int k, int n, F&& key) const {
    int row = k;
    if (rank < kWarpSize) {
      auto best = key(k);
#pragma unroll 1
      for (int i = k + rank; i < n; i += lanes()) {
        const auto other = key(i);
        row = other > best ? i : row;
        best = max(other, best);
      }
      if (lanes() == kWarpSize) {
        const auto largest = group_max<kWarpSize>(best);
        row = -group_max<kWarpSize>(best == largest ? -row : -n);
      } else {
#pragma unroll 1
        for (int lanes = size / 2; lanes > 0; lanes /= 2) {
          const auto other = shuffle_xor(best, lanes);
          const int other_row = shuffle_xor(row, lanes);
          row = other > best ? other_row : other == best ? min(row, other_row) : row;
          best = max(other, best);
        }
      }
    }
    if (!is_block()) {
      __syncwarp();  // shuffles order no memory, though on the emulator they do
      return row;
    }
    int32_t& found = shared_memory<TeamShared<R>>().row;
    if (rank == 0) found = row;
    sync();
    return found;
  }

  __device__ __forceinline__ bool is_block() const { return size > kWarpSize; }
  __device__ __forceinline__ int lanes() const { return is_block() ? kWarpSize : size; }
};

// Launches `kernel` with a team for each of `count` problems of n × n matrices with so many columns beside them.
template <class V, class Problem, class... Others>
void launch_teams(void (*kernel)(Problem, Others...), const Problem& p, int64_t count,
                  int64_t columns, const Context& context, Others... others) {
  static_assert(sizeof(TeamShared<typename Parts<V>::Real>) <= kSystemHead);
  const int size = system_threads(p.n);
  const int64_t bytes = system_bytes(p.n, columns, sizeof(V));
  if (size > kWarpSize) {
    return launch_kernel(kernel, blocks_for(count, 1), size, kSystemHead + bytes, context, p,
                         others...);
  }
  const int64_t per_warp = kWarpSize / size;
  int warps = 4;
  while (warps > 1 && warps * per_warp * bytes > int64_t(kSharedDefault)) warps /= 2;
  launch_kernel(kernel, blocks_for(count, warps * per_warp), warps * kWarpSize,
                warps * per_warp * bytes, context, p, others...);
}

}  // namespace jaxinv::cuda
