#include "xla_ffi/problems.h"

namespace jaxinv::ffi {
namespace {

constexpr char kInverse[] = "jaxinv_inverse";
constexpr char kTripleProduct[] = "jaxinv_triple_product";
constexpr char kSolve[] = "jaxinv_solve";
constexpr char kLuFactor[] = "jaxinv_lu_factor";
constexpr char kLuSolve[] = "jaxinv_lu_solve";
constexpr char kDeterminant[] = "jaxinv_determinant";
constexpr char kCopy[] = "jaxinv_copy";

xffi::Error unsupported(const char* handler, const char* what) {
  return xffi::Error::InvalidArgument(std::string(handler) + ": unsupported " + what);
}

// The arithmetic of systems is done in the dtype of their buffers: half types are refused.
std::optional<DType> computed_dtype_of(const xffi::AnyBuffer& a) {
  std::optional<DType> dtype = dtype_of(a.element_type());
  return dtype == DType::kF16 || dtype == DType::kBF16 ? std::nullopt : dtype;
}

// The structure, where the backend has a kernel for it.
std::optional<Structure> supported(Backend backend, Op op, int64_t n, DType dtype,
                                   std::string_view name) {
  std::optional<Structure> structure = structure_of(name);
  if (!structure || structure == Structure::kGeneral) return structure;
  const bool native = algorithm(backend, op, n, dtype, *structure) != Algorithm::kPortable;
  return native ? structure : std::nullopt;
}

// Columns of right-hand sides (..., n, columns) that fit these matrices.
xffi::Error columns_of(const char* handler, const xffi::AnyBuffer& b, xffi::DataType type,
                       const Matrices& matrices, int64_t& columns) {
  auto dims = b.dimensions();
  if (dims.size() < 2) return unsupported(handler, "rank of b");
  columns = dims.back();
  return expect(handler, "b", b, type, matrices.batch * matrices.n * columns);
}

}  // namespace

xffi::Error decode_inverse(Backend backend, xffi::AnyBuffer a, xffi::RemainingRets results,
                           std::string_view structure, bool with_info, bool with_det,
                           InverseProblem& problem) {
  std::optional<DType> dtype = dtype_of(a.element_type());
  if (!dtype) return unsupported(kInverse, "element type of a");
  Matrices matrices;
  JAXINV_RETURN_IF_ERROR(split(kInverse, "a", a.dimensions(), matrices));
  std::optional<Structure> known = supported(backend, Op::kInverse, matrices.n, *dtype, structure);
  if (!known) return unsupported(kInverse, "structure");
  const int64_t scratch = workspace(backend, Op::kInverse, matrices.n, *dtype, *known);
  if (results.size() != size_t(1 + with_info + 2 * with_det + (scratch > 0))) {
    return unsupported(kInverse, "number of results");
  }
  problem = {*dtype,  *known,  matrices.n, matrices.batch, a.untyped_data(),
             nullptr, nullptr, nullptr,    nullptr,        nullptr};
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

xffi::Error decode_solve(Backend backend, xffi::AnyBuffer a, xffi::AnyBuffer b,
                         xffi::RemainingRets results, std::string_view structure, bool transpose,
                         bool with_info, SolveProblem& problem) {
  std::optional<DType> dtype = computed_dtype_of(a);
  if (!dtype) return unsupported(kSolve, "element type of a");
  Matrices matrices;
  int64_t columns;
  JAXINV_RETURN_IF_ERROR(split(kSolve, "a", a.dimensions(), matrices));
  JAXINV_RETURN_IF_ERROR(columns_of(kSolve, b, a.element_type(), matrices, columns));
  std::optional<Structure> known = supported(backend, Op::kSolve, matrices.n, *dtype, structure);
  if (!known) return unsupported(kSolve, "structure");
  if (backend == Backend::kCpu && *known == Structure::kGeneral &&
      (matrices.n > kLuLanesMax || columns > kLuLanesMax)) {
    return unsupported(kSolve, "size");
  }
  if (results.size() != size_t(1 + with_info)) return unsupported(kSolve, "number of results");
  auto x = results.get<xffi::AnyBuffer>(0);
  if (!x.has_value()) return unsupported(kSolve, "result");
  JAXINV_RETURN_IF_ERROR(expect(kSolve, "x", **x, a.element_type(), b.element_count()));
  problem = {*dtype,         *known,           transpose,        matrices.n,           columns,
             matrices.batch, a.untyped_data(), b.untyped_data(), (*x)->untyped_data(), nullptr};
  if (with_info) {
    auto info = results.get<xffi::AnyBuffer>(1);
    if (!info.has_value()) return unsupported(kSolve, "result");
    JAXINV_RETURN_IF_ERROR(expect(kSolve, "info", **info, xffi::DataType::S32, matrices.batch));
    problem.info = static_cast<int32_t*>((*info)->untyped_data());
  }
  return xffi::Error::Success();
}

xffi::Error decode_lu_factor(Backend backend, xffi::AnyBuffer a, xffi::Result<xffi::AnyBuffer> lu,
                             xffi::Result<xffi::AnyBuffer> permutation,
                             xffi::Result<xffi::AnyBuffer> info, std::string_view structure,
                             LuProblem& problem) {
  std::optional<DType> dtype = computed_dtype_of(a);
  if (!dtype) return unsupported(kLuFactor, "element type of a");
  Matrices matrices;
  JAXINV_RETURN_IF_ERROR(split(kLuFactor, "a", a.dimensions(), matrices));
  std::optional<Structure> known = supported(backend, Op::kLuFactor, matrices.n, *dtype, structure);
  if (!known) return unsupported(kLuFactor, "structure");
  const int64_t rows = matrices.batch * matrices.n;
  constexpr xffi::DataType kInt = xffi::DataType::S32;
  JAXINV_RETURN_IF_ERROR(expect(kLuFactor, "lu", *lu, a.element_type(), rows * matrices.n));
  JAXINV_RETURN_IF_ERROR(expect(kLuFactor, "permutation", *permutation, kInt, rows));
  JAXINV_RETURN_IF_ERROR(expect(kLuFactor, "info", *info, kInt, matrices.batch));
  problem = {*dtype,
             *known,
             matrices.n,
             matrices.batch,
             a.untyped_data(),
             lu->untyped_data(),
             static_cast<int32_t*>(permutation->untyped_data()),
             static_cast<int32_t*>(info->untyped_data()),
             nullptr,
             nullptr};
  return xffi::Error::Success();
}

xffi::Error decode_lu_solve(xffi::AnyBuffer lu, xffi::AnyBuffer permutation, xffi::AnyBuffer b,
                            xffi::Result<xffi::AnyBuffer> x, bool transpose,
                            LuSolveProblem& problem) {
  std::optional<DType> dtype = computed_dtype_of(lu);
  if (!dtype) return unsupported(kLuSolve, "element type of lu");
  Matrices matrices;
  int64_t columns;
  JAXINV_RETURN_IF_ERROR(split(kLuSolve, "lu", lu.dimensions(), matrices));
  JAXINV_RETURN_IF_ERROR(columns_of(kLuSolve, b, lu.element_type(), matrices, columns));
  JAXINV_RETURN_IF_ERROR(expect(kLuSolve, "permutation", permutation, xffi::DataType::S32,
                                matrices.batch * matrices.n));
  JAXINV_RETURN_IF_ERROR(expect(kLuSolve, "x", *x, lu.element_type(), b.element_count()));
  problem = {*dtype,
             transpose,
             matrices.n,
             columns,
             matrices.batch,
             lu.untyped_data(),
             static_cast<const int32_t*>(permutation.untyped_data()),
             b.untyped_data(),
             x->untyped_data()};
  return xffi::Error::Success();
}

xffi::Error decode_determinant(Backend backend, xffi::AnyBuffer a,
                               xffi::Result<xffi::AnyBuffer> mantissa,
                               xffi::Result<xffi::AnyBuffer> exponent, std::string_view structure,
                               LuProblem& problem) {
  std::optional<DType> dtype = computed_dtype_of(a);
  if (!dtype) return unsupported(kDeterminant, "element type of a");
  Matrices matrices;
  JAXINV_RETURN_IF_ERROR(split(kDeterminant, "a", a.dimensions(), matrices));
  std::optional<Structure> known =
      supported(backend, Op::kDeterminant, matrices.n, *dtype, structure);
  if (!known) return unsupported(kDeterminant, "structure");
  JAXINV_RETURN_IF_ERROR(
      expect(kDeterminant, "mantissa", *mantissa, a.element_type(), matrices.batch));
  JAXINV_RETURN_IF_ERROR(
      expect(kDeterminant, "exponent", *exponent, xffi::DataType::S32, matrices.batch));
  problem = {*dtype,
             *known,
             matrices.n,
             matrices.batch,
             a.untyped_data(),
             nullptr,
             nullptr,
             nullptr,
             mantissa->untyped_data(),
             static_cast<int32_t*>(exponent->untyped_data())};
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
