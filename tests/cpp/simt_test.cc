// The SIMT emulator itself: it computes what a device does, and shows what a device would not forgive.
#include <cstdio>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "cuda/device.cuh"

namespace jaxinv::cuda {
namespace {

const Context kContext{nullptr};
int failures = 0;
#define EXPECT(condition)                                         \
  do {                                                            \
    if (!(condition)) {                                           \
      ++failures;                                                 \
      std::printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
    }                                                             \
  } while (0)

struct Tile {
  float values[64];
};

template <bool kBarrier>
__global__ void reverse(const float* a, float* b) {
  Tile& tile = shared_memory<Tile>();
  tile.values[threadIdx.x] = a[blockIdx.x * 64 + threadIdx.x];
  if (kBarrier) __syncthreads();
  b[blockIdx.x * 64 + threadIdx.x] = tile.values[63 - threadIdx.x];
}

// What a kernel leaves over ten seeds.
std::set<std::vector<float>> outcomes(void (*kernel)(const float*, float*)) {
  std::vector<float> a(256), b(256);
  for (int i = 0; i < 256; ++i) a[i] = float(i);
  std::set<std::vector<float>> seen;
  for (int seed = 0; seed < 10; ++seed) {
    simt::seed(seed);
    launch_kernel(kernel, 4, 64, sizeof(Tile), kContext, a.data(), b.data());
    for (float& x : b) x = x == x ? x : -1;  // NaN compares with nothing
    seen.insert(b);
  }
  return seen;
}

__global__ void intrinsics(int* out) {
  const unsigned all = 0xffffffff;
  const int lane = int(threadIdx.x);
  out += 8 * lane;
  out[0] = __shfl_sync(all, lane * 10, 3);
  out[1] = __shfl_xor_sync(all, lane, 5);
  out[2] = __shfl_down_sync(all, lane, 2, 16);
  out[3] = __reduce_max_sync(all, lane == 7 ? 1 : -lane);
  out[4] = int(__ballot_sync(all, lane % 3 == 0));
  out[5] = __any_sync(all, lane == 31);
  out[6] = __all_sync(all, lane < 31);
  // Half warps on their own.
  out[7] = __reduce_max_sync(lane < 16 ? 0xffffu : 0xffff0000u, lane);
}

void test_intrinsics() {
  std::vector<int> out(256);
  launch_kernel(intrinsics, 1, 32, 0, kContext, out.data());
  for (int lane = 0; lane < 32; ++lane) {
    const int* at = &out[8 * lane];
    EXPECT(at[0] == 30 && at[1] == (lane ^ 5));
    EXPECT(at[2] == (lane % 16 < 14 ? lane + 2 : lane));
    EXPECT(at[3] == 1 && unsigned(at[4]) == 0x49249249u && at[5] == 1 && at[6] == 0);
    EXPECT(at[7] == (lane < 16 ? 15 : 31));
  }
}

__global__ void thread_leaves() {
  if (threadIdx.x == 5) return;
  __syncthreads();
}
__global__ void two_barriers() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void mask_without_caller() { __syncwarp(0xfffffffe); }
__global__ void lanes_at_two_intrinsics() {
  if (threadIdx.x % 32 < 16) {
    __syncwarp();
  } else {
    __ballot_sync(0xffffffff, 1);
  }
}
__global__ void behind_shared_memory() {
  Tile& tile = shared_memory<Tile>();
  volatile float* values = tile.values;
  values[64 + threadIdx.x] = 1;
}

std::string failure_of(void (*kernel)()) {
  try {
    launch_kernel(kernel, 1, 64, sizeof(Tile), kContext);
  } catch (const simt::Failure& failure) {
    return failure.what();
  }
  return "";
}

std::string refusal(unsigned blocks, unsigned threads, size_t shared_bytes) {
  try {
    launch_kernel(thread_leaves, blocks, threads, shared_bytes, kContext);
  } catch (const simt::Failure&) {
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

int run() {
  EXPECT(outcomes(reverse<true>).size() == 1);
  EXPECT(outcomes(reverse<false>).size() > 1);
  test_intrinsics();
  auto says = [](void (*kernel)(), const char* text) {
    return failure_of(kernel).find(text) != std::string::npos;
  };
  EXPECT(says(thread_leaves, "thread 5 has ended"));
  EXPECT(says(two_barriers, "divergent rendezvous"));
  EXPECT(says(mask_without_caller, "leaves out the lane that calls it"));
  EXPECT(says(lanes_at_two_intrinsics, "divergent rendezvous"));
#if !defined(__SANITIZE_ADDRESS__)  // which stops the program at this kernel
  EXPECT(says(behind_shared_memory, "write behind the end of shared memory"));
#endif
  EXPECT(refusal(1, 1025, 0) == "launching a kernel: invalid configuration argument");
  EXPECT(refusal(0, 32, 0) == "launching a kernel: invalid configuration argument");
  EXPECT(refusal(1, 32, 64 << 10) == "launching a kernel: invalid argument");
  std::printf("%d failures\n", failures);
  return failures != 0;
}

}  // namespace
}  // namespace jaxinv::cuda

int main() { return jaxinv::cuda::run(); }
