#include "core/plan.h"

namespace jaxinv {
namespace {

Plan plan_cpu(Op op, int64_t n) {
  if (n == 0) {
    return {Algorithm::kPortable, "portable", "XLA", "n = 0: there is nothing to compute"};
  }
  const std::string range = "n <= " + std::to_string(kLanesMax);
  const std::string above = "n > " + std::to_string(kLanesMax);
  if (op == Op::kInverse) {
    if (n <= kLanesMax) {
      return {
          Algorithm::kLanes, "Gauss-Jordan with partial pivoting, one matrix per SIMD lane",
          "cpu/inverse_lanes",
          range + ": the lanes of a vector work on as many matrices, no step waits for another"};
    }
    return {Algorithm::kBlocked, "blocked in-place Gauss-Jordan with partial pivoting",
            "cpu/inverse_blocked",
            above + ": panels of columns, then register-tiled rank-k updates of the rest"};
  }
  if (n <= kLanesMax) {
    return {Algorithm::kLanes, "fused triple product, one matrix per SIMD lane",
            "cpu/triple_product_lanes", range + ": three operands read once, one result written"};
  }
  return {Algorithm::kPortable, "two matrix products at full precision", "XLA dot_general",
          above + ": XLA's matrix product is faster than a fused one"};
}

}  // namespace

Plan plan(Backend backend, Op op, int64_t n, DType dtype, Structure structure) {
  (void)dtype;      // every dtype has the same ranges on the CPU
  (void)structure;  // one structure so far
  switch (backend) {
    case Backend::kCpu:
      return plan_cpu(op, n);
    case Backend::kCuda:
      return {Algorithm::kPortable, "portable", "XLA", "jaxinv has no CUDA kernels yet"};
    case Backend::kMetal:
      return {Algorithm::kPortable, "portable", "XLA", "jaxinv has no Metal kernels yet"};
  }
  return {};
}

}  // namespace jaxinv
