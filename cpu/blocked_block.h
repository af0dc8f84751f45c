// Blocks of panels: in matrices that no near cache holds, the steps of several panels at once on all columns
// outside, each read and written once. Every entry sees its steps in order, as with single panels.
#pragma once

#include "cpu/blocked_panel.h"
#include "cpu/blocked_update.h"
#include "cpu/share.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// The panel that starts `first` columns into a block.
template <class B>
B panel_of(const B& b, int64_t first) {
  B panel = b;
  panel.factors += first * b.rows * B::P;
  panel.lower += (first * b.block_width + first) * B::P;
  panel.scales += first * 2 * B::P;
  return panel;
}

// Eliminates the block of columns k … k + width − 1, one panel or several. Returns the first bad step or 0.
template <class B>
int64_t eliminate_block(const B& b, int64_t k, int64_t width, const cpu::Team* team) {
  for (int64_t first = 0; first < width; first += b.panel_width) {
    B panel = panel_of(b, first);
    const int64_t start = k + first, rest = width - first;
    const int64_t own = rest < b.panel_width ? rest : b.panel_width;
    move_panel<false>(panel, start, own);
    const int64_t info = eliminate_panel(panel, start, own);
    if (info) return info;
    for (int64_t step = start; step < start + own; ++step) {
      if (b.swap[step] != step) swap_panel_rows(b, b.factors, first, step, b.swap[step]);
    }
    split_factors(panel, start, 0, own, 0, own);
    const ColumnTiles<B> tiles(start, own, k, k + width);
    share(tiles.count, team ? 1 : tiles.count, team,
          [&](int64_t t, int64_t last) { update_by_panel(panel, start, own, tiles, t, last); });
    move_panel<true>(panel, start, own);
  }
  return 0;
}

// The factors of a block's steps by register tiles.
template <class B>
void pack_factors(const B& b, int64_t width, int64_t tile) {
  constexpr int kRows = B::kTileRows;
  typename B::R* packed = b.packed + tile * width * kRows * B::P;
  for (int64_t step = 0; step < width; ++step, packed += kRows * B::P) {
    const typename B::R* factors = b.factors + step * b.rows * B::P;
    for (int r = 0; r < kRows; ++r) {
      const int64_t row = tile * kRows + r;
      for (int part = 0; part < B::P; ++part) {
        packed[part * kRows + r] = row < b.n ? factors[B::at(row) + part * B::W] : 0;
      }
    }
  }
}

// Row tiles begin … end − 1 of a column tile.
template <class B>
void update_row_tiles(const B& b, int64_t width, int64_t begin, int64_t end,
                      const typename B::R* pivot_rows, typename B::R* column) {
  constexpr int kRows = B::kTileRows;
  for (int64_t tile = begin; tile < end; ++tile) {
    const typename B::R* left[kRows];
    JAXINV_UNROLL
    for (int r = 0; r < kRows; ++r) left[r] = b.packed + tile * width * kRows * B::P + r;
    subtract_products<kRows, kRows>(b, width, left, kRows * B::P, pivot_rows,
                                    column + tile * kRows * b.columns * B::P);
  }
}

constexpr int kRowStrip =
    144;  // of so many rows the second-level cache holds the factors of a block

// Makes the factors of several panels ready for update_by_block.
template <class B>
void pack_block(const B& b, int64_t k, int64_t width, const cpu::Team* team) {
  for (int64_t first = b.panel_width; first < width; first += b.panel_width) {
    const int64_t end = first + b.panel_width;
    split_factors(b, k, 0, first, first, end < width ? end : width);
  }
  share(b.tiles, kRowStrip / B::kTileRows, team, [&](int64_t tile, int64_t last) {
    for (; tile < last; ++tile) pack_factors(b, width, tile);
  });
}

// Applies a block of several panels to the column tiles first … last − 1 of `tiles`, a strip of rows at a time: what
// the second-level cache holds of the factors, and the first-level one of the pivot rows, is used by all of them.
template <class B>
void update_by_block(const B& b, int64_t k, int64_t width, const ColumnTiles<B>& tiles,
                     int64_t first, int64_t last) {
  constexpr int64_t kStrip = kRowStrip / B::kTileRows;
  auto pivot_rows = [&](int64_t t) { return b.pivot_rows + tiles.column(t) * width * B::P; };
  for (int64_t t = first; t < last; ++t) {
    take_pivot_rows(b, k, width, b.a + tiles.column(t) * B::P, pivot_rows(t));
  }
  for (int64_t begin = 0; begin < b.tiles; begin += kStrip) {
    const int64_t end = begin + kStrip < b.tiles ? begin + kStrip : b.tiles;
    for (int64_t t = first; t < last; ++t) {
      update_row_tiles(b, width, begin, end, pivot_rows(t), b.a + tiles.column(t) * B::P);
    }
  }
}

// Applies the block of columns k … to all columns outside it, and eliminates the next one. Returns the first bad
// step of that or 0. A small team sees to the next block first, beside the other columns: its panels are the work of
// one thread. In a large one that thread would come last.
template <class B>
int64_t update_and_go_on(B& b, int64_t k, int64_t width, const cpu::Team* team) {
  const bool blocks = b.block_width > b.panel_width;
  if (blocks) pack_block(b, k, width, team);
  auto update = [&](const ColumnTiles<B>& tiles, int64_t first, int64_t last) {
    blocks ? update_by_block(b, k, width, tiles, first, last)
           : update_by_panel(b, k, width, tiles, first, last);
  };
  const int64_t start = k + width, rest = b.n - start;
  const int64_t own = rest < b.block_width ? rest : b.block_width;
  const bool ahead = own && team && team->threads * 5 * b.block_width <= 2 * b.n;
  const ColumnTiles<B> others(k, ahead ? width + own : width, 0, b.n);
  const int64_t group = team ? 2 : 8;
  const B next = ahead ? b.beside() : b;
  int64_t info = 0;
  share(ahead + (others.count + group - 1) / group, 1, team, [&](int64_t task, int64_t) {
    if (ahead && task == 0) {
      const ColumnTiles<B> tiles(k, width, k, start + own);
      update(tiles, 0, tiles.count);
      info = eliminate_block(next, start, own, nullptr);
      return;
    }
    const int64_t first = (task - ahead) * group, last = first + group;
    update(others, first, last < others.count ? last : others.count);
  });
  if (own && !ahead) info = eliminate_block(next, start, own, team);
  b = next;
  return info;
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
