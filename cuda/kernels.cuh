// The kernels of one arithmetic type: what the launcher sees of a translation unit (cuda/kernels.cu).
#pragma once

#include "core/problem.h"
#include "cuda/launch.h"

namespace jaxinv::cuda {

template <class V>
void launch_inverse_thread(const InverseProblem& problem, const Context& context);
template <class V>
void launch_inverse_warp(const InverseProblem& problem, const Context& context);
template <class V>
void launch_inverse_block(const InverseProblem& problem, const Context& context);
// panel_rows: panels of more rows stand in memory, for so many threads (tests make it small).
template <class V>
void launch_inverse_grid(const InverseProblem& problem, const Context& context,
                         int panel_rows = 1024);
// Of triangles and positive definite matrices.
template <class V>
void launch_inverse_triangle(const InverseProblem& problem, const Context& context);
template <class V>
void launch_lu(const LuProblem& problem, const Context& context);
// With a permutation: by the factors that stand in the place of the matrix.
template <class V>
void launch_solve(const SolveProblem& problem, const Context& context,
                  const int32_t* permutation = nullptr);
template <class V>
void launch_triple_product_thread(const TripleProductProblem& problem, const Context& context);
template <class V>
void launch_triple_product_warp(const TripleProductProblem& problem, const Context& context);

}  // namespace jaxinv::cuda
