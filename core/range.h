// Matrices near the ends of the floating-point range are multiplied by a power of two before their
// elimination: intermediate results would over- or underflow where the inverse does not.
#pragma once

#include "core/scalar.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

template <class R>
struct Range {
  static constexpr int kShift = sizeof(R) == 4 ? 24 : 96;
  static constexpr R kUp = sizeof(R) == 4 ? R(0x1p24) : R(0x1p96);
  static constexpr R kHuge = sizeof(R) == 4 ? R(0x1p111) : R(0x1p991);
  static constexpr R kTiny = sizeof(R) == 4 ? R(0x1p-101) : R(0x1p-926);

  // Exponent of the power of two for a matrix whose largest entry is `size`; 0 for most.
  static JAXINV_INLINE int shift(R size) {
    return size > kHuge ? -kShift : size < kTiny && size > 0 ? kShift : 0;
  }
  static JAXINV_INLINE R power(int shift) { return shift > 0 ? kUp : shift < 0 ? 1 / kUp : R(1); }
};

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
