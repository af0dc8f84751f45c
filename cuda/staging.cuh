// Between a warp's contiguous span of matrices in global memory and shared memory, where every lane can reach
// its own numbers without bank conflicts.
#pragma once

#include "cuda/numbers.cuh"
#include "cuda/warp.cuh"

namespace jaxinv::cuda {

// N numbers that are moved in one access.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};
template <class V>
constexpr int kPack = 16 / int(sizeof(V));  // of 16 bytes

// Slots of kCount numbers of type V, one per lane, read and written in accesses as wide as kCount allows. An
// odd number of accesses from slot to slot, so that lanes meet different banks.
template <class V, int kCount>
struct Slots {
  static constexpr int kBytes = kCount * int(sizeof(V));
  static constexpr int kAccess = kBytes % 16 == 0                    ? 16
                                 : kBytes % 8 == 0 && sizeof(V) <= 8 ? 8
                                                                     : int(sizeof(V));
  static constexpr int kWidth = kAccess / int(sizeof(V));
  static constexpr int kStride = (kBytes / kAccess | 1) * kWidth;
  static constexpr bool kPadded = kStride != kCount;
  static_assert(!kPadded || kAccess == 16);
  alignas(16) V at[kWarpSize * kStride];

  __device__ __forceinline__ void read(int slot, V (&out)[kCount]) const {
    JAXINV_UNROLL
    for (int i = 0; i < kCount; i += kWidth) {
      const auto pack = *reinterpret_cast<const Pack<V, kWidth>*>(&at[slot * kStride + i]);
      JAXINV_UNROLL
      for (int j = 0; j < kWidth; ++j) out[i + j] = pack.at[j];
    }
  }
  __device__ __forceinline__ void write(int slot, const V (&in)[kCount]) {
    JAXINV_UNROLL
    for (int i = 0; i < kCount; i += kWidth) {
      Pack<V, kWidth> pack;
      JAXINV_UNROLL
      for (int j = 0; j < kWidth; ++j) pack.at[j] = in[i + j];
      *reinterpret_cast<Pack<V, kWidth>*>(&at[slot * kStride + i]) = pack;
    }
  }
  // Where number e of the span stands.
  static __device__ __forceinline__ int place(int e) {
    return kPadded ? e + e / kCount * (kStride - kCount) : e;
  }
};

__device__ __forceinline__ bool aligned(const void* data) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0;
}

// The span of `count` ≤ 32 matrices at src into slots: 16 bytes of V at a time, coalesced. Loads of kBatch
// accesses are under way at once.
template <class S, class V, int kCount>
__device__ __forceinline__ void load_slots(const S* src, int count, Slots<V, kCount>& slots) {
  const int lane = lane_index();
  if (count == kWarpSize && aligned(src)) {
    constexpr int kAccesses = kWarpSize * kCount / kPack<V>, kBatch = 8;
    using In = Pack<S, kPack<V>>;
    JAXINV_UNROLL
    for (int start = 0; start < kAccesses; start += kBatch * kWarpSize) {
      In in[kBatch];
      JAXINV_UNROLL
      for (int b = 0; b < kBatch; ++b) {
        const int access = start + b * kWarpSize + lane;
        if (access < kAccesses) in[b] = reinterpret_cast<const In*>(src)[access];
      }
      JAXINV_UNROLL
      for (int b = 0; b < kBatch; ++b) {
        const int access = start + b * kWarpSize + lane;
        if (access >= kAccesses) continue;
        Pack<V, kPack<V>> out;
        JAXINV_UNROLL
        for (int j = 0; j < kPack<V>; ++j) out.at[j] = to_arithmetic(in[b].at[j]);
        *reinterpret_cast<Pack<V, kPack<V>>*>(&slots.at[slots.place(access * kPack<V>)]) = out;
      }
    }
  } else {
    for (int e = lane; e < count * kCount; e += kWarpSize) {
      slots.at[slots.place(e)] = to_arithmetic(src[e]);
    }
  }
}

// The way back.
template <class S, class V, int kCount>
__device__ __forceinline__ void store_slots(const Slots<V, kCount>& slots, int count, S* dst) {
  const int lane = lane_index();
  if (count == kWarpSize && aligned(dst)) {
    constexpr int kAccesses = kWarpSize * kCount / kPack<V>;
    JAXINV_UNROLL
    for (int start = 0; start < kAccesses; start += kWarpSize) {
      const int access = start + lane;
      if (access >= kAccesses) break;
      const auto in =
          *reinterpret_cast<const Pack<V, kPack<V>>*>(&slots.at[slots.place(access * kPack<V>)]);
      Pack<S, kPack<V>> out;
      JAXINV_UNROLL
      for (int j = 0; j < kPack<V>; ++j) to_storage(in.at[j], out.at[j]);
      reinterpret_cast<Pack<S, kPack<V>>*>(dst)[access] = out;
    }
  } else {
    for (int e = lane; e < count * kCount; e += kWarpSize) {
      to_storage(slots.at[slots.place(e)], dst[e]);
    }
  }
}

// Rows of n numbers, n known at run time: neighbouring lanes move neighbouring numbers.
class Rows {
 public:
  __device__ __forceinline__ explicit Rows(int n) : n_(n), magic_((1u << 20) / n + 1) {}

  // e / n, exact for e < 4096 and n <= 32.
  __device__ __forceinline__ int row(int e) const { return int(unsigned(e) * magic_ >> 20); }

  // `count` numbers at src, number j of row i to put(i, j).
  template <class S, class Put>
  __device__ __forceinline__ void load(const S* src, int count, Put&& put) const {
    constexpr int kBatch = 8;  // loads under way at once
    for (int start = lane_index(); start < count; start += kBatch * kWarpSize) {
      S in[kBatch];
      JAXINV_UNROLL
      for (int b = 0; b < kBatch; ++b) {
        const int e = start + b * kWarpSize;
        if (e < count) in[b] = src[e];
      }
      JAXINV_UNROLL
      for (int b = 0; b < kBatch; ++b) {
        const int e = start + b * kWarpSize, i = row(e);
        if (e < count) put(i, e - i * n_, to_arithmetic(in[b]));
      }
    }
  }
  // The way back: get(i, j).
  template <class S, class Get>
  __device__ __forceinline__ void store(S* dst, int count, Get&& get) const {
    for (int e = lane_index(); e < count; e += kWarpSize) {
      const int i = row(e);
      to_storage(get(i, e - i * n_), dst[e]);
    }
  }

 private:
  int n_;
  unsigned magic_;
};

}  // namespace jaxinv::cuda
