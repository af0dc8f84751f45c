#include "xla_ffi/problems.h"

namespace jaxinv::ffi {
namespace {

constexpr char kInverse[] = "jaxinv_inverse";
constexpr char kTripleProduct[] = "jaxinv_triple_product";
constexpr char kCopy[] = "jaxinv_copy";

xffi::Error unsupported(const char* handler, const char* what) {
  return xffi::Error::InvalidArgument(std::string(handler) + ": unsupported " + what);
}

}  // namespace

xffi::Error decode_inverse(Backend backend, xffi::AnyBuffer a, xffi::RemainingRets results,
                           std::string_view structure, bool with_info, bool with_det,
                           InverseProblem& problem) {
  std::optional<DType> dtype = dtype_of(a.element_type());
  if (!dtype) return unsupported(kInverse, "element type of a");
  if (structure != "general") return unsupported(kInverse, "structure");
  Matrices matrices;
  JAXINV_RETURN_IF_ERROR(split(kInverse, "a", a.dimensions(), matrices));
  const int64_t scratch = workspace(backend, Op::kInverse, matrices.n, *dtype, Structure::kGeneral);
  if (results.size() != size_t(1 + with_info + 2 * with_det + (scratch > 0))) {
    return unsupported(kInverse, "number of results");
  }
  problem = {*dtype,           Structure::kGeneral,
             matrices.n,       matrices.batch,
             a.untyped_data(), nullptr,
             nullptr,          nullptr,
             nullptr,          nullptr};
  size_t next = 0;
  auto take = [&](const char* name, xffi::DataType type, int64_t count, auto*& data) {
    auto result = results.get<xffi::AnyBuffer>(next++);
    if (!result.has_value()) return unsupported(kInverse, "result");
    JAXINV_RETURN_IF_ERROR(expect(kInverse, name, **result, type, count));
    data = static_cast<std::remove_reference_t<decltype(data)>>((*result)->untyped_data());
    return xffi::Error::Success();
  };
  int64_t batch = matrices.batch;
  JAXINV_RETURN_IF_ERROR(
      take("inverse", a.element_type(), batch * matrices.n * matrices.n, problem.x));
  if (with_info) JAXINV_RETURN_IF_ERROR(take("info", xffi::DataType::S32, batch, problem.info));
  if (with_det) {
    JAXINV_RETURN_IF_ERROR(take("mantissa", determinant_type(*dtype), batch, problem.mantissa));
    JAXINV_RETURN_IF_ERROR(take("exponent", xffi::DataType::S32, batch, problem.exponent));
  }
  if (scratch) {
    JAXINV_RETURN_IF_ERROR(take("scratch", xffi::DataType::U8, batch * scratch, problem.scratch));
  }
  return xffi::Error::Success();
}

xffi::Error decode_triple_product(xffi::AnyBuffer l, xffi::AnyBuffer g, xffi::AnyBuffer r,
                                  xffi::Result<xffi::AnyBuffer> y, bool transpose_l,
                                  bool transpose_g, bool transpose_r,
                                  TripleProductProblem& problem) {
  std::optional<DType> dtype = dtype_of(g.element_type());
  if (!dtype) return unsupported(kTripleProduct, "element type of g");
  Matrices matrices;
  JAXINV_RETURN_IF_ERROR(split(kTripleProduct, "g", g.dimensions(), matrices));
  int64_t count = matrices.batch * matrices.n * matrices.n;
  JAXINV_RETURN_IF_ERROR(expect(kTripleProduct, "l", l, g.element_type(), count));
  JAXINV_RETURN_IF_ERROR(expect(kTripleProduct, "r", r, g.element_type(), count));
  JAXINV_RETURN_IF_ERROR(expect(kTripleProduct, "y", *y, g.element_type(), count));
  problem = {*dtype,           transpose_l,      transpose_g,      transpose_r,
             matrices.n,       matrices.batch,   l.untyped_data(), g.untyped_data(),
             r.untyped_data(), y->untyped_data()};
  return xffi::Error::Success();
}

xffi::Error decode_copy(xffi::AnyBuffer src, xffi::Result<xffi::AnyBuffer> dst,
                        CopyProblem& problem) {
  JAXINV_RETURN_IF_ERROR(
      expect(kCopy, "dst", *dst, src.element_type(), int64_t(src.element_count())));
  problem = {int64_t(src.size_bytes()), src.untyped_data(), dst->untyped_data()};
  return xffi::Error::Success();
}

}  // namespace jaxinv::ffi
