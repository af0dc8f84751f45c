// What a handler of the cpu platform returns: an error or success at once, or a future of a GPU's.
#pragma once

#include <variant>

#include "xla_ffi/decode.h"

namespace jaxinv::ffi {

using Outcome = std::variant<xffi::Error, xffi::Future>;

}  // namespace jaxinv::ffi

namespace xla::ffi {

template <ExecutionStage stage>
struct ResultEncoding<stage, jaxinv::ffi::Outcome> {
  static std::variant<XLA_FFI_Error*, XLA_FFI_Future*> Encode(const XLA_FFI_Api* api,
                                                              XLA_FFI_ExecutionContext* context,
                                                              jaxinv::ffi::Outcome outcome) {
    if (outcome.index() == 0) {
      return ResultEncoding<stage, Error>::Encode(api, context, std::get<0>(std::move(outcome)));
    }
    return ResultEncoding<stage, Future>::Encode(api, context, std::get<1>(std::move(outcome)));
  }
};

}  // namespace xla::ffi
