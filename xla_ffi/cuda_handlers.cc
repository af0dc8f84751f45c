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

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cuda_inverse_initialize, inverse<true>,
                              bind_inverse<xffi::ExecutionStage::kInitialize>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(cuda_triple_product_initialize, triple_product<true>,
                              bind_triple_product<xffi::ExecutionStage::kInitialize>());
// A launch on the stream and nothing else, the same at every call.
XLA_FFI_DEFINE_HANDLER_SYMBOL(cuda_inverse, inverse<false>,
                              bind_inverse<xffi::ExecutionStage::kExecute>(),
                              {xffi::Traits::kCmdBufferCompatible});
XLA_FFI_DEFINE_HANDLER_SYMBOL(cuda_triple_product, triple_product<false>,
                              bind_triple_product<xffi::ExecutionStage::kExecute>(),
                              {xffi::Traits::kCmdBufferCompatible});
XLA_FFI_DEFINE_HANDLER_SYMBOL(cuda_copy, copy,
                              xffi::Ffi::Bind()
                                  .Ctx<xffi::PlatformStream<Stream>>()
                                  .Arg<xffi::AnyBuffer>()
                                  .Ret<xffi::AnyBuffer>());

}  // namespace jaxinv::ffi
