// core/range.h for the matrices of a lane group, each in its lane.
#pragma once

#include "core/range.h"
#include "cpu/simd.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

template <class R, int W>
struct LaneRange {
  using Real = RVec<R, W>;
  using Index = typename Real::Index;
  using I = typename Real::I;
  bool any;     // false for most groups: nothing is to be done
  Index shift;  // the exponent of each lane
  Real power;

  JAXINV_INLINE LaneRange(const R* tile, int64_t reals) {
    Real size(R(0));
    JAXINV_UNROLL
    for (int64_t e = 0; e < reals; ++e) {
      Real x = abs(Real::load(tile + e * W));
      size = select(x > size, x, size);
    }
    Index huge = size > Real(Range<R>::kHuge);
    Index tiny = (Real(Range<R>::kTiny) > size) & (size > Real(R(0)));
    Index either = huge | tiny;
    I set = 0;
    JAXINV_UNROLL
    for (int lane = 0; lane < W; ++lane) set |= either.v[lane];
    any = set != 0;
    shift = (tiny & Index(I(Range<R>::kShift))) - (huge & Index(I(Range<R>::kShift)));
    power = select(huge, Real(1 / Range<R>::kUp), select(tiny, Real(Range<R>::kUp), Real(R(1))));
  }

  // Multiplies by the power of two: the matrix before its elimination, the inverse after it.
  JAXINV_INLINE void apply(R* tile, int64_t reals) const {
    if (!any) return;
    for (int64_t e = 0; e < reals; ++e) (Real::load(tile + e * W) * power).store(tile + e * W);
  }
};

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
