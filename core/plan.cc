#include "core/plan.h"

namespace jaxinv {
namespace {

Plan plan_cpu(Op op, int64_t n, DType dtype) {
  if (n == 0) {
    return {Algorithm::kPortable, "portable", "XLA", "n = 0: there is nothing to compute"};
  }
  auto range = [](const char* relation, int64_t edge) {
    return std::string("n ") + relation + " " + std::to_string(edge) + ": ";
  };
  if (op == Op::kTripleProduct) {
    if (n <= kTripleProductMax) {
      return {Algorithm::kLanes, "fused triple product, one matrix per SIMD lane",
              "cpu/triple_product_lanes",
              range("<=", kTripleProductMax) + "three operands read once, one result written"};
    }
    return {Algorithm::kPortable, "two matrix products at full precision", "XLA dot_general",
            range(">", kTripleProductMax) + "XLA's matrix product is faster than a fused one"};
  }
  const int lanes_max = inverse_lanes_max(dtype), columns_max = inverse_columns_max(dtype);
  if (n <= lanes_max) {
    return {Algorithm::kLanes, "Gauss-Jordan with partial pivoting, one matrix per SIMD lane",
            "cpu/inverse_lanes",
            range("<=", lanes_max) +
                "the lanes of a vector work on as many matrices, no step waits for another"};
  }
  if (n <= columns_max) {
    return {Algorithm::kColumns, "Gauss-Jordan with partial pivoting, columns in SIMD vectors",
            "cpu/inverse_columns",
            range("<=", columns_max) + "one matrix at a time stays in the near caches"};
  }
  return {Algorithm::kBlocked, "blocked in-place Gauss-Jordan with partial pivoting",
          "cpu/inverse_blocked",
          range(">", columns_max) +
              "panels of columns, then register-tiled rank-k updates of the rest"};
}

}  // namespace

Plan plan(Backend backend, Op op, int64_t n, DType dtype, Structure structure) {
  (void)structure;  // one structure so far
  switch (backend) {
    case Backend::kCpu:
      return plan_cpu(op, n, dtype);
    case Backend::kCuda:
      return {Algorithm::kPortable, "portable", "XLA", "jaxinv has no CUDA kernels yet"};
    case Backend::kMetal:
      return {Algorithm::kPortable, "portable", "XLA", "jaxinv has no Metal kernels yet"};
  }
  return {};
}

}  // namespace jaxinv
