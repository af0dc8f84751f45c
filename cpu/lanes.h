// Moves groups of W small matrices between memory (one after another) and lane order (element e of
// all W matrices in one vector), by register transposes. Half types and incomplete groups pass
// through a staging buffer, so the arithmetic is the same for every matrix wherever it stands.
#pragma once

#include <cstring>

#include "core/problem.h"
#include "cpu/half.h"
#include "cpu/shuffle.h"
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace jaxinv {
namespace JAXINV_NAMESPACE {

#if defined(JAXINV_VECTOR_BYTES)  // tests run wider vectors than the machine has
constexpr int kVectorBytes = JAXINV_VECTOR_BYTES;
#elif defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

// Of kernels that move single lanes, or that would leave much of a wide vector empty (decision 28).
constexpr int kNarrowBytes = kVectorBytes < 32 ? kVectorBytes : 32;

// Vector registers there are: the size of a register tile.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif

// The storage type S of a dtype → its real type and number of reals.
template <class R>
struct ComplexOf {
  R re, im;
};
template <class S>
struct Storage {
  using R = S;
  static constexpr int kParts = 1;
};
template <class T>
struct Storage<ComplexOf<T>> {
  using R = T;
  static constexpr int kParts = 2;
};
template <>
struct Storage<Float16> {
  using R = float;
  static constexpr int kParts = 1;
};
template <>
struct Storage<BFloat16> {
  using R = float;
  static constexpr int kParts = 1;
};
template <class S>
constexpr bool kIsHalf = std::is_same_v<S, Float16> || std::is_same_v<S, BFloat16>;

// The dtype of a storage type.
template <class S>
constexpr DType kDType = std::is_same_v<S, Float16>            ? DType::kF16
                         : std::is_same_v<S, BFloat16>         ? DType::kBF16
                         : std::is_same_v<S, float>            ? DType::kF32
                         : std::is_same_v<S, double>           ? DType::kF64
                         : std::is_same_v<S, ComplexOf<float>> ? DType::kC64
                                                               : DType::kC128;

// f(S{}) with the storage type of a dtype that arithmetic is done in; nothing, or 0, for the others.
template <class F>
JAXINV_INLINE auto with_computed(DType dtype, F&& f) -> decltype(f(float{})) {
  switch (dtype) {
    case DType::kF32:
      return f(float{});
    case DType::kF64:
      return f(double{});
    case DType::kC64:
      return f(ComplexOf<float>{});
    case DType::kC128:
      return f(ComplexOf<double>{});
    default:
      return decltype(f(float{}))();
  }
}

// f(S{}) with the storage type of a dtype.
template <class F>
JAXINV_INLINE auto with_storage(DType dtype, F&& f) -> decltype(f(float{})) {
  switch (dtype) {
    case DType::kF16:
      return f(Float16{});
    case DType::kBF16:
      return f(BFloat16{});
    default:
      return with_computed(dtype, f);
  }
}

// A SIMD value of W numbers of kParts reals.
template <class R, int W, int kParts>
using Value = std::conditional_t<kParts == 2, CVec<R, W>, RVec<R, W>>;

template <class R, int W>
JAXINV_INLINE RVec<R, W> conjugate(RVec<R, W> x) {
  return x;
}
template <class R, int W>
JAXINV_INLINE CVec<R, W> conjugate(CVec<R, W> x) {
  return {x.re, -x.im};
}

// True for matrices as large as a 128-bit lane, which are transposed inside those lanes.
template <class R, int W>
constexpr bool fills_lane(int64_t reals) {
  return sizeof(R) == 4 && reals == 4 && W > 4;
}

// Lanes for matrices of `reals` reals: all of a vector, fewer where a matrix is smaller than that
// (a transpose needs W reals of every matrix), except where something simpler than a transpose does.
template <class R>
constexpr int lanes_for(int reals) {
  int lanes = kVectorBytes / int(sizeof(R));
  if (reals <= 2 || (sizeof(R) == 4 && reals == 4)) return lanes;
  while (lanes > reals) lanes /= 2;
  return lanes;
}

// A number of reals that is known when compiling: what moves them is unrolled.
template <int64_t kReals>
using Known = std::integral_constant<int64_t, kReals>;
template <class Count, int W>
constexpr bool kUnrolls = false;
template <int64_t kReals, int W>
constexpr bool kUnrolls<Known<kReals>, W> = kReals / W <= 16;  // as many as JAXINV_UNROLL goes

// Reals of an n × n matrix of kParts each.
template <int kParts, int64_t N>
JAXINV_INLINE Known<N * N * kParts> reals_of(Known<N>) {
  return {};
}
template <int kParts>
JAXINV_INLINE int64_t reals_of(int64_t n) {
  return n * n * kParts;
}

// Calls chunk(e) for every W consecutive elements and one(e) for the few left over; where more than
// a quarter of W are left, the last W are done once more instead, overlapping what is done.
template <int W, class Count, class Chunk, class One>
JAXINV_INLINE void for_chunks(Count reals, Chunk&& chunk, One&& one) {
  int64_t e = 0, count = reals;  // not const: GCC would warn of unrolling what has one chunk
  if constexpr (kUnrolls<Count, W>) {
    JAXINV_UNROLL
    for (; e + W <= count; e += W) chunk(e);
  } else {
    for (; e + W <= count; e += W) chunk(e);
  }
  if (reals > W && reals - e > W / 4) return chunk(reals - W);
  for (; e < reals; ++e) one(e);
}

// Which matrix of a group stands in a lane.
template <class R, int W>
constexpr int matrix_of_lane(int lane, int64_t reals) {
  return fills_lane<R, W>(reals) ? lane % 4 * (W / 4) + lane / 4 : lane;
}

// Element e of W matrices of `reals` reals standing one after another at `src` to tile + place(e).
template <class R, int W, class Count, class Place>
JAXINV_INLINE void load_lanes(const R* src, Count reals, R* tile, Place&& place) {
  using V = RVec<R, W>;
  if (reals == 1) return V::load(src).store(tile + place(0));
  if (reals == 2) {
    const typename V::Raw low = V::load(src).v, high = V::load(src + W).v;
    V(every_second<0>(low, high)).store(tile + place(0));
    V(every_second<1>(low, high)).store(tile + place(1));
    return;
  }
  if constexpr (fills_lane<R, W>(4)) {  // clang checks the shuffles of what never runs, too
    if (reals == 4) {
      typename V::Raw v[4];
      JAXINV_UNROLL
      for (int i = 0; i < 4; ++i) v[i] = V::load(src + i * W).v;
      transpose_lanes<W>(v);
      JAXINV_UNROLL
      for (int e = 0; e < 4; ++e) V(v[e]).store(tile + place(e));
      return;
    }
  }
  for_chunks<W>(
      reals,
      [&](int64_t e) {
        typename V::Raw v[W];
        JAXINV_UNROLL
        for (int lane = 0; lane < W; ++lane) v[lane] = V::load(src + lane * reals + e).v;
        transpose<W>(v);
        JAXINV_UNROLL
        for (int i = 0; i < W; ++i) V(v[i]).store(tile + place(e + i));
      },
      [&](int64_t e) {
        typename V::Raw v{};
        JAXINV_UNROLL
        for (int lane = 0; lane < W; ++lane) v[lane] = src[lane * reals + e];
        V(v).store(tile + place(e));
      });
}

// tile[e] = element e of each.
template <class R, int W, int64_t kReals>
JAXINV_INLINE void load_lanes(const R* src, Known<kReals> reals, R* tile) {
  load_lanes<R, W>(src, reals, tile, [](int64_t e) { return e * W; });
}
template <class R, int W>
void load_lanes(const R* src, int64_t reals, R* tile) {
  load_lanes<R, W>(src, reals, tile, [](int64_t e) { return e * W; });
}

// The way back.
template <class R, int W, class Count>
JAXINV_INLINE void store_lanes_inline(const R* tile, Count reals, R* dst) {
  using V = RVec<R, W>;
  if (reals == 1) return V::load(tile).store(dst);
  if (reals == 2) {
    const typename V::Raw re = V::load(tile).v, im = V::load(tile + W).v;
    V(alternate<false>(re, im)).store(dst);
    V(alternate<true>(re, im)).store(dst + W);
    return;
  }
  if constexpr (fills_lane<R, W>(4)) {  // clang checks the shuffles of what never runs, too
    if (reals == 4) {
      typename V::Raw v[4];
      JAXINV_UNROLL
      for (int e = 0; e < 4; ++e) v[e] = V::load(tile + e * W).v;
      transpose_lanes<W>(v);
      JAXINV_UNROLL
      for (int i = 0; i < 4; ++i) V(v[i]).store(dst + i * W);
      return;
    }
  }
  for_chunks<W>(
      reals,
      [&](int64_t e) {
        typename V::Raw v[W];
        JAXINV_UNROLL
        for (int i = 0; i < W; ++i) v[i] = V::load(tile + (e + i) * W).v;
        transpose<W>(v);
        JAXINV_UNROLL
        for (int lane = 0; lane < W; ++lane) V(v[lane]).store(dst + lane * reals + e);
      },
      [&](int64_t e) {
        JAXINV_UNROLL
        for (int lane = 0; lane < W; ++lane) dst[lane * reals + e] = tile[e * W + lane];
      });
}
template <class R, int W, int64_t kReals>
JAXINV_INLINE void store_lanes(const R* tile, Known<kReals> reals, R* dst) {
  store_lanes_inline<R, W>(tile, reals, dst);
}
template <class R, int W>
void store_lanes(const R* tile, int64_t reals, R* dst) {
  store_lanes_inline<R, W>(tile, reals, dst);
}

// W matrices as reals: a full group of a real or complex dtype in place, anything else as a copy in
// `staging` (W · reals reals), where absent lanes repeat the first matrix.
template <class S, int W, class R = typename Storage<S>::R>
JAXINV_INLINE const R* group_in(const void* base, int64_t index, int64_t end, int64_t reals,
                                R* staging) {
  if constexpr (kIsHalf<S>) {
    const S* src = static_cast<const S*>(base) + index * reals;
    int64_t count = (end - index < W ? end - index : W) * reals;
    for (int64_t i = 0; i < count; ++i) staging[i] = to_float(src[i]);
    for (int64_t i = count; i < W * reals; ++i) staging[i] = staging[i - reals];
    return staging;
  } else {
    const R* src = static_cast<const R*>(base) + index * reals;
    if (end - index >= W) return src;
    memcpy(staging, src, sizeof(R) * (end - index) * reals);
    for (int64_t i = (end - index) * reals; i < W * reals; ++i) staging[i] = staging[i - reals];
    return staging;
  }
}

// Where a group's results go: straight to the output, or to `staging` for group_done to bring
// there.
template <class S, int W, class R = typename Storage<S>::R>
JAXINV_INLINE R* group_out(void* base, int64_t index, int64_t end, int64_t reals, R* staging) {
  if (kIsHalf<S> || end - index < W) return staging;
  return static_cast<R*>(base) + index * reals;
}

template <class S, int W, class R = typename Storage<S>::R>
JAXINV_INLINE void group_done(void* base, int64_t index, int64_t end, int64_t reals,
                              const R* staging) {
  int64_t count = (end - index < W ? end - index : W) * reals;
  if constexpr (kIsHalf<S>) {
    S* dst = static_cast<S*>(base) + index * reals;
    for (int64_t i = 0; i < count; ++i) from_float(staging[i], dst[i]);
  } else if (end - index < W) {
    memcpy(static_cast<R*>(base) + index * reals, staging, sizeof(R) * count);
  }
}

// The first kCount numbers. In two pieces one would come from the stack, across what was just written (decision 33).
template <int kCount, class R, int W>
JAXINV_INLINE void store_first(RVec<R, W> x, R* p) {
#ifdef __AVX512F__
  if constexpr (kCount < W && sizeof x.v == 64) {
    constexpr uint16_t kMask = (1 << kCount) - 1;
    if constexpr (sizeof(R) == 4) {
      _mm512_mask_storeu_ps(p, kMask, __m512(x.v));
    } else {
      _mm512_mask_storeu_pd(p, uint8_t(kMask), __m512d(x.v));
    }
    return;
  }
#endif
  memcpy(p, &x.v, sizeof(R) * kCount);
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

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
