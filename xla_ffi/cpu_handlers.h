// FFI handlers of the cpu platform.
#pragma once

#include "xla/ffi/api/ffi.h"

namespace jaxinv::ffi {

XLA_FFI_DECLARE_HANDLER_SYMBOL(cpu_inverse);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cpu_triple_product);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cpu_solve);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cpu_lu_factor);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cpu_lu_solve);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cpu_determinant);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cpu_copy);

}  // namespace jaxinv::ffi
