// The vocabulary of the FFI handlers: buffers and attributes into the plain structs of
// core/problem.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/problem.h"
#include "xla/ffi/api/ffi.h"

namespace jaxinv::ffi {

namespace xffi = ::xla::ffi;

#define JAXINV_RETURN_IF_ERROR(expression)                                     \
  do {                                                                         \
    if (::xla::ffi::Error error = (expression); error.failure()) return error; \
  } while (0)

// Shape of a batch of square matrices.
struct Matrices {
  int64_t batch;
  int64_t n;
};

std::optional<DType> dtype_of(xffi::DataType type);
std::optional<Structure> structure_of(std::string_view name);

// The dtype in which a determinant is returned.
xffi::DataType determinant_type(DType dtype);

// Splits (..., n, n) into batch and n; an error names the handler and the buffer.
xffi::Error split(const char* handler, const char* buffer, xffi::AnyBuffer::Dimensions dims,
                  Matrices& out);

// Checks that a buffer has this element type and number of elements.
xffi::Error expect(const char* handler, const char* buffer, const xffi::AnyBuffer& actual,
                   xffi::DataType type, int64_t count);

}  // namespace jaxinv::ffi
