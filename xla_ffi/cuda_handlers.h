// FFI handlers of the CUDA platform.
#pragma once

#include "xla/ffi/api/ffi.h"

namespace jaxinv::ffi {

// Before the first call, and outside of any CUDA graph: kernels are loaded and their attributes set.
XLA_FFI_DECLARE_HANDLER_SYMBOL(cuda_inverse_initialize);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cuda_triple_product_initialize);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cuda_solve_initialize);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cuda_lu_factor_initialize);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cuda_lu_solve_initialize);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cuda_determinant_initialize);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cuda_inverse);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cuda_triple_product);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cuda_solve);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cuda_lu_factor);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cuda_lu_solve);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cuda_determinant);
XLA_FFI_DECLARE_HANDLER_SYMBOL(cuda_copy);

}  // namespace jaxinv::ffi
