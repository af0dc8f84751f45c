// Memory that CUDA kernels of blocks and teams need, and the sizes of panels that it follows from: plain numbers,
// asked for also where there is no device. `bytes`: of a number in arithmetic.
#pragma once

#include <cstdint>

#include "core/problem.h"

namespace jaxinv {

JAXINV_INLINE constexpr int arithmetic_bytes(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kC64:
      return 8;
    case DType::kC128:
      return 16;
    default:
      return 4;
  }
}

// Of a number as it is stored.
JAXINV_INLINE constexpr int storage_bytes(DType dtype) {
  return dtype == DType::kF16 || dtype == DType::kBF16 ? 2 : arithmetic_bytes(dtype);
}

// Numbers in a row: whole words of 16 bytes, an odd number of them, so that rows fall into all banks.
JAXINV_INLINE constexpr int block_row(int64_t n, int bytes) {
  return int((n * bytes + 15) / 16 | 1) * 16 / bytes;
}
JAXINV_INLINE constexpr int block_column(int64_t n) {
  return int(n + 7) / 8 * 8;
}  // whole tiles of 8 rows
JAXINV_INLINE constexpr int block_width(int bytes) {
  return bytes == 4 ? 16 : bytes == 8 ? 8 : 4;
}  // of a panel
JAXINV_INLINE constexpr int block_threads(int bytes) {
  return bytes == 4 ? 256 : bytes == 8 ? 160 : 128;
}
constexpr int kBlockHead = 5632;  // what does not depend on n

// Shared memory of inverse_block: the matrix, multiples, factors.
JAXINV_INLINE constexpr int64_t inverse_block_bytes(int64_t n, int bytes) {
  const int width = block_width(bytes);
  return kBlockHead + bytes * ((n + width) * block_row(n, bytes) + width * block_column(n));
}
// The largest n for so many bytes of it, of as many threads.
JAXINV_INLINE constexpr int inverse_block_max(int bytes, int64_t shared_bytes) {
  int n = 0;
  while (n < block_threads(bytes) && inverse_block_bytes(n + 1, bytes) <= shared_bytes) ++n;
  return n;
}

// Steps that inverse_grid applies to the whole matrix at once.
JAXINV_INLINE constexpr int grid_steps(int bytes) { return bytes == 16 ? 32 : 64; }
constexpr int kGridChunk = 32;  // rows that a block brings into the scratch
JAXINV_INLINE constexpr int64_t grid_stride(int64_t n, int bytes) {  // whole words, an even number
  const int unit = bytes == 16 ? 2 : 16 / bytes;
  return (n + unit - 1) / unit * unit;
}
// Scratch memory of inverse_grid per matrix: the matrix, factors and multiples, a square of factors, pivots;
// rows of pivots and pivots of rows; what is known of chunks and of the whole. Arrays start at multiples of
// 16 bytes.
JAXINV_INLINE constexpr int64_t inverse_grid_bytes(int64_t n, int bytes) {
  const int64_t steps = grid_steps(bytes), chunks = (n + kGridChunk - 1) / kGridChunk;
  const int64_t numbers = grid_stride(n, bytes) * (n + 2 * steps + 1) + steps * steps;
  return numbers * bytes + 8 * n + 12 * chunks + 8 * 16;
}

// Systems, and inverses of what has a structure, by one team of threads a matrix: lanes of a warp up to n = 32, as
// many as the next power of two, a block above.
constexpr int kWarpMax = 32;
constexpr int kSystemColumns = 16;  // right-hand sides, or columns of an inverse, at a time
constexpr int kSystemPart = 64;     // of a team; more are shared between teams
constexpr int kSystemHead = 256;    // what does not depend on n, of a block
JAXINV_INLINE constexpr int system_threads(int64_t n) {
  int threads = 1;
  while (threads < n) threads *= 2;
  return n <= kWarpMax ? threads : n <= 64 ? 128 : 256;
}
// Shared memory of a team: the matrix with rows of odd length, columns, divisions by pivots, rows of pivots.
JAXINV_INLINE constexpr int64_t system_bytes(int64_t n, int64_t columns, int bytes) {
  return (n * ((n | 1) + columns + 2) * bytes + 4 * n + 15) / 16 * 16;
}
// Shared memory of a block on every device that CUDA kernels are compiled for (sm_75), and the largest n that it
// holds. A program is compiled without a device, and has the portable path above: so there is no other edge.
constexpr int64_t kSmallestSharedBytes = 64 << 10;
JAXINV_INLINE constexpr int system_max(int bytes) {
  int n = 0;
  while (kSystemHead + system_bytes(n + 1, kSystemColumns, bytes) <= kSmallestSharedBytes) ++n;
  return n;
}

}  // namespace jaxinv
