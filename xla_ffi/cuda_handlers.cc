#include "xla_ffi/cuda_handlers.h"

#include <exception>

#include "cuda/launch.h"
#include "xla_ffi/problems.h"

namespace jaxinv::ffi {
namespace {

using Stream = CUstream_st*;

// No exception leaves a handler.
template <class Problem>
xffi::Error launch(const char* handler, const Problem& problem, const cuda::Context& context) {
  try {
    cuda::launch(problem, context);
  } catch (const std::exception& error) {
    return xffi::Error::Internal(std::string(handler) + ": " + error.what());
  }
  return xffi::Error::Success();
}

template <bool kPrepare>
xffi::Error inverse(Stream stream, xffi::AnyBuffer a, xffi::RemainingRets results,
                    std::string_view structure, bool with_info, bool with_det) {
  InverseProblem problem;
  JAXINV_RETURN_IF_ERROR(
      decode_inverse(Backend::kCuda, a, results, structure, with_info, with_det, problem));
  return launch("jaxinv_inverse", problem, {stream, kPrepare});
}

template <bool kPrepare>
xffi::Error triple_product(Stream stream, xffi::AnyBuffer l, xffi::AnyBuffer g, xffi::AnyBuffer r,
                           xffi::Result<xffi::AnyBuffer> y, bool transpose_l, bool transpose_g,
                           bool transpose_r) {
  TripleProductProblem problem;
  JAXINV_RETURN_IF_ERROR(
      decode_triple_product(l, g, r, y, transpose_l, transpose_g, transpose_r, problem));
  return launch("jaxinv_triple_product", problem, {stream, kPrepare});
}

template <bool kPrepare>
xffi::Error solve(Stream stream, xffi::AnyBuffer a, xffi::AnyBuffer b, xffi::RemainingRets results,
                  std::string_view structure, bool transpose, bool with_info) {
  SolveProblem problem;
  JAXINV_RETURN_IF_ERROR(
      decode_solve(Backend::kCuda, a, b, results, structure, transpose, with_info, problem));
  return launch("jaxinv_solve", problem, {stream, kPrepare});
}

template <bool kPrepare>
xffi::Error lu_factor(Stream stream, xffi::AnyBuffer a, xffi::Result<xffi::AnyBuffer> lu,
                      xffi::Result<xffi::AnyBuffer> permutation, xffi::Result<xffi::AnyBuffer> info,
                      std::string_view structure) {
  LuProblem problem;
  JAXINV_RETURN_IF_ERROR(
      decode_lu_factor(Backend::kCuda, a, lu, permutation, info, structure, problem));
  return launch("jaxinv_lu_factor", problem, {stream, kPrepare});
}

template <bool kPrepare>
xffi::Error lu_solve(Stream stream, xffi::AnyBuffer a, xffi::AnyBuffer lu,
                     xffi::AnyBuffer permutation, xffi::AnyBuffer b,
                     xffi::Result<xffi::AnyBuffer> x, std::string_view, bool transpose) {
  LuSolveProblem problem;
  JAXINV_RETURN_IF_ERROR(decode_lu_solve(lu, permutation, b, x, transpose, problem));
  return launch("jaxinv_lu_solve", problem, {stream, kPrepare});
}

template <bool kPrepare>
xffi::Error determinant(Stream stream, xffi::AnyBuffer a, xffi::Result<xffi::AnyBuffer> mantissa,
                        xffi::Result<xffi::AnyBuffer> exponent, std::string_view structure) {
  LuProblem problem;
  JAXINV_RETURN_IF_ERROR(
      decode_determinant(Backend::kCuda, a, mantissa, exponent, structure, problem));
  return launch("jaxinv_determinant", problem, {stream, kPrepare});
}

xffi::Error copy(Stream stream, xffi::AnyBuffer src, xffi::Result<xffi::AnyBuffer> dst) {
  CopyProblem problem;
  JAXINV_RETURN_IF_ERROR(decode_copy(src, dst, problem));
  return launch("jaxinv_copy", problem, {stream});
}

template <xffi::ExecutionStage kStage>
auto bind_inverse() {
  return xffi::Ffi::Bind<kStage>()
      .template Ctx<xffi::PlatformStream<Stream>>()
      .template Arg<xffi::AnyBuffer>()
      .RemainingRets()
      .template Attr<std::string_view>("structure")
      .template Attr<bool>("with_info")
      .template Attr<bool>("with_det");
}

template <xffi::ExecutionStage kStage>
auto bind_triple_product() {
  return xffi::Ffi::Bind<kStage>()
      .template Ctx<xffi::PlatformStream<Stream>>()
      .template Arg<xffi::AnyBuffer>()
      .template Arg<xffi::AnyBuffer>()
      .template Arg<xffi::AnyBuffer>()
      .template Ret<xffi::AnyBuffer>()
      .template Attr<bool>("transpose_l")
      .template Attr<bool>("transpose_g")
      .template Attr<bool>("transpose_r");
}

template <xffi::ExecutionStage kStage>
auto bind_solve() {
  return xffi::Ffi::Bind<kStage>()
      .template Ctx<xffi::PlatformStream<Stream>>()
      .template Arg<xffi::AnyBuffer>()
      .template Arg<xffi::AnyBuffer>()
      .RemainingRets()
      .template Attr<std::string_view>("structure")
      .template Attr<bool>("transpose")
      .template Attr<bool>("with_info");
}

template <xffi::ExecutionStage kStage>
auto bind_lu_factor() {
  return xffi::Ffi::Bind<kStage>()
      .template Ctx<xffi::PlatformStream<Stream>>()
      .template Arg<xffi::AnyBuffer>()
      .template Ret<xffi::AnyBuffer>()
      .template Ret<xffi::AnyBuffer>()
      .template Ret<xffi::AnyBuffer>()
      .template Attr<std::string_view>("structure");
}

template <xffi::ExecutionStage kStage>
auto bind_lu_solve() {
  return xffi::Ffi::Bind<kStage>()
      .template Ctx<xffi::PlatformStream<Stream>>()
      .template Arg<xffi::AnyBuffer>()
      .template Arg<xffi::AnyBuffer>()
      .template Arg<xffi::AnyBuffer>()
      .template Arg<xffi::AnyBuffer>()
      .template Ret<xffi::AnyBuffer>()
      .template Attr<std::string_view>("structure")
      .template Attr<bool>("transpose");
}

template <xffi::ExecutionStage kStage>
auto bind_determinant() {
  return xffi::Ffi::Bind<kStage>()
      .template Ctx<xffi::PlatformStream<Stream>>()
      .template Arg<xffi::AnyBuffer>()
      .template Ret<xffi::AnyBuffer>()
      .template Ret<xffi::AnyBuffer>()
      .template Attr<std::string_view>("structure");
}

}  // namespace

// What is executed is a launch on the stream and nothing else, the same at every call.
#define JAXINV_CUDA_HANDLER(op)                                                                    \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(cuda_##op##_initialize, op<true>,                                  \
                                bind_##op<xffi::ExecutionStage::kInitialize>());                   \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(cuda_##op, op<false>, bind_##op<xffi::ExecutionStage::kExecute>(), \
                                {xffi::Traits::kCmdBufferCompatible})
JAXINV_CUDA_HANDLER(inverse);
JAXINV_CUDA_HANDLER(triple_product);
JAXINV_CUDA_HANDLER(solve);
JAXINV_CUDA_HANDLER(lu_factor);
JAXINV_CUDA_HANDLER(lu_solve);
JAXINV_CUDA_HANDLER(determinant);

XLA_FFI_DEFINE_HANDLER_SYMBOL(cuda_copy, copy,
                              xffi::Ffi::Bind()
                                  .Ctx<xffi::PlatformStream<Stream>>()
                                  .Arg<xffi::AnyBuffer>()
                                  .Ret<xffi::AnyBuffer>());

}  // namespace jaxinv::ffi
