// Between memory and the tile of cpu/inverse_panels.h. On the way back rows and columns of each lane's matrix are put in
// order, and it is told which are finite.
#pragma once

#include "cpu/lanes.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// A group of matrices, one after another at `a`, to the tile.
template <class E>
JAXINV_INLINE void load_matrices(const typename E::R* a, int64_t n, typename E::R* tile) {
  using Vector = typename E::Real;
  constexpr int P = E::P, W = E::W;
  const int64_t row = n * P, reals = n * row;
  typename E::R* to = tile + (n - 1) * E::kReals;
  auto vector = [&](int64_t c) {
    typename Vector::Raw v[W];
    JAXINV_UNROLL
    for (int lane = 0; lane < W; ++lane) v[lane] = Vector::load(a + lane * reals + c).v;
    transpose<W>(v);
    JAXINV_UNROLL
    for (int q = 0; q < W; ++q) {
      Vector(v[q]).store(to + (c / P + q / P) * E::kStride + q % P * W);
    }
  };
  auto one = [&](int64_t c) {
    JAXINV_UNROLL
    for (int lane = 0; lane < W; ++lane) {
      to[c / P * E::kStride + c % P * W + lane] = a[lane * reals + c];
    }
  };
  for (int64_t i = 0; i < n; ++i, a += row, to -= E::kReals) {
    // A row shorter than a vector brings the beginning of the next along, to columns that nobody reads.
    if (row < W && i + 1 < n) {
      vector(0);
    } else {
      for_chunks<W>(row, vector, one);
    }
  }
}

template <class Pack, int... q>
JAXINV_INLINE Pack gather_pack(const typename Pack::R* const* from, int64_t offset,
                               std::integer_sequence<int, q...>) {
  return typename Pack::Raw{from[q][offset]...};
}

// Writes the matrix of one lane, rows and columns in order. False where an entry is not finite.
template <class E>
JAXINV_INLINE bool store_lane(const E& e, int64_t n, int lane, typename E::R* dst) {
  using R = typename E::R;
  using I = typename E::I;
  constexpr int P = E::P, W = E::W;
  constexpr int kPack = sizeof(R) * W == 16 ? W : 4;  // reals stored at once
  constexpr int kNumbers = kPack / P;
  using Pack = RVec<R, kPack>;
  const I* step = reinterpret_cast<const I*>(e.step) + lane;
  const I* offset = reinterpret_cast<const I*>(e.offset) + lane;
  const R* power = reinterpret_cast<const R*>(e.power) + lane;
  Pack zeros[2] = {Pack(0), Pack(0)};  // times the entries; one sum would keep the next waiting
  // One or two packs of every row, from the columns `first` and `second` on.
  auto store = [&](auto packs, int64_t first, int64_t second) {
    constexpr int kPacks = decltype(packs)::value;
    const R* from[kPacks][kPack];
    JAXINV_UNROLL
    for (int q = 0; q < kPacks; ++q) {
      const I* steps = step + (n - 1 - (q ? second : first)) * W;
      JAXINV_UNROLL
      for (int r = 0; r < kPack; ++r) from[q][r] = e.tile + steps[-(r / P) * W] + r % P * W;
    }
    const int64_t apart = (second - first) * P;
    auto put = [&](int64_t k, R* to) {
      const int64_t row = offset[k * W];
      const Pack scale(power[k * W]);
      JAXINV_UNROLL
      for (int q = 0; q < kPacks; ++q) {
        const Pack x =
            gather_pack<Pack>(from[q], row, std::make_integer_sequence<int, kPack>{}) * scale;
        zeros[q] = add_zeros(x, zeros[q]);
        x.store(to + q * apart);
      }
    };
    R* to = dst + first * P;
    int64_t k = 0;
    for (; k + 2 <= n; k += 2, to += 2 * n * P) {
      put(k, to);
      put(k + 1, to + n * P);
    }
    if (k < n) put(k, to);
  };
  // Of the last columns again those left.
  int64_t c = 0;
  for (; n - c > kNumbers; c += 2 * kNumbers) {
    store(std::integral_constant<int, 2>(), c, c + 2 * kNumbers > n ? n - kNumbers : c + kNumbers);
  }
  if (c < n) store(std::integral_constant<int, 1>(), n - kNumbers, 0);
  return all_set(zeros[0] + zeros[1] == Pack(0));
}

