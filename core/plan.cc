#include "core/plan.h"

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

}  // namespace

Algorithm algorithm(Backend backend, Op op, int64_t n, DType dtype, Structure structure) {
  (void)structure;  // one structure so far
  if (backend != Backend::kCpu || n == 0) return Algorithm::kPortable;
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

Plan plan(Backend backend, Op op, int64_t n, DType dtype, Structure structure) {
  switch (backend) {
    case Backend::kCpu:
      return plan_cpu(op, n, dtype, algorithm(backend, op, n, dtype, structure));
    case Backend::kCuda:
      return {Algorithm::kPortable, "portable", "XLA", "jaxinv has no CUDA kernels yet"};
    case Backend::kMetal:
      return {Algorithm::kPortable, "portable", "XLA", "jaxinv has no Metal kernels yet"};
  }
  return {};
}

}  // namespace jaxinv
