// Elimination by columns of one or two vectors, one step at a time on all of the matrix, n known to the compiler.
// Part of cpu/inverse_columns.h.
#pragma once

#include "cpu/columns.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// The largest n whose columns are short.
template <class V>
constexpr int kShortColumnsMax = 2 * V::W < 16 ? 2 * V::W : 16;

template <class V, int kN>
class ShortColumns : public ColumnTypes<V> {
 public:
  using typename ColumnTypes<V>::R;
  using typename ColumnTypes<V>::I;
  using typename ColumnTypes<V>::Index;
  using ColumnTypes<V>::W;
  static constexpr int kVectors = (kN + W - 1) / W, kStride = kVectors * ColumnTypes<V>::kReals;
  // Matrices that take turns: each pivot search is one chain of dependent instructions.
  static constexpr int kGroup = kVectors == 1 ? 4 : 2;
  static constexpr I kPlaces = kVectors * W - 1;  // the low bits of a pivot key

  ShortColumns() {
    for (R& pivot : pivots_) pivot = 1;
    for (int64_t& step : step_) step = 0;  // NaN may keep a row from ever being a pivot
  }
  static constexpr int64_t n() { return kN; }
  static constexpr int64_t vectors() { return kVectors; }
  static constexpr int64_t stride() { return kStride; }
  R* tile() { return tile_; }
  R* pivots() { return pivots_; }
  Index* place() { return place_; }
  int64_t* at() { return at_; }
  int64_t* step() { return step_; }
  static V finish(V x, int64_t) { return x; }

 private:
  alignas(64) R tile_[kN * kStride];
  alignas(64) R pivots_[kStride];
  Index place_[kVectors];
  int64_t at_[kN];
  int64_t step_[kVectors * W];
};

template <class E>
JAXINV_INLINE void eliminate_short(E& e, int64_t k) {
  using V = typename E::V;
  using R = typename E::R;
  using Real = typename E::Real;
  using Index = typename E::Index;
  constexpr int kVectors = E::kVectors, kReals = E::kReals;
  R* column = e.tile() + k * E::kStride;
  Index* place = e.place();
  V x[kVectors];
  Real key[kVectors];
  JAXINV_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    x[v] = V::load(column + v * kReals);
    key[v] = place_key<E>(x[v], place[v]);
  }
  Real best = key[0];
  JAXINV_UNROLL
  for (int v = 1; v < kVectors; ++v) best = larger(key[v], best);
  best = largest_lane(best);
  const int64_t at = best.bits().v[0] & E::kPlaces, offset = E::offset(at);
  const V pivot = take_place<E>(column, offset, best.bits());
  const V negative = usual_reciprocal(-pivot), inverse = -negative;
  V factor[kVectors];
  Index others[kVectors];
  JAXINV_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    const Index pivot_lane = key[v].bits() == best.bits();
    factor[v] = select(pivot_lane, inverse, x[v] * negative);
    others[v] = others_than(pivot_lane);
    place[v] = place[v] | (pivot_lane & Index(E::kTaken));
  }
  e.at()[k] = at;
  e.step()[at] = k;
  for (int part = 0; part < E::P; ++part) {
    e.pivots()[E::offset(k) + part * E::W] = real_at(pivot, part);
  }
  R* __restrict y = e.tile();
#pragma GCC unroll 16
  for (int j = 0; j < int(E::n()); ++j) {
    const V multiple = broadcast_lane<V>(y + j * E::kStride + offset);
    JAXINV_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      R* to = y + j * E::kStride + v * kReals;
      fma(factor[v], multiple, keep(others[v], V::load(to))).store(to);
    }
  }
  JAXINV_UNROLL
  for (int v = 0; v < kVectors; ++v) factor[v].store(column + v * kReals);
}

template <class V, int kN>
JAXINV_INLINE void eliminate(ShortColumns<V, kN>* group, int count) {
  for (int64_t k = 0; k < kN; ++k) {
    for (int g = 0; g < count; ++g) eliminate_short(group[g], k);
  }
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
