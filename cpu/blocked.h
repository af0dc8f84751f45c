// Storage of the blocked elimination: the padded copy of the matrix, its panels, and the ways
// between them and memory.
#pragma once

#include "cpu/lanes.h"
#include "cpu/range.h"
#include "cpu/share.h"

#ifndef JAXINV_BLOCKS_FROM  // tests bring it down
#define JAXINV_BLOCKS_FROM 640
#endif

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// Geometry and scratch of one elimination.
template <class S>
struct Blocked {
  using R = typename Storage<S>::R;
  static constexpr int P = Storage<S>::kParts;
  static constexpr int W = kVectorBytes / int(sizeof(R));
  using V = Value<R, W, P>;
  using Real = RVec<R, W>;
  using Index = typename V::Index;
  // Register tile: kTileRows rows of kTileVectors vectors, one broadcast and one vector row beside
  // them.
  static constexpr int kTileVectors = P == 2 ? 1 : 2;
  static constexpr int kTileRows =
      P == 2 ? (kRegisters == 32 ? 8 : 4) : (kRegisters == 32 ? 12 : 6);
  static constexpr int kTileColumns = kTileVectors * W;
  static constexpr int kPanelMax = 32, kPanelsOfBlock = 4;
  static constexpr int64_t kBlocksFrom = JAXINV_BLOCKS_FROM;

  int64_t n, rows, columns;  // rows and columns: padded to whole vectors and tiles
  int64_t tiles;             // register tiles of a column
  int64_t panel_width;
  int64_t
      block_width;  // of so many steps the rest of the matrix takes at once: one panel or several
  R* a;             // tiles · kTileRows × columns, row-major, [W re][W im] blocks for complex
  R* panel;         // panel_width columns of `rows` numbers, column-major, in the same blocks
  R* factors;  // block_width such columns: c holds what step c subtracts of its pivot row in each row
  R* lower;    // block_width × block_width: the factors among the pivot rows of earlier steps
  R* scales;        // two numbers a step: pivot row ← (pivot row · power of two) · reciprocal
  R* others;        // another three of these: the next block's, while this one is applied
  R* multiple;      // the pivot row of a step, scaled, inside the panel
  R* pivots;        // n numbers
  R* packed;        // blocks of several panels: the factors by register tiles, step after step
  R* pivot_rows;    // the same: the pivot rows by column tiles, each at its own step
  int64_t* swap;    // row swapped in at each step
  int64_t* origin;  // original row of each row

  static int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

  explicit Blocked(int64_t n) : n(n) {
    rows = round_up(n, W);
    columns = round_up(n, kTileColumns);
    // Rows a multiple of 4 KB apart would fall into the same cache sets.
    if (columns * P * sizeof(R) % 4096 == 0) columns += kTileColumns;
    if (rows * P * sizeof(R) % 4096 == 0) rows += W;
    tiles = round_up(rows, kTileRows) / kTileRows;
    // A panel costs n · width² vector updates with a load and a store each: narrow ones for small n.
    panel_width = n <= 192 ? 16 : 32;
    if (panel_width < kTileColumns) panel_width = kTileColumns;
    // Matrices that no near cache holds are read and written once a block.
    block_width = n >= kBlocksFrom ? kPanelsOfBlock * panel_width : panel_width;
  }
  size_t reals() const {
    const bool blocks = block_width > panel_width;
    return P * (tiles * kTileRows * columns + panel_width * (rows + 1) +
                2 * block_width * (rows + block_width + 2) + round_up(n, 2) +
                (blocks ? block_width * (tiles * kTileRows + columns) : 0));
  }
  size_t bytes() const { return reals() * sizeof(R) + 2 * n * sizeof(int64_t); }
  void place(void* scratch) {
    a = static_cast<R*>(scratch);
    panel = a + P * tiles * kTileRows * columns;
    factors = panel + P * rows * panel_width;
    lower = factors + P * rows * block_width;
    scales = lower + P * block_width * block_width;
    others = scales + 2 * P * block_width;
    packed = others + (others - factors);
    pivot_rows = packed + (block_width > panel_width ? P * tiles * kTileRows * block_width : 0);
    multiple = pivot_rows + (block_width > panel_width ? P * columns * block_width : 0);
    pivots = multiple + P * panel_width;
    swap = reinterpret_cast<int64_t*>(pivots + P * round_up(n, 2));
    origin = swap + n;
  }
  // The same with the other factors.
  Blocked beside() const {
    Blocked b = *this;
    const ptrdiff_t offset = others - factors;
    b.others = factors;
    b.factors += offset;
    b.lower += offset;
    b.scales += offset;
    return b;
  }
  // Where number i of a blocked row or column starts (its real part; the imaginary part W further).
  static int64_t at(int64_t i) { return P == 1 ? i : i / W * W * P + i % W; }
};

