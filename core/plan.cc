#include "core/plan.h"

#include "core/workspace.h"

namespace jaxinv {
namespace {

Plan plan_cpu(Op op, int64_t n, DType dtype, Algorithm algorithm) {
  if (n == 0) {
    return {algorithm, "portable", "XLA", "n = 0: there is nothing to compute"};
  }
  auto range = [](const char* relation, int64_t edge) {
    return std::string("n ") + relation + " " + std::to_string(edge) + ": ";
  };
  if (op == Op::kTripleProduct) {
    if (algorithm == Algorithm::kLanes) {
      return {algorithm, "fused triple product, one matrix per SIMD lane",
              "cpu/triple_product_lanes",
              range("<=", kTripleProductMax) + "three operands read once, one result written"};
    }
    return {algorithm, "two matrix products at full precision", "XLA dot_general",
            range(">", kTripleProductMax) + "XLA's matrix product is faster than a fused one"};
  }
  if (op == Op::kSolve) {
    if (algorithm == Algorithm::kLanes) {
      return {algorithm, "LU with partial pivoting and substitution, one system per SIMD lane",
              "cpu/solve_lanes", range("<=", kLuLanesMax) + "no factor is written to memory"};
    }
    return {algorithm, "portable", "XLA", range(">", kLuLanesMax) + "solved by its factors"};
  }
  if (op == Op::kLuSolve) {
    return {algorithm, "forward and back substitution, right-hand sides in SIMD vectors",
            "cpu/lu_solve", "any n: register tiles of rows by right-hand sides"};
  }
  if (op == Op::kLuFactor || op == Op::kDeterminant) {
    if (algorithm == Algorithm::kLanes) {
      return {algorithm, "LU with partial pivoting, one matrix per SIMD lane", "cpu/lu_lanes",
              range("<=", kLuLanesMax) +
                  "the lanes of a vector work on as many matrices, no step waits for another"};
    }
    return {algorithm, "blocked LU with partial pivoting", "cpu/lu_blocked",
            range(">", kLuLanesMax) +
                "panels of columns, then register-tiled rank-k updates of the rest"};
  }
  switch (algorithm) {
    case Algorithm::kLanes:
      return {algorithm, "Gauss-Jordan with partial pivoting, one matrix per SIMD lane",
              "cpu/inverse_lanes",
              range("<=", inverse_lanes_max(dtype)) +
                  "the lanes of a vector work on as many matrices, no step waits for another"};
    case Algorithm::kColumns:
      return {algorithm, "Gauss-Jordan with partial pivoting, columns in SIMD vectors",
              "cpu/inverse_columns",
              range("<=", inverse_columns_max(dtype)) +
                  "one matrix at a time stays in the near caches"};
    default:
      return {algorithm, "blocked in-place Gauss-Jordan with partial pivoting",
              "cpu/inverse_blocked",
              range(">", inverse_columns_max(dtype)) +
                  "panels of columns, then register-tiled rank-k updates of the rest"};
  }
}

// Of all devices that CUDA kernels are compiled for: sm_75.
constexpr int64_t kSmallestSharedBytes = 64 << 10;
int block_max(DType dtype, int64_t shared_bytes) {
  return inverse_block_max(arithmetic_bytes(dtype), shared_bytes);
}

Plan plan_cuda(Op op, int64_t n, DType dtype, Algorithm algorithm) {
  if (n == 0) {
    return {algorithm, "portable", "XLA", "n = 0: there is nothing to compute"};
  }
  if (op != Op::kInverse && op != Op::kTripleProduct) {
    return {algorithm, "portable", "XLA", "jaxinv has CUDA kernels for inverses only so far"};
  }
  auto up_to = [](int64_t edge) { return "n <= " + std::to_string(edge) + ": "; };
  auto above = [](int64_t edge) { return "n > " + std::to_string(edge) + ": "; };
  if (op == Op::kTripleProduct) {
    switch (algorithm) {
      case Algorithm::kThread:
        return {algorithm, "fused triple product, one triple of matrices per thread",
                "cuda/triple_product_thread",
                up_to(kTripleProductThreadMax) + "the registers of a thread hold them"};
      case Algorithm::kWarp:
        return {algorithm, "fused triple product, one row per lane of a warp",
                "cuda/triple_product_warp",
                up_to(kTripleProductMax) + "three operands read once, one result written"};
      default:
        return {algorithm, "two matrix products at full precision", "XLA dot_general",
                above(kTripleProductMax) + "arithmetic, no longer memory, is the limit"};
    }
  }
  switch (algorithm) {
    case Algorithm::kThread:
      return {algorithm, "Gauss-Jordan with partial pivoting, one matrix per thread",
              "cuda/inverse_thread",
              up_to(inverse_thread_max(dtype)) + "the registers of a thread hold it"};
    case Algorithm::kWarp:
      return {
          algorithm, "Gauss-Jordan with partial pivoting, one row per lane of a warp",
          "cuda/inverse_warp",
          up_to(inverse_warp_max(dtype)) + "a warp holds the matrix in registers, no row moves"};
    case Algorithm::kBlock:
      return {algorithm,
              "blocked Gauss-Jordan with partial pivoting, one matrix per block of threads",
              "cuda/inverse_block",
              up_to(block_max(dtype, DeviceLimits().shared_bytes)) +
                  "227 KB of shared memory hold it; cuda/inverse_grid on devices with less: " +
                  std::to_string(block_max(dtype, kSmallestSharedBytes)) + " at most with 64 KB"};
    default:
      return {algorithm, "blocked Gauss-Jordan with partial pivoting, one matrix by many blocks",
              "cuda/inverse_grid",
              above(block_max(dtype, DeviceLimits().shared_bytes)) +
                  "panels of columns, then register-tiled rank-k updates of the rest"};
  }
}

Algorithm algorithm_cuda(Op op, int64_t n, DType dtype, const DeviceLimits& limits) {
  const bool inverse = op == Op::kInverse;
  if (!inverse && op != Op::kTripleProduct) return Algorithm::kPortable;
  if (n <= (inverse ? inverse_thread_max(dtype) : kTripleProductThreadMax)) {
    return Algorithm::kThread;
  }
  if (n <= (inverse ? inverse_warp_max(dtype) : kTripleProductMax)) return Algorithm::kWarp;
  if (!inverse) return Algorithm::kPortable;
  return n <= block_max(dtype, limits.shared_bytes) ? Algorithm::kBlock : Algorithm::kGrid;
}

// Of triangles and positive definite matrices.
Algorithm algorithm_structured(Backend backend, Op op, int64_t n, DType dtype,
                               Structure structure) {
  if (backend != Backend::kCpu) return Algorithm::kPortable;
  const bool lanes = n <= (op == Op::kInverse ? triangle_lanes_max(dtype) : kLuLanesMax);
  if (op == Op::kInverse) return lanes ? Algorithm::kLanes : Algorithm::kBlocked;
  if (is_triangular(structure)) {
    return op == Op::kSolve ? lanes ? Algorithm::kLanes : Algorithm::kBlocked
                            : Algorithm::kPortable;
  }
  if (op == Op::kSolve) return lanes ? Algorithm::kLanes : Algorithm::kPortable;
  if (op == Op::kDeterminant && lanes) return Algorithm::kLanes;
  return Algorithm::kBlocked;
}

Plan plan_structured(Backend backend, Op op, int64_t n, DType dtype, Structure structure,
                     Algorithm algorithm) {
  if (n == 0) return {algorithm, "portable", "XLA", "n = 0: there is nothing to compute"};
  const int max = op == Op::kInverse ? triangle_lanes_max(dtype) : kLuLanesMax;
  const std::string edge = std::to_string(max), small = "n <= " + edge + ": ",
                    large = "n > " + edge + ": ";
  if (backend != Backend::kCpu) {
    return {algorithm, "portable", "XLA",
            "jaxinv has kernels of structured matrices on the CPU only"};
  }
  if (algorithm == Algorithm::kPortable) {
    return {algorithm, "portable", "XLA", large + "solved by its factors"};
  }
  if (op == Op::kLuSolve) {
    return {algorithm, "forward and back substitution, right-hand sides in SIMD vectors",
            "cpu/lu_solve", "any n: register tiles of rows by right-hand sides"};
  }
  const std::string what = is_pos(structure) ? "L D Lᴴ without pivoting" : "substitution";
  if (algorithm == Algorithm::kLanes) {
    return {algorithm, what + ", one matrix per SIMD lane", "cpu/triangle_lanes",
            small + "the lanes of a vector work on as many matrices, and no pivot is searched for"};
  }
  if (is_triangular(structure)) {
    return {algorithm, what + ", right-hand sides or columns in SIMD vectors", "cpu/triangle_solve",
            large + "register tiles of rows by columns, with no zeros of the other triangle"};
  }
  if (op == Op::kInverse) {
    return {algorithm, "blocked L D Lᴴ, inverse of L, and their product", "cpu/positive_blocked",
            large + "no pivot is searched for; register tiles, one triangle of the product"};
  }
  return {algorithm, "blocked L D Lᴴ without pivoting", "cpu/lu_blocked",
          large + "panels of columns, then register-tiled rank-k updates of the rest"};
}

}  // namespace

Algorithm algorithm(Backend backend, Op op, int64_t n, DType dtype, Structure structure,
                    const DeviceLimits& limits) {
  if (backend == Backend::kMetal || n == 0) return Algorithm::kPortable;
  if (structure != Structure::kGeneral)
    return algorithm_structured(backend, op, n, dtype, structure);
  if (backend == Backend::kCuda) return algorithm_cuda(op, n, dtype, limits);
  if (op == Op::kTripleProduct) {
    return n <= kTripleProductMax ? Algorithm::kLanes : Algorithm::kPortable;
  }
  if (op == Op::kSolve) return n <= kLuLanesMax ? Algorithm::kLanes : Algorithm::kPortable;
  if (op == Op::kLuSolve) return Algorithm::kBlocked;
  if (op == Op::kLuFactor || op == Op::kDeterminant) {
    return n <= kLuLanesMax ? Algorithm::kLanes : Algorithm::kBlocked;
  }
  if (n <= inverse_lanes_max(dtype)) return Algorithm::kLanes;
  return n <= inverse_columns_max(dtype) ? Algorithm::kColumns : Algorithm::kBlocked;
}

int64_t workspace(Backend backend, Op op, int64_t n, DType dtype, Structure structure) {
  const DeviceLimits smallest{kSmallestSharedBytes};
  const bool grid = algorithm(backend, op, n, dtype, structure, smallest) == Algorithm::kGrid;
  return grid ? inverse_grid_bytes(n, arithmetic_bytes(dtype)) : 0;
}

Plan plan(Backend backend, Op op, int64_t n, DType dtype, Structure structure) {
  const Algorithm chosen = algorithm(backend, op, n, dtype, structure);
  Plan answer;
  if (structure != Structure::kGeneral)
    return plan_structured(backend, op, n, dtype, structure, chosen);
  switch (backend) {
    case Backend::kCpu:
      answer = plan_cpu(op, n, dtype, chosen);
      break;
    case Backend::kCuda:
      answer = plan_cuda(op, n, dtype, chosen);
      break;
    case Backend::kMetal:
      answer = {Algorithm::kPortable, "portable", "XLA", "jaxinv has no Metal kernels yet"};
      break;
  }
  answer.workspace = workspace(backend, op, n, dtype, structure);
  return answer;
}

}  // namespace jaxinv
