// What a launcher is asked to do. Plain structs, decoded by xla_ffi/, read by cpu/, cuda/ and
// metal/.
#pragma once

#include <cstdint>

#include "core/scalar.h"

namespace jaxinv {

enum class DType { kF16, kBF16, kF32, kF64, kC64, kC128 };
enum class Op { kInverse, kTripleProduct, kSolve, kLuFactor, kLuSolve, kDeterminant };
// What is known of a matrix, and what is read of it: all; the upper or lower triangle of a Hermitian positive
// definite one; that triangle alone.
enum class Structure { kGeneral, kPosUpper, kPosLower, kUpper, kLower };
JAXINV_INLINE constexpr bool is_pos(Structure s) {
  return s == Structure::kPosUpper || s == Structure::kPosLower;
}
JAXINV_INLINE constexpr bool is_triangular(Structure s) {
  return s == Structure::kUpper || s == Structure::kLower;
}
// Of triangles and positive definite matrices: which triangle is read.
JAXINV_INLINE constexpr bool is_upper(Structure s) {
  return s == Structure::kPosUpper || s == Structure::kUpper;
}

// Ranges of n on the CPU. Inverses with one matrix per SIMD lane: above, columns fill their vectors well enough, tiles
// leave the nearest cache, and the idle lanes of a few matrices cost more than is gained.
constexpr int inverse_lanes_max(DType dtype) {
  return dtype == DType::kC64 || dtype == DType::kC128 ? 24 : dtype == DType::kF64 ? 18 : 19;
}
constexpr int kInverseLanesMax = 24;  // of all dtypes
// Inverses by columns, the matrix in the near caches: above, blocked.
constexpr int inverse_columns_max(DType dtype) {
  return dtype == DType::kC64 || dtype == DType::kC128 ? 96 : 128;
}
// LU, and whole systems, with one matrix per SIMD lane: above, blocked.
constexpr int kLuLanesMax = 16;
// Inverses of triangles and positive definite matrices with one matrix per SIMD lane: above, the tile leaves the
// nearest cache.
constexpr int triangle_lanes_max(DType dtype) {
  return dtype == DType::kC64 || dtype == DType::kC128 ? 16 : 16;
}
// Triple products in one pass: above, two matrix products. On a GPU, and on the CPU.
constexpr int kTripleProductMax = 32;
constexpr int kTripleProductRowsMax = 128;
// On the CPU one matrix per SIMD lane as long as a row fills too little of its vectors (decisions 20, 31).
constexpr bool triple_product_in_lanes(int64_t n, DType dtype) {
  if (dtype == DType::kC64 || dtype == DType::kC128) return n <= 11;
  return n <= (dtype == DType::kF64 ? 3 : 4) || n == 9;
}

// Ranges of n on CUDA. One matrix per thread as long as its registers hold it: fewer than 100 words of 4 bytes.
constexpr int inverse_thread_max(DType dtype) {
  switch (dtype) {
    case DType::kC128:
      return 4;
    case DType::kF64:
    case DType::kC64:
      return 7;
    default:
      return 8;
  }
}
// One row per lane of a warp, in its registers.
constexpr int inverse_warp_max(DType dtype) { return dtype == DType::kC128 ? 20 : 32; }
constexpr int kTripleProductThreadMax = 4;

// Ranges of n on Metal, for the dtypes that it has; triple products as on CUDA. One matrix per thread, fewer than
// 80 words.
constexpr int inverse_metal_thread_max(DType dtype) { return dtype == DType::kC64 ? 6 : 8; }
// One row per lane of a simdgroup.
constexpr int kInverseSimdgroupMax = 32;
// Systems, LU, and inverses of structured matrices, one row per lane of a simdgroup, in threadgroup memory.
constexpr int kSystemSimdgroupMax = 32;
// One matrix in the registers of a threadgroup of 256 threads.
constexpr int inverse_threadgroup_max(DType dtype) { return dtype == DType::kC64 ? 64 : 96; }

// Inverts `batch` row-major n × n matrices. `info`, `mantissa` and `exponent` may be null. The
// determinant is mantissa · 2^exponent, the mantissa of the arithmetic's dtype (float32 for half
// types).
struct InverseProblem {
  DType dtype;
  Structure structure;
  int64_t n;
  int64_t batch;
  const void* a;
  void* x;
  int32_t* info;
  void* mantissa;
  int32_t* exponent;
  void* scratch = nullptr;  // workspace() bytes for each matrix, null where that is 0
};

// y = −op(l) op(g) op(r) for `batch` triples, op the transpose where the flag is set.
struct TripleProductProblem {
  DType dtype;
  bool transpose_l, transpose_g, transpose_r;
  int64_t n;
  int64_t batch;
  const void* l;
  const void* g;
  const void* r;
  void* y;
};

// LU with partial pivoting of `batch` row-major n × n matrices: row k of L U is row permutation[k] of a. `lu` may
// be null, and `permutation` with it; `info`, `mantissa` and `exponent` as for inverses.
struct LuProblem {
  DType dtype;
  Structure structure;
  int64_t n;
  int64_t batch;
  const void* a;
  void* lu;
  int32_t* permutation;
  int32_t* info;
  void* mantissa;
  int32_t* exponent;
};

// op(a) x = b by the factors of a, op the transpose where the flag is set; b and x are row-major
// n × columns.
struct LuSolveProblem {
  DType dtype;
  bool transpose;
  int64_t n;
  int64_t columns;
  int64_t batch;
  const void* lu;
  const int32_t* permutation;
  const void* b;
  void* x;
  Structure structure = Structure::kGeneral;  // a triangle: `lu` is the matrix itself, read there
  int32_t* info = nullptr;                    // of a triangle, may be null
};

// op(a) x = b. `info` may be null.
struct SolveProblem {
  DType dtype;
  Structure structure;
  bool transpose;
  int64_t n;
  int64_t columns;
  int64_t batch;
  const void* a;
  const void* b;
  void* x;
  int32_t* info;
};

// dst = src: the yardstick of the benchmarks, moved by the blocks, threads and page advice of the kernels.
struct CopyProblem {
  int64_t bytes;
  const void* src;
  void* dst;
};

// The entry points every backend has: cpu/launch.cc, cuda/launch.cu, metal/launch.cc. `Context`
// says where to run (a thread pool, a stream, a queue) and is defined by the backend. Throws
// std::exception; no other failure: what is wrong with a matrix is its `info`.
namespace cpu {
struct Context;
void launch(const InverseProblem& problem, const Context& context);
void launch(const TripleProductProblem& problem, const Context& context);
void launch(const LuProblem& problem, const Context& context);
void launch(const LuSolveProblem& problem, const Context& context);
void launch(const SolveProblem& problem, const Context& context);
void launch(const CopyProblem& problem, const Context& context);
}  // namespace cpu

}  // namespace jaxinv
