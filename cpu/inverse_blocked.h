// Inverse of one matrix at a time: blocked in-place Gauss-Jordan with partial pivoting (no identity
// is carried along: the zeros of inversion are never touched). A panel of columns is eliminated
// over all rows in column order; the rest is updated by rank-k products in register tiles, with the
// multipliers of each single step: multiplying by the inverse of the pivot block instead would be
// simpler and lose one of the two residuals. Threads may share the column tiles: same bits. n: any.
// dtypes: all; half types are computed in float32, complex in planar form. Memory: a copy of the
// matrix padded to whole vectors, two panels.
#pragma once

#include "cpu/determinant.h"
#include "cpu/kernel_set.h"
#include "cpu/lanes.h"
#include "cpu/range.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif

// Geometry and scratch of one elimination.
template <class S>
struct Blocked {
  using R = typename Storage<S>::R;
  static constexpr int P = Storage<S>::kParts;
  static constexpr int W = kVectorBytes / int(sizeof(R));
  using V = Value<R, W, P>;
  using Index = typename V::Index;
  // Register tile: kTileRows rows of kTileVectors vectors, one broadcast and one vector row beside
  // them.
  static constexpr int kTileVectors = P == 2 ? 1 : 2;
  static constexpr int kTileRows =
      P == 2 ? (kRegisters == 32 ? 8 : 4) : (kRegisters == 32 ? 12 : 6);
  static constexpr int kTileColumns = kTileVectors * W;
  static constexpr int kPanelMax = 64;

  int64_t n, rows, columns;  // rows and columns: padded to whole vectors and tiles
  int64_t panel_width;
  R* a;             // rows × columns, row-major, [W re][W im] blocks for complex
  R* panel;         // panel_width columns of `rows` numbers, column-major, in the same blocks
  R* factors;       // like panel: column c holds what step c subtracts of its pivot row in each row
  R* lower;         // panel_width × panel_width: the factors among the pivot rows of earlier steps
  R* multiple;      // the pivot row of a step, scaled, inside the panel
  R* pivots;        // n numbers
  R* scales;        // two numbers a panel step: pivot row ← (pivot row · power of two) · reciprocal
  int64_t* swap;    // row swapped in at each step
  int64_t* origin;  // original row of each row

  static int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

