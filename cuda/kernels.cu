// All kernels of one arithmetic type. Compiled once per type, JAXINV_VALUE: float, double, Complex<float>,
// Complex<double>.
#include "cuda/inverse_block.cuh"
#include "cuda/inverse_grid.cuh"
#include "cuda/inverse_thread.cuh"
#include "cuda/inverse_triangle.cuh"
#include "cuda/inverse_warp.cuh"
#include "cuda/kernels.cuh"
#include "cuda/lu.cuh"
#include "cuda/solve.cuh"
#include "cuda/triple_product_thread.cuh"
#include "cuda/triple_product_warp.cuh"

namespace jaxinv::cuda {
namespace {

constexpr int kBytes = sizeof(JAXINV_VALUE);
constexpr DType kDType = kBytes == 4 ? DType::kF32 : kBytes == 8 ? DType::kF64 : DType::kC128;
constexpr int kThreadMax = inverse_thread_max(kDType);

// Runs `kernel` of kWarps warps a block, each with `per_warp` problems at a time.
template <class Problem>
void launch_warps(void (*kernel)(Problem), const Problem& p, int warps, int per_warp,
                  size_t shared_bytes, const Context& context) {
  launch_kernel(kernel, blocks_for(p.batch, int64_t(warps) * per_warp), warps * kWarpSize,
                shared_bytes, context, p);
}

// The size that is compiled for n: the first of kFirst, kFirst + kStep, ... that is not less.
template <class V, int kN>
void inverse_thread_up_to(const InverseProblem& p, const Context& context) {
  if constexpr (kN <= kThreadMax) {
    if (p.n > kN) return inverse_thread_up_to<V, kN + 1>(p, context);
    constexpr int kWarps = kInverseThreadWarps<V, kN>;
    launch_warps(inverse_thread<V, kN>, p, kWarps, kWarpSize, kWarps * sizeof(Slots<V, kN * kN>),
                 context);
  }
}

template <class V, int kN>
void inverse_warp_up_to(const InverseProblem& p, const Context& context) {
  if constexpr (kN <= inverse_warp_max(kDType)) {
    if (p.n > kN) return inverse_warp_up_to<V, kN + 4>(p, context);
    using Shared = InverseWarpShared<V, kN>;
    constexpr int kWarps = kInverseWarpWarps<V, kN>;
    launch_warps(inverse_warp<V, kN>, p, kWarps, Shared::kMatrices, kWarps * sizeof(Shared),
                 context);
  }
}

template <class V, int kN>
void triple_product_thread_up_to(const TripleProductProblem& p, const Context& context) {
  if constexpr (kN <= kTripleProductThreadMax) {
    if (p.n > kN) return triple_product_thread_up_to<V, kN + 1>(p, context);
    constexpr int kWarps = kTripleProductThreadWarps<V, kN>;
    launch_warps(triple_product_thread<V, kN>, p, kWarps, kWarpSize,
                 kWarps * (p.l == p.r ? 2 : 3) * sizeof(Slots<V, kN * kN>), context);
  }
}

template <class V, int kN>
void triple_product_warp_up_to(const TripleProductProblem& p, const Context& context) {
  if constexpr (kN <= kTripleProductMax) {
    if (p.n > kN) return triple_product_warp_up_to<V, kN + 8>(p, context);
    using Shared = TripleProductShared<V, kN>;
    constexpr int kWarps = kTripleProductWarpWarps<V, kN>;
    launch_warps(triple_product_warp<V, kN>, p, kWarps, Shared::kMatrices, kWarps * sizeof(Shared),
                 context);
  }
}

}  // namespace

template <class V>
void launch_inverse_thread(const InverseProblem& p, const Context& context) {
  inverse_thread_up_to<V, 1>(p, context);
}
template <class V>
void launch_inverse_warp(const InverseProblem& p, const Context& context) {
  inverse_warp_up_to<V, (kThreadMax + 4) / 4 * 4>(p, context);
}
template <class V>
void launch_triple_product_thread(const TripleProductProblem& p, const Context& context) {
  triple_product_thread_up_to<V, 1>(p, context);
}
template <class V>
void launch_triple_product_warp(const TripleProductProblem& p, const Context& context) {
  triple_product_warp_up_to<V, 8>(p, context);
}

template void launch_inverse_thread<JAXINV_VALUE>(const InverseProblem&, const Context&);
template void launch_inverse_warp<JAXINV_VALUE>(const InverseProblem&, const Context&);
template void launch_inverse_block<JAXINV_VALUE>(const InverseProblem&, const Context&);
template void launch_inverse_grid<JAXINV_VALUE>(const InverseProblem&, const Context&, int);
template void launch_inverse_triangle<JAXINV_VALUE>(const InverseProblem&, const Context&);
template void launch_lu<JAXINV_VALUE>(const LuProblem&, const Context&);
template void launch_solve<JAXINV_VALUE>(const SolveProblem&, const Context&, const int32_t*);
template void launch_triple_product_thread<JAXINV_VALUE>(const TripleProductProblem&,
                                                         const Context&);
template void launch_triple_product_warp<JAXINV_VALUE>(const TripleProductProblem&, const Context&);

}  // namespace jaxinv::cuda
