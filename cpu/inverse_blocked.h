// Algorithm: blocked in-place Gauss-Jordan with partial pivoting, one matrix at a time. No identity is
// carried along. A panel of columns is eliminated over all rows, the rest updated by rank-k products
// with the multipliers of each single step (docs/adr/0002). Threads may share column tiles: same bits.
// Lanes: consecutive columns of one row; in a panel, consecutive rows of one column.
// n: any. dtypes: all; half types are computed in float32, complex in planar form.
// Memory: a copy of the matrix padded to whole vectors, a panel, the factors of two blocks.
#pragma once

#include "cpu/blocked_block.h"
#include "cpu/determinant.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

template <class S>
void inverse_blocked(const InverseProblem& p, int64_t index, void* scratch, const cpu::Team* team) {
  using B = Blocked<S>;
  using R = typename B::R;
  const int64_t n = p.n;
  B b(n);
  b.place(scratch);
  const S* src = static_cast<const S*>(p.a) + index * n * n;
  S* dst = static_cast<S*>(p.x) + index * n * n;
  const int shift = Range<R>::shift(load_matrix(src, b));
  const R scale = Range<R>::power(shift);
  if (shift) {
    for (int64_t i = 0; i < b.rows * b.columns * B::P; ++i) b.a[i] *= scale;
  }
  for (int64_t i = 0; i < n; ++i) b.origin[i] = i;
  const int64_t width = b.block_width;
  int64_t info = eliminate_block(b, 0, n < width ? n : width, team);
  for (int64_t k = 0; k < n && !info; k += width) {
    info = update_and_go_on(b, k, n - k < width ? n - k : width, team);
  }
  bool odd = false;
  for (int64_t k = 0; k < n && !info; ++k) odd ^= b.swap[k] != k;
  if (info) {
    fill_nan(dst, n * n);
  } else {
    store_matrix(b, scale, dst, team);
  }
  store_by_products<S>(p, index, info, b.pivots, odd, shift);
}

template <class S>
size_t inverse_blocked_scratch(int64_t n) {
  return Blocked<S>(n).bytes() + 8;
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
