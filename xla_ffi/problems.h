// Decodes and validates the buffers and attributes of one custom call; shared by every platform.
#pragma once

#include <string_view>

#include "core/plan.h"
#include "xla_ffi/decode.h"

namespace jaxinv::ffi {

// Results, in order: the inverse; with `with_info` info; with `with_det` mantissa and exponent; scratch memory
// where the backend's plan has a workspace.
xffi::Error decode_inverse(Backend backend, xffi::AnyBuffer a, xffi::RemainingRets results,
                           std::string_view structure, bool with_info, bool with_det,
                           InverseProblem& problem);

xffi::Error decode_triple_product(xffi::AnyBuffer l, xffi::AnyBuffer g, xffi::AnyBuffer r,
                                  xffi::Result<xffi::AnyBuffer> y, bool transpose_l,
                                  bool transpose_g, bool transpose_r,
                                  TripleProductProblem& problem);

// Results, in order: the solution; with `with_info` info.
xffi::Error decode_solve(Backend backend, xffi::AnyBuffer a, xffi::AnyBuffer b,
                         xffi::RemainingRets results, std::string_view structure, bool transpose,
                         bool with_info, SolveProblem& problem);

xffi::Error decode_lu_factor(Backend backend, xffi::AnyBuffer a, xffi::Result<xffi::AnyBuffer> lu,
                             xffi::Result<xffi::AnyBuffer> permutation,
                             xffi::Result<xffi::AnyBuffer> info, std::string_view structure,
                             LuProblem& problem);

xffi::Error decode_lu_solve(xffi::AnyBuffer lu, xffi::AnyBuffer permutation, xffi::AnyBuffer b,
                            xffi::Result<xffi::AnyBuffer> x, bool transpose,
                            LuSolveProblem& problem);

xffi::Error decode_determinant(Backend backend, xffi::AnyBuffer a,
                               xffi::Result<xffi::AnyBuffer> mantissa,
                               xffi::Result<xffi::AnyBuffer> exponent, std::string_view structure,
                               LuProblem& problem);

xffi::Error decode_copy(xffi::AnyBuffer src, xffi::Result<xffi::AnyBuffer> dst,
                        CopyProblem& problem);

}  // namespace jaxinv::ffi
