#include "xla_ffi/decode.h"

#include <sstream>

namespace jaxinv::ffi {

std::optional<DType> dtype_of(xffi::DataType type) {
  switch (type) {
    case xffi::DataType::F16:
      return DType::kF16;
    case xffi::DataType::BF16:
      return DType::kBF16;
    case xffi::DataType::F32:
      return DType::kF32;
    case xffi::DataType::F64:
      return DType::kF64;
    case xffi::DataType::C64:
      return DType::kC64;
    case xffi::DataType::C128:
      return DType::kC128;
    default:
      return std::nullopt;
  }
}

std::optional<Structure> structure_of(std::string_view name) {
  constexpr std::pair<std::string_view, Structure> kNames[] = {
      {"general", Structure::kGeneral},
      {"pos upper", Structure::kPosUpper},
      {"pos lower", Structure::kPosLower},
      {"upper triangular", Structure::kUpper},
      {"lower triangular", Structure::kLower}};
  for (const auto& [own, structure] : kNames) {
    if (name == own) return structure;
  }
  return std::nullopt;
}

xffi::DataType determinant_type(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return xffi::DataType::F64;
    case DType::kC64:
      return xffi::DataType::C64;
    case DType::kC128:
      return xffi::DataType::C128;
    default:
      return xffi::DataType::F32;
  }
}

xffi::Error split(const char* handler, const char* buffer, xffi::AnyBuffer::Dimensions dims,
                  Matrices& out) {
  size_t rank = dims.size();
  if (rank < 2 || dims[rank - 1] != dims[rank - 2]) {
    std::ostringstream text;
    text << handler << ": " << buffer << " must have shape (..., n, n), got (";
    for (size_t i = 0; i < rank; ++i) text << (i ? ", " : "") << dims[i];
    text << ")";
    return xffi::Error::InvalidArgument(text.str());
  }
  out = {1, dims[rank - 1]};
  for (size_t i = 0; i + 2 < rank; ++i) out.batch *= dims[i];
  return xffi::Error::Success();
}

xffi::Error expect(const char* handler, const char* buffer, const xffi::AnyBuffer& actual,
                   xffi::DataType type, int64_t count) {
  if (actual.element_type() == type && int64_t(actual.element_count()) == count) {
    return xffi::Error::Success();
  }
  std::ostringstream text;
  text << handler << ": " << buffer << " must have element type " << type << " and " << count
       << " elements, got " << actual.element_type() << " and " << actual.element_count();
  return xffi::Error::InvalidArgument(text.str());
}

}  // namespace jaxinv::ffi
