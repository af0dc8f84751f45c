#include "xla_ffi/cpu_handlers.h"

#include <exception>

#include "cpu/launch.h"
#include "xla_ffi/outcome.h"
#include "xla_ffi/problems.h"
#ifdef JAXINV_HAS_METAL
#include "metal/launch.h"
#endif

namespace jaxinv::ffi {
namespace {

// No exception leaves a handler.
template <class Problem>
xffi::Error launch(const char* handler, const Problem& problem, xffi::ThreadPool pool) {
  cpu::Context context;
  context.pool.num_threads = pool.num_threads();
  context.pool.schedule = [&pool](std::function<void()> task) { pool.Schedule(std::move(task)); };
  try {
    cpu::launch(problem, context);
  } catch (const std::exception& error) {
    return xffi::Error::Internal(std::string(handler) + ": " + error.what());
  }
  return xffi::Error::Success();
}

// On a Mac's GPU where that pays, on the CPU else. The GPU's results come later.
template <class Problem>
Outcome launch_anywhere(const char* handler, const Problem& problem, xffi::ThreadPool pool) {
#ifdef JAXINV_HAS_METAL
  if (metal::takes(problem)) {
    xffi::Promise promise;
    xffi::Future future(promise);
    const std::string name(handler);
    try {
      metal::launch(problem, {[promise, name](const std::string& error) mutable {
                      if (error.empty()) return promise.SetAvailable();
                      promise.SetError(xffi::Error::Internal(name + ": " + error));
                    }});
    } catch (const std::exception& error) {
      return xffi::Error::Internal(name + ": " + error.what());
    }
    return Outcome(std::move(future));
  }
#endif
  return launch(handler, problem, pool);
}

Outcome inverse(xffi::ThreadPool pool, xffi::AnyBuffer a, xffi::RemainingRets results,
                std::string_view structure, bool with_info, bool with_det) {
  InverseProblem problem;
  JAXINV_RETURN_IF_ERROR(
      decode_inverse(Backend::kCpu, a, results, structure, with_info, with_det, problem));
  return launch_anywhere("jaxinv_inverse", problem, pool);
}

Outcome triple_product(xffi::ThreadPool pool, xffi::AnyBuffer l, xffi::AnyBuffer g,
                       xffi::AnyBuffer r, xffi::Result<xffi::AnyBuffer> y, bool transpose_l,
                       bool transpose_g, bool transpose_r) {
  TripleProductProblem problem;
  JAXINV_RETURN_IF_ERROR(
      decode_triple_product(l, g, r, y, transpose_l, transpose_g, transpose_r, problem));
  return launch_anywhere("jaxinv_triple_product", problem, pool);
}

Outcome solve(xffi::ThreadPool pool, xffi::AnyBuffer a, xffi::AnyBuffer b,
              xffi::RemainingRets results, std::string_view structure, bool transpose,
              bool with_info) {
  SolveProblem problem;
  JAXINV_RETURN_IF_ERROR(
      decode_solve(Backend::kCpu, a, b, results, structure, transpose, with_info, problem));
  return launch_anywhere("jaxinv_solve", problem, pool);
}

Outcome lu_factor(xffi::ThreadPool pool, xffi::AnyBuffer a, xffi::Result<xffi::AnyBuffer> lu,
                  xffi::Result<xffi::AnyBuffer> permutation, xffi::Result<xffi::AnyBuffer> info,
                  std::string_view structure) {
  LuProblem problem;
  JAXINV_RETURN_IF_ERROR(
      decode_lu_factor(Backend::kCpu, a, lu, permutation, info, structure, problem));
  return launch_anywhere("jaxinv_lu_factor", problem, pool);
}

Outcome lu_solve(xffi::ThreadPool pool, xffi::AnyBuffer a, xffi::AnyBuffer lu,
                 xffi::AnyBuffer permutation, xffi::AnyBuffer b, xffi::Result<xffi::AnyBuffer> x,
                 std::string_view, bool transpose) {
  LuSolveProblem problem;
  JAXINV_RETURN_IF_ERROR(decode_lu_solve(lu, permutation, b, x, transpose, problem));
  return launch_anywhere("jaxinv_lu_solve", problem, pool);
}

Outcome determinant(xffi::ThreadPool pool, xffi::AnyBuffer a,
                    xffi::Result<xffi::AnyBuffer> mantissa, xffi::Result<xffi::AnyBuffer> exponent,
                    std::string_view structure) {
  LuProblem problem;
  JAXINV_RETURN_IF_ERROR(
      decode_determinant(Backend::kCpu, a, mantissa, exponent, structure, problem));
  return launch_anywhere("jaxinv_determinant", problem, pool);
}

xffi::Error copy(xffi::ThreadPool pool, xffi::AnyBuffer src, xffi::Result<xffi::AnyBuffer> dst) {
  CopyProblem problem;
  JAXINV_RETURN_IF_ERROR(decode_copy(src, dst, problem));
  return launch("jaxinv_copy", problem, pool);
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cpu_inverse, inverse,
                              xffi::Ffi::Bind()
                                  .Ctx<xffi::ThreadPool>()
                                  .Arg<xffi::AnyBuffer>()
                                  .RemainingRets()
                                  .Attr<std::string_view>("structure")
                                  .Attr<bool>("with_info")
                                  .Attr<bool>("with_det"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(cpu_triple_product, triple_product,
                              xffi::Ffi::Bind()
                                  .Ctx<xffi::ThreadPool>()
                                  .Arg<xffi::AnyBuffer>()
                                  .Arg<xffi::AnyBuffer>()
                                  .Arg<xffi::AnyBuffer>()
                                  .Ret<xffi::AnyBuffer>()
                                  .Attr<bool>("transpose_l")
                                  .Attr<bool>("transpose_g")
                                  .Attr<bool>("transpose_r"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(cpu_solve, solve,
                              xffi::Ffi::Bind()
                                  .Ctx<xffi::ThreadPool>()
                                  .Arg<xffi::AnyBuffer>()
                                  .Arg<xffi::AnyBuffer>()
                                  .RemainingRets()
                                  .Attr<std::string_view>("structure")
                                  .Attr<bool>("transpose")
                                  .Attr<bool>("with_info"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(cpu_lu_factor, lu_factor,
                              xffi::Ffi::Bind()
                                  .Ctx<xffi::ThreadPool>()
                                  .Arg<xffi::AnyBuffer>()
                                  .Ret<xffi::AnyBuffer>()
                                  .Ret<xffi::AnyBuffer>()
                                  .Ret<xffi::AnyBuffer>()
                                  .Attr<std::string_view>("structure"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(cpu_lu_solve, lu_solve,
                              xffi::Ffi::Bind()
                                  .Ctx<xffi::ThreadPool>()
                                  .Arg<xffi::AnyBuffer>()
                                  .Arg<xffi::AnyBuffer>()
                                  .Arg<xffi::AnyBuffer>()
                                  .Arg<xffi::AnyBuffer>()
                                  .Ret<xffi::AnyBuffer>()
                                  .Attr<std::string_view>("structure")
                                  .Attr<bool>("transpose"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(cpu_determinant, determinant,
                              xffi::Ffi::Bind()
                                  .Ctx<xffi::ThreadPool>()
                                  .Arg<xffi::AnyBuffer>()
                                  .Ret<xffi::AnyBuffer>()
                                  .Ret<xffi::AnyBuffer>()
                                  .Attr<std::string_view>("structure"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    cpu_copy, copy,
    xffi::Ffi::Bind().Ctx<xffi::ThreadPool>().Arg<xffi::AnyBuffer>().Ret<xffi::AnyBuffer>());

}  // namespace jaxinv::ffi
