// The trailing update of the blocked elimination: column tiles outside the panel, in register
// tiles.
#pragma once

#include "cpu/blocked.h"
#include "cpu/kernel_set.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// kRows rows from i of one column tile: subtracts the product of the factors with the pivot rows.
template <int kRows, class B>
JAXINV_INLINE void update_tile(const B& b, int64_t width, int64_t i,
                               const typename B::R* pivot_rows, typename B::R* tile) {
  using R = typename B::R;
  using V = typename B::V;
  constexpr int kVectors = B::kTileVectors;
  V sum[kRows][kVectors];
  const R* left[kRows];
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    left[r] = b.factors + B::at(i + r);
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      sum[r][c] = V::load(tile + (i + r) * b.columns * B::P + c * B::W * B::P);
    }
  }
  const int64_t stride = b.rows * B::P;
  for (int64_t k = 0, at = 0; k < width; ++k, at += stride, pivot_rows += B::kTileColumns * B::P) {
    V right[kVectors];
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) right[c] = V::load(pivot_rows + c * B::W * B::P);
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) {
      // One pointer for rows that stand side by side: registers are few.
      V l = broadcast_number<B>(B::P == 1 ? left[0] + r + at : left[r] + at);
      JAXINV_UNROLL
      for (int c = 0; c < kVectors; ++c) sum[r][c] = fnma(l, right[c], sum[r][c]);
    }
  }
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      sum[r][c].store(tile + (i + r) * b.columns * B::P + c * B::W * B::P);
    }
  }
}

// Brings kRows pivot rows from `first` on to their own steps: subtracts the multiples of the pivot
// rows before them, then of each other, and scales each.
template <int kRows, class B>
JAXINV_INLINE void solve_pivot_rows(const B& b, int64_t first, typename B::R* rows) {
  using R = typename B::R;
  using V = typename B::V;
  constexpr int kVectors = B::kTileVectors, kReals = B::kTileColumns * B::P;
  V x[kRows][kVectors];
  auto lower = [&](int64_t row, int64_t step) {
    const R* p = b.lower + (row * b.panel_width + step) * B::P;
    if constexpr (B::P == 2) {
      return V(RVec<R, B::W>(p[0]), RVec<R, B::W>(p[1]));
    } else {
      return V(p[0]);
    }
  };
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c)
      x[r][c] = V::load(rows + (first + r) * kReals + c * B::W * B::P);
  }
  for (int64_t step = 0; step < first; ++step) {
    V right[kVectors];
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) right[c] = V::load(rows + step * kReals + c * B::W * B::P);
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) {
      V l = lower(first + r, step);
      JAXINV_UNROLL
      for (int c = 0; c < kVectors; ++c) x[r][c] = fnma(l, right[c], x[r][c]);
    }
  }
  JAXINV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const R* p = b.scales + (first + r) * 2 * B::P;
    RVec<R, B::W> scale(p[0]);
    V inverse(p[1]);
    if constexpr (B::P == 2) inverse.im = RVec<R, B::W>(p[2]);
    JAXINV_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      x[r][c] = (x[r][c] * scale) * inverse;
      x[r][c].store(rows + (first + r) * kReals + c * B::W * B::P);
    }
    JAXINV_UNROLL
    for (int below = r + 1; below < kRows; ++below) {
      V l = lower(first + below, first + r);
      JAXINV_UNROLL
      for (int c = 0; c < kVectors; ++c) x[below][c] = fnma(l, x[r][c], x[below][c]);
    }
  }
}

template <int kRows, class B>
JAXINV_INLINE void update_last_rows(const B& b, int64_t width, int64_t i,
                                    const typename B::R* packed, typename B::R* tile) {
  if constexpr (kRows > 0) {
    if (b.n - i == kRows) return update_tile<kRows>(b, width, i, packed, tile);
    return update_last_rows<kRows - 1>(b, width, i, packed, tile);
  }
}

// Applies the panel of columns k … to the column tile that starts at column j: row swaps, the pivot
// rows brought each to its own step, then tile ← tile − factors · (pivot rows), they themselves
// from zero.
template <class B>
void update_column_tile(const B& b, int64_t k, int64_t width, int64_t j) {
  using R = typename B::R;
  using V = typename B::V;
  alignas(64) R packed[B::kPanelMax * B::kTileColumns * B::P];
  constexpr int kReals = B::kTileColumns * B::P;
  R* tile = b.a + j * B::P;
  const int64_t stride = b.columns * B::P;
  for (int64_t c = 0; c < width; ++c) {
    R* here = tile + (k + c) * stride;
    R* there = tile + b.swap[k + c] * stride;
    if (here == there) continue;
    for (int v = 0; v < kReals; v += B::W * B::P) {
      V x = V::load(here + v), y = V::load(there + v);
      x.store(there + v);
      y.store(here + v);
    }
  }
  for (int64_t c = 0; c < width; ++c) {
    memcpy(packed + c * kReals, tile + (k + c) * stride, sizeof(R) * kReals);
    memset(tile + (k + c) * stride, 0, sizeof(R) * kReals);
  }
  int64_t i = 0;
  for (; i + 4 <= width; i += 4) solve_pivot_rows<4>(b, i, packed);
  for (; i < width; ++i) solve_pivot_rows<1>(b, i, packed);
  for (i = 0; i + B::kTileRows <= b.n; i += B::kTileRows) {
    update_tile<B::kTileRows>(b, width, i, packed, tile);
  }
  update_last_rows<B::kTileRows - 1>(b, width, i, packed, tile);
}

// All column tiles outside the panel, shared by the team where there is one.
template <class B>
void update_outside(const B& b, int64_t k, int64_t width, const cpu::Team* team) {
  struct Job {
    const B& b;
    int64_t k, width, before, tiles, per_task;
  };
  int64_t before = k / B::kTileColumns;
  int64_t after = b.round_up(k + width, B::kTileColumns) / B::kTileColumns;
  int64_t tiles = before + b.round_up(b.n, B::kTileColumns) / B::kTileColumns - after;
  Job job{b, k, width, before, tiles, team ? (tiles + 7) / 8 : tiles};
  if (tiles == 0) return;
  auto body = [](void* arg, int64_t task) {
    const Job& job = *static_cast<Job*>(arg);
    int64_t end = (task + 1) * job.per_task < job.tiles ? (task + 1) * job.per_task : job.tiles;
    for (int64_t t = task * job.per_task; t < end; ++t) {
      int64_t column = t * B::kTileColumns;
      if (t >= job.before) column += B::round_up(job.width, B::kTileColumns);
      update_column_tile(job.b, job.k, job.width, column);
    }
  };
  int64_t tasks = (tiles + job.per_task - 1) / job.per_task;
  if (team) return team->run(team->self, tasks, body, &job);
  for (int64_t task = 0; task < tasks; ++task) body(&job, task);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