#ifdef __AVX2__
// Writes to each lane kVectors vectors: the transpose of those at where(v, q), q = 0 … 7.
template <int kVectors, class V, class Where>
JAXINV_INLINE void transpose_lanes_to(float* to, Where&& where) {
  JAXINV_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    typename V::Raw x[8];
    JAXINV_UNROLL
    for (int q = 0; q < 8; ++q) x[q] = V::load(where(v, q)).v;
    transpose<8>(x);
    JAXINV_UNROLL
    for (int l = 0; l < 8; ++l) V(x[l]).store(to + (l * kVectors + v) * 8);
  }
}

// As store_lane, for all lanes: rows of a vector at least and up to kVectors, of which the last ends with the row.
template <int kVectors, class E>
JAXINV_INLINE void store_permuted(const E& e, int64_t n, int64_t lanes, float* scratch, float* dst,
                                  bool* fine) {
  using V = typename E::V;
  using Index = typename E::Index;
  constexpr int kRow = kVectors * 8;
  // Entries of each lane side by side, and the steps of its columns.
  for (int64_t i = 0; i < n; ++i) {
    transpose_lanes_to<kVectors, V>(scratch + i * 8 * kRow, [&](int v, int q) {
      return e.tile + (v * 8 + q) * E::kStride + i * 8;
    });
  }
  float* orders = scratch + n * 8 * kRow;
  transpose_lanes_to<kVectors, V>(orders, [&](int v, int q) {
    const int64_t place = v && v + 1 == kVectors ? 7 - q : n - 1 - v * 8 - q;
    return reinterpret_cast<const float*>(&e.step[place < 0 ? 0 : place]);
  });
  for (int64_t lane = 0; lane < lanes; ++lane, dst += n * n) {
    const int32_t* offset = reinterpret_cast<const int32_t*>(e.offset) + lane;
    const float* power = reinterpret_cast<const float*>(e.power) + lane;
    Index order[kVectors];
    JAXINV_UNROLL
    for (int v = 0; v < kVectors; ++v) order[v] = V::load(orders + lane * kRow + v * 8).bits();
    V zeros(0);  // times the entries
    auto row = [&](int64_t k, int v) {
      const float* x = scratch + int64_t(offset[k * 8]) * kRow;
      V y = permute(V::load(x), order[v]);
      JAXINV_UNROLL
      for (int u = 1; u < kVectors; ++u) {
        y = select(order[v] > Index(8 * u - 1), permute(V::load(x + 8 * u), order[v]), y);
      }
      y = y * V(power[k * 8]);
      zeros = add_zeros(y, zeros);
      return y;
    };
    float* to = dst;
    for (int64_t k = 0; k < n; ++k, to += n) {
      row(k, 0).store(to);
      JAXINV_UNROLL
      for (int v = 1; v < kVectors; ++v) {
        row(k, v).store(to + (v + 1 == kVectors ? n - 8 : v * 8));
      }
    }
    fine[lane] &= all_set(zeros == V(0));
  }
}
#endif

// Writes the matrices that are fine; afterwards those are that turned out to be finite.
template <class E>
JAXINV_INLINE void store_matrices(E& e, int64_t n, int64_t lanes, typename E::R* dst, bool* fine) {
#ifdef __AVX2__
  if constexpr (E::kPermutes) {
    if (n <= 16) return store_permuted<2>(e, n, lanes, e.staging, dst, fine);
    return store_permuted<3>(e, n, lanes, e.staging, dst, fine);
  }
#endif
  for (int lane = 0; lane < lanes; ++lane) {
    fine[lane] = fine[lane] && store_lane(e, n, lane, dst + lane * n * n * E::P);
  }
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
