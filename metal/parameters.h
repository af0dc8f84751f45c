// What the host and the kernels both know: parameters as they are bound, sizes of groups of threads. Types that
// mean the same in C++ and in Metal's language.
#pragma once

#ifdef __METAL_VERSION__
#include <metal_stdlib>
#else
#include <cstdint>
#endif

namespace jaxinv {
namespace metal {

// How numbers are stored; what is computed with is float32, or complex of it.
enum Storage : int32_t { kFloat32, kFloat16, kBFloat16, kComplex64 };

// Buffers of an inverse: a, x, info, mantissa, exponent, these.
struct InverseParameters {
  int64_t batch;
  int32_t n;
  int32_t storage;
  int32_t with_info;         // otherwise there is no such buffer
  int32_t with_determinant;  // mantissa and exponent
  int32_t positive, upper;   // what is known of it, see triangle_simdgroup.h
};

// Buffers of y = −op(l) op(g) op(r): l, g, r, y, these.
struct TripleProductParameters {
  int64_t batch;
  int32_t n;
  int32_t storage;
  int32_t transpose_l, transpose_g, transpose_r;
  int32_t same;  // l is r: read once
};

// Buffers of an LU factorisation: a, lu, permutation, info, mantissa, exponent, these.
struct LuParameters {
  int64_t batch;
  int32_t n;
  int32_t storage;
  int32_t positive, upper;  // Hermitian positive definite; by its upper triangle
  int32_t with_factors;     // lu and permutation
  int32_t with_info;
  int32_t with_determinant;
};

// Buffers of op(a) x = b: a, b, x, info, these; by factors: lu, permutation, b, x, these.
struct SolveParameters {
  int64_t batch;
  int64_t parts;  // of the right-hand sides of a matrix, system_columns each
  int64_t columns;
  int32_t n;
  int32_t storage;
  int32_t positive, triangular, upper;
  int32_t transpose;
  int32_t with_info;
};

// Lanes of a simdgroup.
constexpr int simdgroup_lanes() { return 32; }
// Simdgroups of a group of threads, each with so many bytes of threadgroup memory of its own: half of the memory
// at most, so that two groups are at work in a core.
constexpr int simdgroups_that_fit(int bytes) {
  return bytes * 4 <= 16384 ? 4 : bytes * 2 <= 16384 ? 2 : 1;
}

// Numbers from slot to slot where each lane has `count` of them: odd, so that lanes meet different banks.
constexpr int slot_stride(int count) { return count | 1; }
constexpr int inverse_thread_bytes(int n, int bytes) {
  return simdgroup_lanes() * slot_stride(n * n) * bytes;
}

// Rows of n numbers are held by lanes that have registers for the next multiple of 8: so many lanes for a matrix.
constexpr int simdgroup_size(int n) { return (n + 7) / 8 * 8; }
constexpr int lanes_per_matrix(int n) { return n <= 8 ? 8 : n <= 16 ? 16 : 32; }
constexpr int matrices_per_simdgroup(int n) { return simdgroup_lanes() / lanes_per_matrix(n); }
// Numbers in a tile of all of them, rows of odd length.
constexpr int tile_numbers(int size) { return matrices_per_simdgroup(size) * size * (size | 1); }

// Systems and structured matrices: a row for each of so many lanes, and so many right-hand sides at a time. A
// simdgroup's matrices, rows of odd length, and their right-hand sides stand in its part of a pool.
constexpr int lanes_per_system(int n) { return n <= 4 ? 4 : lanes_per_matrix(n); }
constexpr int systems_per_simdgroup(int n) { return simdgroup_lanes() / lanes_per_system(n); }
constexpr int system_columns() { return 16; }
constexpr int system_stride(int64_t columns) {
  return int(columns < system_columns() ? columns : system_columns()) | 1;
}
constexpr int system_numbers(int n) { return n * (n | 1); }
constexpr int system_numbers(int n, int64_t columns) {
  return system_numbers(n) + n * system_stride(columns);
}
constexpr int system_pool_bytes() { return 16384; }
constexpr int system_simdgroups() { return 4; }  // of a group of threads, at most
constexpr int system_threads() { return system_simdgroups() * simdgroup_lanes(); }
constexpr int system_simdgroups(int n, int numbers, int bytes) {
  return system_pool_bytes() / (systems_per_simdgroup(n) * numbers * bytes) < system_simdgroups()
             ? system_pool_bytes() / (systems_per_simdgroup(n) * numbers * bytes)
             : system_simdgroups();
}

// A threadgroup holds a matrix in 16 × 16 tiles of 3, 4 or 6 numbers a side, one per thread.
constexpr int threadgroup_side() { return 16; }
constexpr int threadgroup_threads() { return threadgroup_side() * threadgroup_side(); }

// The grid range: threads of its kernels; columns of a panel; steps that are applied to the whole matrix at once;
// rows that a group brings into the scratch; the tile of a group in the product.
constexpr int grid_threads() { return 256; }
constexpr int grid_panel_threads() { return 512; }
constexpr int grid_column_threads() { return 64; }
constexpr int grid_update_threads() { return 128; }
constexpr int grid_width() { return 16; }
constexpr int grid_most_steps() { return 64; }
constexpr int grid_chunk() { return 32; }
constexpr int grid_tile_rows(int bytes) { return bytes == 4 ? 64 : 32; }
constexpr int grid_tile_columns() { return 64; }

// Buffers of an inverse in the grid range: a, x, info, mantissa, exponent, scratch, these. Offsets are in bytes
// from the start of a matrix' scratch, which begins with the matrix, rows of `stride` numbers.
struct GridParameters {
  InverseParameters inverse;
  int64_t bytes;
  int64_t factors;    // of each step: what it subtracts of its multiple, in each row
  int64_t multiples;  // of each step: its pivot row divided by the pivot, in each column
  int64_t lower;      // lower[d][c]: the factor of step d in the pivot row of a later step c
  int64_t pivots;
  int64_t sizes;  // of the largest number of each chunk of rows
  int64_t order;  // the step that a row was the pivot row of, or −1
  int64_t pivot_rows;
  int64_t finite;  // of each chunk: 0 where it holds NaN or Inf
  int64_t state;   // info; the power of two that the matrix was multiplied by; whether it is finite
  int32_t stride;
  // The run: steps k + first … k + last − 1, on the columns column … column_end − 1. Those from k to own_end − 1
  // are the panel's own: columns of the inverse come in their place.
  int32_t k, first, last, column, column_end, own_end;
};

}  // namespace metal
}  // namespace jaxinv