  explicit Blocked(int64_t n) : n(n) {
    rows = round_up(n, W);
    columns = round_up(n, kTileColumns);
    // Rows a multiple of 4 KB apart would fall into the same cache sets.
    if (columns * P * sizeof(R) % 4096 == 0) columns += kTileColumns;
    if (rows * P * sizeof(R) % 4096 == 0) rows += W;
    panel_width = n <= 256 ? 32 : 64;
  }
  size_t reals() const {
    return P * (rows * columns + panel_width * (2 * rows + panel_width + 3) + n);
  }
  size_t bytes() const { return reals() * sizeof(R) + 2 * n * sizeof(int64_t); }
  void place(void* scratch) {
    a = static_cast<R*>(scratch);
    panel = a + P * rows * columns;
    factors = panel + P * rows * panel_width;
    lower = factors + P * rows * panel_width;
    multiple = lower + P * panel_width * panel_width;
    scales = multiple + P * panel_width;
    pivots = scales + 2 * P * panel_width;
    // All counts but n are even: one float of padding may be missing before the integers.
    swap = reinterpret_cast<int64_t*>(pivots + P * n + (P * n * sizeof(R) % 8 ? 1 : 0));
    origin = swap + n;
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

// Copies the matrix in, returns the largest |real|.
template <class S, class B>
typename B::R load_matrix(const S* src, B& b) {
  using R = typename B::R;
  using Real = RVec<R, B::W>;
  Real size(R(0));
  for (int64_t i = 0; i < b.rows; ++i) {
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
    for (int64_t j = 0; j < b.columns * B::P; j += B::W) {
      Real x = abs(Real::load(row + j));
      size = select(x > size, x, size);
    }
  }
  R largest = 0;
  for (int l = 0; l < B::W; ++l) largest = size.v[l] > largest ? size.v[l] : largest;
  return largest;
}

// Brings panel columns k … from the row-major copy to column order, or back.
template <bool back, class B>
void move_panel(B& b, int64_t k, int64_t width) {
  using Real = RVec<typename B::R, B::W>;
  for (int64_t i = 0; i < b.rows; i += B::W) {
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

// The row of the largest entry of a panel column at or below row k; ties take the lowest row.
template <class B>
int64_t find_pivot_row(const B& b, const typename B::R* column, int64_t k) {
  using R = typename B::R;
  using Real = RVec<R, B::W>;
  using Index = typename B::Index;
  using I = typename Real::I;
  Real best(R(-1));
  int64_t start = k / B::W * B::W;
  Index index = Index(I(start)), row = Index(I(k));
  for (int l = 0; l < B::W; ++l) index.v[l] += l;
  for (int64_t i = start; i < b.n; i += B::W, index = index + Index(I(B::W))) {
    Index inside = (index > Index(I(k - 1))) & (Index(I(b.n)) > index);
    Real key = select(inside, pivot_key(B::V::load(column + i * B::P)), Real(R(-1)));
    Index larger = key > best;
    best = select(larger, key, best);
    row = select(larger, index, row);
  }
  int winner = 0;
  for (int l = 1; l < B::W; ++l) {
    bool first = best.v[l] == best.v[winner] && row.v[l] < row.v[winner];
    if (best.v[l] > best.v[winner] || first) winner = l;
  }
  return row.v[winner];
}

template <class R>
JAXINV_INLINE void exchange(R& x, R& y) {
  R z = x;
  x = y;
  y = z;
}

// kColumns panel columns from j: subtracts factor · multiple.
template <int kColumns, class B>
JAXINV_INLINE void update_panel_columns(B& b, const typename B::R* factors, int64_t j) {
  using V = typename B::V;
  V multiple[kColumns];
  typename B::R* column = b.panel + j * b.rows * B::P;
  for (int c = 0; c < kColumns; ++c) multiple[c] = broadcast_number<B>(b.multiple + B::at(j + c));
  for (int64_t i = 0; i < b.rows * B::P; i += B::W * B::P) {
    V factor = V::load(factors + i);
    JAXINV_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      typename B::R* x = column + c * b.rows * B::P + i;
      fnma(factor, multiple[c], V::load(x)).store(x);
    }
  }
}

template <class B>
JAXINV_INLINE void put_number(typename B::R* p, typename B::V x) {
  if constexpr (B::P == 2) {
    p[0] = x.re.v[0];
    p[B::W] = x.im.v[0];
  } else {
    p[0] = x.v[0];
  }
}

// Exchanges two rows in `count` columns of a panel.
template <class B>
void swap_panel_rows(const B& b, typename B::R* panel, int64_t count, int64_t row, int64_t other) {
  for (int64_t j = 0; j < count; ++j, panel += b.rows * B::P) {
    for (int part = 0; part < B::P; ++part) {
      exchange(panel[B::at(row) + part * B::W], panel[B::at(other) + part * B::W]);
    }
  }
}

// Eliminates the panel of columns k … k + width − 1 over all rows. Returns the first bad step or 0.
template <class B>
int64_t eliminate_panel(B& b, int64_t k, int64_t width) {
  using R = typename B::R;
  using V = typename B::V;
  const int64_t stride = b.rows * B::P;
  for (int64_t c = 0; c < width; ++c) {
    R* column = b.panel + c * stride;
    R* factors = b.factors + c * stride;
    int64_t step = k + c, row = find_pivot_row(b, column, step);
    b.swap[step] = row;
    if (row != step) {
      exchange(b.origin[step], b.origin[row]);
      swap_panel_rows(b, b.panel, width, step, row);
      swap_panel_rows(b, b.factors, c, step, row);
    }
    R* here = b.panel + B::at(step);
    V pivot = broadcast_number<B>(here + c * stride);
    for (int part = 0; part < B::P; ++part) {
      b.pivots[step * B::P + part] = here[c * stride + part * B::W];
    }
    if (bad_pivot(pivot).v[0]) return step + 1;
    // Dividing by way of an exact power of two: a denormal pivot must not make 0 · inf.
    auto scale = pivot_scale(pivot);
    V inverse = reciprocal(pivot * scale);
    b.scales[c * 2 * B::P] = scale.v[0];
    if constexpr (B::P == 2) {
      b.scales[c * 4 + 1] = inverse.re.v[0];
      b.scales[c * 4 + 2] = inverse.im.v[0];
    } else {
      b.scales[c * 2 + 1] = inverse.v[0];
    }
    for (int64_t j = 0; j < width; ++j) {
      V x = (broadcast_number<B>(here + j * stride) * scale) * inverse;
      put_number<B>(b.multiple + B::at(j), j == c ? V(0) : x);
      put_number<B>(here + j * stride, V(0));
    }
    for (int64_t i = 0; i < stride; i += B::W * B::P) {
      V x = V::load(column + i);
      x.store(factors + i);
      (-((x * scale) * inverse)).store(column + i);
    }
    int64_t j = 0;
    for (; j + 4 <= width; j += 4) update_panel_columns<4>(b, factors, j);
    for (; j < width; ++j) update_panel_columns<1>(b, factors, j);
    for (j = 0; j < width; ++j) {
      put_number<B>(here + j * stride,
                    j == c ? V(1) * scale * inverse : broadcast_number<B>(b.multiple + B::at(j)));
    }
  }
  return 0;
}

// Takes the factors among the pivot rows apart: those of earlier steps go to `lower`, for the pivot
// rows to be brought to their own step; what stays finishes them from there: later steps, and −1
// for the row itself.
template <class B>
void split_factors(const B& b, int64_t k, int64_t width) {
  using V = typename B::V;
  for (int64_t c = 0; c < width; ++c) {
    for (int64_t step = 0; step <= c; ++step) {
      typename B::R* factor = b.factors + step * b.rows * B::P + B::at(k + c);
      typename B::R* lower = b.lower + (c * b.panel_width + step) * B::P;
      for (int part = 0; part < B::P; ++part) lower[part] = factor[part * B::W];
      put_number<B>(factor, V(step == c ? -1 : 0));
    }
  }
}

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

// Writes the inverse, columns put back in order and the power of two taken back. In the order of
// the output: scattered stores cost several times what scattered loads do.
template <class S, class B>
void store_matrix(B& b, typename B::R unscale, S* dst) {
  int64_t* place = b.swap;  // its work is done
  for (int64_t k = 0; k < b.n; ++k) place[b.origin[k]] = B::at(k);
  for (int64_t i = 0; i < b.n; ++i) {
    const typename B::R* row = b.a + i * b.columns * B::P;
    for (int64_t j = 0; j < b.n; ++j, ++dst) {
      typename B::R x = row[place[j]] * unscale;
      if constexpr (B::P == 2) {
        *dst = {x, row[place[j] + B::W] * unscale};
      } else if constexpr (kIsHalf<S>) {
        from_float(x, *dst);
      } else {
        *dst = x;
      }
    }
  }
}

template <class S>
void fill_nan(S* dst, int64_t count) {
  using R = typename Storage<S>::R;
  S nan;
  if constexpr (Storage<S>::kParts == 2) {
    nan.re = nan.im = R(__builtin_nan(""));
  } else if constexpr (kIsHalf<S>) {
    from_float(__builtin_nanf(""), nan);
  } else {
    nan = R(__builtin_nan(""));
  }
  for (int64_t i = 0; i < count; ++i) dst[i] = nan;
}

template <class S>
void inverse_blocked(const InverseProblem& p, int64_t index, void* scratch, const cpu::Team* team) {
  using B = Blocked<S>;
  using R = typename B::R;
  using V = typename B::V;
  using I = typename Types<V>::Real::I;
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
  int64_t info = 0;
  for (int64_t k = 0; k < n && !info; k += b.panel_width) {
    int64_t width = n - k < b.panel_width ? n - k : b.panel_width;
    move_panel<false>(b, k, width);
    info = eliminate_panel(b, k, width);
    if (info) break;
    split_factors(b, k, width);
    update_outside(b, k, width, team);
    move_panel<true>(b, k, width);
  }
  bool odd = false;
  for (int64_t k = 0; k < n && !info; ++k) odd ^= b.swap[k] != k;
  if (info) {
    fill_nan(dst, n * n);
  } else {
    store_matrix(b, scale, dst);
  }
  if (p.info) p.info[index] = int32_t(info);
  if (!p.mantissa) return;
  R* mantissa = static_cast<R*>(p.mantissa) + index * B::P;
  if (info) {
    bool zero = true;
    for (int part = 0; part < B::P; ++part) zero &= b.pivots[(info - 1) * B::P + part] == 0;
    R value = failed_mantissa<S>(src, n * n, zero);
    for (int part = 0; part < B::P; ++part) mantissa[part] = value;
    p.exponent[index] = 0;
    return;
  }
  V det;
  typename B::Index exponent;
  auto pivot = [&](int64_t k) {
    const R* at = b.pivots + k * B::P;
    if constexpr (B::P == 2) {
      return V(RVec<R, B::W>(at[0]), RVec<R, B::W>(at[1]));
    } else {
      return V(at[0]);
    }
  };
  determinant<V>(n, pivot, typename B::Index(I(odd ? -1 : 0)), det, exponent);
  if constexpr (B::P == 2) {
    mantissa[0] = det.re.v[0];
    mantissa[1] = det.im.v[0];
  } else {
    mantissa[0] = det.v[0];
  }
  p.exponent[index] = int32_t(exponent.v[0]) - int32_t(shift * n);
}

template <class S>
size_t inverse_blocked_scratch(int64_t n) {
  return Blocked<S>(n).bytes() + 8;
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
