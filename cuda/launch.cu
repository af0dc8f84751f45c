// Runs a problem on the GPU: asks the plan, picks the kernels of the arithmetic's type.
#include "core/plan.h"
#include "cuda/device.cuh"
#include "cuda/kernels.cuh"
#include "cuda/launch.h"

namespace jaxinv::cuda {
namespace {

// Calls f with a value of the type that is computed with.
template <class F>
void with_arithmetic(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF64:
      return f(double());
    case DType::kC64:
      return f(Complex<float>());
    case DType::kC128:
      return f(Complex<double>());
    default:
      return f(float());
  }
}

DeviceLimits limits() { return {device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)}; }

[[noreturn]] void no_kernel(const char* op, int64_t n) {
  throw std::invalid_argument("no CUDA kernel for the " + std::string(op) +
                              " at n = " + std::to_string(n));
}

}  // namespace

void launch(const InverseProblem& p, const Context& context) {
  if (p.batch == 0 || p.n == 0) return;
  with_arithmetic(p.dtype, [&](auto v) {
    using V = decltype(v);
    const Algorithm chosen =
        algorithm(Backend::kCuda, Op::kInverse, p.n, p.dtype, p.structure, limits());
    if (p.structure != Structure::kGeneral && chosen != Algorithm::kPortable) {
      return launch_inverse_triangle<V>(p, context);
    }
    switch (chosen) {
      case Algorithm::kThread:
        return launch_inverse_thread<V>(p, context);
      case Algorithm::kWarp:
        return launch_inverse_warp<V>(p, context);
      case Algorithm::kBlock:
        return launch_inverse_block<V>(p, context);
      case Algorithm::kGrid:
        return launch_inverse_grid<V>(p, context);
      default:
        no_kernel("inverse", p.n);
    }
  });
}

void launch(const TripleProductProblem& p, const Context& context) {
  if (p.batch == 0 || p.n == 0) return;
  with_arithmetic(p.dtype, [&](auto v) {
    using V = decltype(v);
    switch (algorithm(Backend::kCuda, Op::kTripleProduct, p.n, p.dtype, Structure::kGeneral)) {
      case Algorithm::kThread:
        return launch_triple_product_thread<V>(p, context);
      case Algorithm::kWarp:
        return launch_triple_product_warp<V>(p, context);
      default:
        no_kernel("triple product", p.n);
    }
  });
}

void launch(const LuProblem& p, const Context& context) {
  if (p.batch == 0 || p.n == 0) return;
  const Op op = p.lu ? Op::kLuFactor : Op::kDeterminant;
  if (algorithm(Backend::kCuda, op, p.n, p.dtype, p.structure) == Algorithm::kPortable) {
    no_kernel(p.lu ? "factors" : "determinant", p.n);
  }
  with_arithmetic(p.dtype, [&](auto v) { launch_lu<decltype(v)>(p, context); });
}

void launch(const LuSolveProblem& p, const Context& context) {
  if (p.batch == 0 || p.n == 0 || p.columns == 0) return;
  if (algorithm(Backend::kCuda, Op::kLuSolve, p.n, p.dtype, p.structure) == Algorithm::kPortable) {
    no_kernel("solution by factors", p.n);
  }
  const SolveProblem q{
      p.dtype, Structure::kGeneral, p.transpose, p.n, p.columns, p.batch, p.lu, p.b, p.x, nullptr};
  with_arithmetic(p.dtype, [&](auto v) { launch_solve<decltype(v)>(q, context, p.permutation); });
}

void launch(const SolveProblem& p, const Context& context) {
  if (p.batch == 0 || p.n == 0) return;
  if (algorithm(Backend::kCuda, Op::kSolve, p.n, p.dtype, p.structure) == Algorithm::kPortable) {
    no_kernel("solution", p.n);
  }
  with_arithmetic(p.dtype, [&](auto v) { launch_solve<decltype(v)>(p, context); });
}

void launch(const CopyProblem& p, const Context& context) {
  check(cudaMemcpyAsync(p.dst, p.src, p.bytes, cudaMemcpyDeviceToDevice, context.stream),
        "copying");
}

}  // namespace jaxinv::cuda