template <class B>
JAXINV_INLINE typename B::V broadcast_number(const typename B::R* p) {
  if constexpr (B::P == 2) {
    return {RVec<typename B::R, B::W>(p[0]), RVec<typename B::R, B::W>(p[B::W])};
  } else {
    return typename B::V(p[0]);
  }
}

// size ← the larger of it and the |reals| of a row.
template <class B>
JAXINV_INLINE void take_largest(const B& b, const typename B::R* row, typename B::Real& size) {
  using Real = typename B::Real;
  for (int64_t j = 0; j < b.columns * B::P; j += B::W) {
    const Real x = abs(Real::load(row + j));
    size = select(x > size, x, size);
  }
}
template <class B>
typename B::R largest_real(const B& b) {
  typename B::Real size(typename B::R(0));
  for (int64_t i = 0; i < b.n; ++i) take_largest(b, b.a + i * b.columns * B::P, size);
  return largest_lane(size).v[0];
}

// Copies the matrix in, returns the largest |real|.
template <class S, class B>
typename B::R load_matrix(const S* src, B& b) {
  using R = typename B::R;
  using Real = RVec<R, B::W>;
  Real size(R(0));
  for (int64_t i = 0; i < b.tiles * B::kTileRows; ++i) {
    R* row = b.a + i * b.columns * B::P;
    if (i >= b.n) {
      memset(row, 0, sizeof(R) * b.columns * B::P);
      continue;
    }
    const S* from = src + i * b.n;
    int64_t done = b.n / B::W * B::W;
    if constexpr (B::P == 2) {
      for (int64_t j = 0; j < done; j += B::W) {
        for (int l = 0; l < B::W; ++l) {
          row[2 * j + l] = from[j + l].re;
          row[2 * j + l + B::W] = from[j + l].im;
        }
      }
      memset(row + 2 * done, 0, sizeof(R) * (b.columns - done) * 2);
      for (int64_t j = done; j < b.n; ++j) {
        row[B::at(j)] = from[j].re;
        row[B::at(j) + B::W] = from[j].im;
      }
    } else {
      if constexpr (kIsHalf<S>) {
        for (int64_t j = 0; j < b.n; ++j) row[j] = to_float(from[j]);
      } else {
        memcpy(row, from, sizeof(R) * b.n);
      }
      memset(row + b.n, 0, sizeof(R) * (b.columns - b.n));
    }
    take_largest(b, row, size);
  }
  return largest_lane(size).v[0];
}

// Brings panel columns k … from the row-major copy to column order, or back; from row `first` on.
template <bool back, class B>
void move_panel(B& b, int64_t k, int64_t width, int64_t first = 0) {
  using Real = RVec<typename B::R, B::W>;
  for (int64_t i = first / B::W * B::W; i < b.rows; i += B::W) {
    for (int64_t j = 0; j < width; j += B::W) {
      for (int part = 0; part < B::P; ++part) {
        typename B::R* row = b.a + (i * b.columns + k + j) * B::P + part * B::W;
        typename B::R* column = b.panel + (j * b.rows + i) * B::P + part * B::W;
        typename Real::Raw v[B::W];
        for (int l = 0; l < B::W; ++l) {
          v[l] = Real::load(back ? column + l * b.rows * B::P : row + l * b.columns * B::P).v;
        }
        transpose<B::W>(v);
        for (int l = 0; l < B::W; ++l) {
          Real(v[l]).store(back ? row + l * b.columns * B::P : column + l * b.rows * B::P);
        }
      }
    }
  }
}

// One row of the inverse, column j from place[j]. In the order of the output: scattered stores cost several times
// what scattered loads do.
template <class S, class B>
void store_row(const typename B::R* row, const int64_t* place, int64_t n, typename B::R unscale,
               S* dst) {
  for (int64_t j = 0; j < n; ++j) {
    const typename B::R x = row[place[j]] * unscale;
    if constexpr (B::P == 2) {
      dst[j] = {x, row[place[j] + B::W] * unscale};
    } else if constexpr (kIsHalf<S>) {
      from_float(x, dst[j]);
    } else {
      dst[j] = x;
    }
  }
}

// Writes the inverse, columns put back in order and the power of two taken back.
template <class S, class B>
void store_matrix(B& b, typename B::R unscale, S* dst, const cpu::Team* team) {
  int64_t* place = b.swap;  // its work is done
  for (int64_t k = 0; k < b.n; ++k) place[b.origin[k]] = B::at(k);
  share(b.n, team ? 32 : b.n, team, [&](int64_t i, int64_t last) {
    for (; i < last; ++i) {
      store_row<S, B>(b.a + i * b.columns * B::P, place, b.n, unscale, dst + i * b.n);
    }
  });
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
