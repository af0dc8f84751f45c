#include "core/plan.h"

#include "core/workspace.h"

namespace jaxinv {
namespace {

std::string up_to(int64_t edge) { return "n <= " + std::to_string(edge) + ": "; }
std::string above(int64_t edge) { return "n > " + std::to_string(edge) + ": "; }

// Of triangles and positive definite matrices.
Algorithm algorithm_cpu_structured(Op op, int64_t n, DType dtype, Structure structure) {
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

Plan plan_cpu_structured(Op op, DType dtype, Structure structure, Algorithm algorithm) {
  const int max = op == Op::kInverse ? triangle_lanes_max(dtype) : kLuLanesMax;
  if (algorithm == Algorithm::kPortable) {
    return {algorithm, "portable", "XLA", above(max) + "solved by its factors"};
  }
  if (op == Op::kLuSolve) {
    return {algorithm, "forward and back substitution, right-hand sides in SIMD vectors",
            "cpu/lu_solve", "any n: register tiles of rows by right-hand sides"};
  }
  const std::string what = is_pos(structure) ? "L D Lᴴ without pivoting" : "substitution";
  if (algorithm == Algorithm::kLanes) {
    return {algorithm, what + ", one matrix per SIMD lane", "cpu/triangle_lanes",
            up_to(max) +
                "the lanes of a vector work on as many matrices, and no pivot is searched for"};
  }
  if (is_triangular(structure)) {
    return {algorithm, what + ", right-hand sides or columns in SIMD vectors", "cpu/triangle_solve",
            above(max) + "register tiles of rows by columns, with no zeros of the other triangle"};
  }
  if (op == Op::kInverse) {
    return {algorithm, "blocked L D Lᴴ, inverse of L, and their product", "cpu/positive_blocked",
            above(max) + "no pivot is searched for; register tiles, one triangle of the product"};
  }
  return {algorithm, "blocked L D Lᴴ without pivoting", "cpu/lu_blocked",
          above(max) + "panels of columns, then register-tiled rank-k updates of the rest"};
}

Algorithm algorithm_cpu(Op op, int64_t n, DType dtype, Structure structure) {
  if (structure != Structure::kGeneral) return algorithm_cpu_structured(op, n, dtype, structure);
  if (op == Op::kTripleProduct) {
    if (triple_product_in_lanes(n, dtype)) return Algorithm::kLanes;
    return n <= kTripleProductRowsMax ? Algorithm::kRows : Algorithm::kPortable;
  }
  if (op == Op::kSolve) return n <= kLuLanesMax ? Algorithm::kLanes : Algorithm::kPortable;
  if (op == Op::kLuSolve) return Algorithm::kBlocked;
  if (op == Op::kLuFactor || op == Op::kDeterminant) {
    return n <= kLuLanesMax ? Algorithm::kLanes : Algorithm::kBlocked;
  }
  if (n <= inverse_lanes_max(dtype)) return Algorithm::kLanes;
  return n <= inverse_columns_max(dtype) ? Algorithm::kColumns : Algorithm::kBlocked;
}

Plan plan_cpu(Op op, DType dtype, Structure structure, Algorithm algorithm) {
  if (structure != Structure::kGeneral) return plan_cpu_structured(op, dtype, structure, algorithm);
  if (op == Op::kTripleProduct) {
    if (algorithm == Algorithm::kPortable) {
      return {algorithm, "two matrix products at full precision", "XLA dot_general",
              above(kTripleProductRowsMax) + "XLA's matrix product is as fast as a fused one"};
    }
    const bool lanes = algorithm == Algorithm::kLanes;
    return {algorithm,
            std::string("fused triple product, ") +
                (lanes ? "one matrix per SIMD lane" : "rows in SIMD vectors"),
            lanes ? "cpu/triple_product_lanes" : "cpu/triple_product_rows",
            up_to(kTripleProductRowsMax) + "three operands read once, one result written"};
  }
  if (op == Op::kSolve) {
    if (algorithm == Algorithm::kLanes) {
      return {algorithm, "LU with partial pivoting and substitution, one system per SIMD lane",
              "cpu/solve_lanes", up_to(kLuLanesMax) + "no factor is written to memory"};
    }
    return {algorithm, "portable", "XLA", above(kLuLanesMax) + "solved by its factors"};
  }
  if (op == Op::kLuSolve) {
    return {algorithm, "forward and back substitution, right-hand sides in SIMD vectors",
            "cpu/lu_solve", "any n: register tiles of rows by right-hand sides"};
  }
  if (op == Op::kLuFactor || op == Op::kDeterminant) {
    if (algorithm == Algorithm::kLanes) {
      return {algorithm, "LU with partial pivoting, one matrix per SIMD lane", "cpu/lu_lanes",
              up_to(kLuLanesMax) +
                  "the lanes of a vector work on as many matrices, no step waits for another"};
    }
    return {
        algorithm, "blocked LU with partial pivoting", "cpu/lu_blocked",
        above(kLuLanesMax) + "panels of columns, then register-tiled rank-k updates of the rest"};
  }
  switch (algorithm) {
    case Algorithm::kLanes:
      return {algorithm, "Gauss-Jordan with partial pivoting, one matrix per SIMD lane",
              "cpu/inverse_lanes",
              up_to(inverse_lanes_max(dtype)) +
                  "the lanes of a vector work on as many matrices, no step waits for another"};
    case Algorithm::kColumns:
      return {algorithm, "Gauss-Jordan with partial pivoting, columns in SIMD vectors",
              "cpu/inverse_columns",
              up_to(inverse_columns_max(dtype)) + "one matrix at a time stays in the near caches"};
    default:
      return {algorithm, "blocked in-place Gauss-Jordan with partial pivoting",
              "cpu/inverse_blocked",
              above(inverse_columns_max(dtype)) +
                  "panels of columns, then register-tiled rank-k updates of the rest"};
  }
}

int block_max(DType dtype, int64_t shared_bytes) {
  return inverse_block_max(arithmetic_bytes(dtype), shared_bytes);
}

// By one team of threads a matrix in shared memory, or not at all: all but products and inverses of what has no
// structure.
bool is_system(Op op, Structure structure) {
  return structure != Structure::kGeneral || (op != Op::kInverse && op != Op::kTripleProduct);
}

// What has no kernel anywhere, since a triangle is solved with as it is.
bool factors_triangle(Op op, Structure structure) {
  return is_triangular(structure) && op != Op::kInverse && op != Op::kSolve;
}

std::string system_in_words(Op op, Structure structure) {
  const bool pos = is_pos(structure);
  const std::string factors = pos ? "L D Lᴴ without pivoting" : "LU with partial pivoting";
  if (op == Op::kLuSolve || is_triangular(structure)) return "substitution";
  if (op == Op::kInverse) return "L D Lᴴ, inverse of L, and their product";
  return op == Op::kSolve ? factors + " and substitution" : factors;
}

Plan plan_cuda_system(Op op, DType dtype, Structure structure, Algorithm algorithm) {
  const int max = system_max(arithmetic_bytes(dtype));
  if (algorithm == Algorithm::kPortable) {
    return {algorithm, "portable", "XLA",
            factors_triangle(op, structure)
                ? "a triangle is solved with as it is"
                : above(max) +
                      "64 KB of shared memory, which every device has, do not hold the "
                      "matrix; XLA's matrix products do most of the work"};
  }
  const std::string what = system_in_words(op, structure);
  const char* kernel = op == Op::kInverse                       ? "cuda/inverse_triangle"
                       : op == Op::kSolve || op == Op::kLuSolve ? "cuda/solve"
                                                                : "cuda/lu";
  if (algorithm == Algorithm::kWarp) {
    return {algorithm, what + ", one matrix per warp or part of one", kernel,
            up_to(kWarpMax) + "no step waits for other warps, the matrix stays in shared memory"};
  }
  return {algorithm, what + ", one matrix per block of threads", kernel,
          up_to(max) + "64 KB of shared memory, which every device has, hold the matrix"};
}

Algorithm algorithm_cuda_system(Op op, int64_t n, DType dtype, Structure structure) {
  if (factors_triangle(op, structure)) return Algorithm::kPortable;
  if (n > system_max(arithmetic_bytes(dtype))) return Algorithm::kPortable;
  return n <= kWarpMax ? Algorithm::kWarp : Algorithm::kBlock;
}

Plan plan_cuda(Op op, DType dtype, Structure structure, Algorithm algorithm) {
  if (is_system(op, structure)) return plan_cuda_system(op, dtype, structure, algorithm);
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

Algorithm algorithm_cuda(Op op, int64_t n, DType dtype, Structure structure,
                         const DeviceLimits& limits) {
  if (is_system(op, structure)) return algorithm_cuda_system(op, n, dtype, structure);
  const bool inverse = op == Op::kInverse;
  if (n <= (inverse ? inverse_thread_max(dtype) : kTripleProductThreadMax)) {
    return Algorithm::kThread;
  }
  if (n <= (inverse ? inverse_warp_max(dtype) : kTripleProductMax)) return Algorithm::kWarp;
  if (!inverse) return Algorithm::kPortable;
  return n <= block_max(dtype, limits.shared_bytes) ? Algorithm::kBlock : Algorithm::kGrid;
}

bool metal_has(DType dtype) { return dtype != DType::kF64 && dtype != DType::kC128; }

Algorithm algorithm_metal(Op op, int64_t n, DType dtype, Structure structure) {
  if (!metal_has(dtype)) return Algorithm::kPortable;
  if (is_system(op, structure)) {
    return n <= kSystemSimdgroupMax && !factors_triangle(op, structure) ? Algorithm::kSimdgroup
                                                                        : Algorithm::kPortable;
  }
  const bool inverse = op == Op::kInverse;
  if (n <= (inverse ? inverse_metal_thread_max(dtype) : kTripleProductThreadMax)) {
    return Algorithm::kThread;
  }
  if (n <= (inverse ? kInverseSimdgroupMax : kTripleProductMax)) return Algorithm::kSimdgroup;
  if (!inverse) return Algorithm::kPortable;
  return n <= inverse_threadgroup_max(dtype) ? Algorithm::kThreadgroup : Algorithm::kGrid;
}

Plan plan_metal_system(Op op, Structure structure, Algorithm algorithm) {
  if (algorithm == Algorithm::kPortable) {
    return {
        algorithm, "portable", "XLA",
        factors_triangle(op, structure)
            ? "a triangle is solved with as it is"
            : above(kSystemSimdgroupMax) + "Metal kernels of inverses of general matrices only"};
  }
  const char* kernel = op == Op::kInverse                       ? "metal/triangle_simdgroup"
                       : op == Op::kSolve || op == Op::kLuSolve ? "metal/solve_simdgroup"
                                                                : "metal/lu_simdgroup";
  return {algorithm, system_in_words(op, structure) + ", one row per lane of a simdgroup", kernel,
          up_to(kSystemSimdgroupMax) +
              "a simdgroup works on 1, 2, 4 or 8 matrices in threadgroup memory"};
}

Plan plan_metal(Op op, DType dtype, Structure structure, Algorithm algorithm) {
  if (!metal_has(dtype)) {
    return {algorithm, "portable", "XLA", "Apple's GPUs have no 64-bit floating point"};
  }
  if (is_system(op, structure)) return plan_metal_system(op, structure, algorithm);
  if (op == Op::kTripleProduct) {
    switch (algorithm) {
      case Algorithm::kThread:
        return {algorithm, "fused triple product, one triple of matrices per thread",
                "metal/triple_product_thread",
                up_to(kTripleProductThreadMax) + "the registers of a thread hold them"};
      case Algorithm::kSimdgroup:
        return {algorithm, "fused triple product, one row per lane of a simdgroup",
                "metal/triple_product_simdgroup",
                up_to(kTripleProductMax) + "three operands read once, one result written"};
      default:
        return {algorithm, "two matrix products at full precision", "XLA dot_general",
                above(kTripleProductMax) + "arithmetic, no longer memory, is the limit"};
    }
  }
  switch (algorithm) {
    case Algorithm::kThread:
      return {algorithm, "Gauss-Jordan with partial pivoting, one matrix per thread",
              "metal/inverse_thread",
              up_to(inverse_metal_thread_max(dtype)) + "the registers of a thread hold it"};
    case Algorithm::kSimdgroup:
      return {
          algorithm, "Gauss-Jordan with partial pivoting, one row per lane of a simdgroup",
          "metal/inverse_simdgroup",
          up_to(kInverseSimdgroupMax) + "a simdgroup holds the matrix in registers, no row moves"};
    case Algorithm::kThreadgroup:
      return {algorithm, "Gauss-Jordan with partial pivoting, one matrix per threadgroup",
              "metal/inverse_threadgroup",
              up_to(inverse_threadgroup_max(dtype)) +
                  "a threadgroup holds the matrix in registers, no row moves"};
    default:
      return {algorithm,
              "blocked Gauss-Jordan with partial pivoting, one matrix by many threadgroups",
              "metal/inverse_grid",
              above(inverse_threadgroup_max(dtype)) +
                  "panels of columns, then register-tiled rank-k updates of the rest"};
  }
}

}  // namespace

Algorithm algorithm(Backend backend, Op op, int64_t n, DType dtype, Structure structure,
                    const DeviceLimits& limits) {
  if (n == 0) return Algorithm::kPortable;
  switch (backend) {
    case Backend::kCuda:
      return algorithm_cuda(op, n, dtype, structure, limits);
    case Backend::kMetal:
      return algorithm_metal(op, n, dtype, structure);
    default:
      return algorithm_cpu(op, n, dtype, structure);
  }
}

int64_t workspace(Backend backend, Op op, int64_t n, DType dtype, Structure structure) {
  const DeviceLimits smallest{kSmallestSharedBytes};
  const bool grid = algorithm(backend, op, n, dtype, structure, smallest) == Algorithm::kGrid;
  return grid ? inverse_grid_bytes(n, arithmetic_bytes(dtype)) : 0;
}

Plan plan(Backend backend, Op op, int64_t n, DType dtype, Structure structure) {
  const Algorithm chosen = algorithm(backend, op, n, dtype, structure);
  if (n == 0) return {chosen, "portable", "XLA", "n = 0: there is nothing to compute"};
  Plan answer;
  switch (backend) {
    case Backend::kCpu:
      answer = plan_cpu(op, dtype, structure, chosen);
      break;
    case Backend::kCuda:
      answer = plan_cuda(op, dtype, structure, chosen);
      break;
    case Backend::kMetal:
      answer = plan_metal(op, dtype, structure, chosen);
      break;
  }
  answer.workspace = workspace(backend, op, n, dtype, structure);
  return answer;
}

}  // namespace jaxinv
