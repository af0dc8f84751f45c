// A small SIMT emulator: CUDA kernels run on the CPU, from the very files that ship. Metal's do by way of
// tests/cpp/msl.
//
// A grid runs block by block, in a seeded random order. Each thread of a block is a fiber; at any time one
// runs, until its next rendezvous (a barrier, a shuffle, a vote, a reduction), then another one that may,
// picked at random. Shared memory holds garbage when a block starts. So a missing barrier or an element that
// nobody wrote shows as a result that changes with the seed. What would hang or be undefined on the device
// throws simt::Failure: a barrier that some threads do not reach, lanes that meet at different intrinsics.
//
// How to write a kernel so that it runs here and on the device
//   - include <cuda_runtime.h> and "cuda/device.cuh"; no other CUDA header than those with a stand-in beside
//     this file; compile with g++ -Itests/cpp/simt -I. (before any real CUDA folder);
//   - shared memory is dynamic: `auto& shared = shared_memory<MyStruct>();`, sizeof(MyStruct) at the launch.
//     `__shared__` is written in cuda/device.cuh alone (this emulator can neither poison nor guard others);
//   - launch by `launch_kernel` of cuda/device.cuh, nothing else;
//   - an instruction that has no CPU meaning (asm, tensor cores, bulk copies) sits in one inline function
//     with a plain body for `#ifndef __CUDA_ARCH__`;
//   - blocks run one after the other: a block must not wait for another.
//
// How to test one: include the .cu or .cuh files, fill buffers of exactly the needed size (the address
// sanitiser sees what leaves them), then for some seeds: simt::seed(s); launch(problem, context); compare.
// tests/cpp/cuda_kernels_test.cc shows it all.
//
// Not modelled: memory is sequentially consistent, and a shuffle orders memory (on the device only barriers
// do: compute-sanitizer's racecheck is for that).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>

namespace simt {

struct Dim {
  unsigned x = 1, y = 1, z = 1;
};

// What the emulated device can do; tests change it. The defaults are small to reach every loop.
struct Device {
  int major = 9, minor = 0;
  int multiprocessors = 2;
  size_t shared_per_block = 48 << 10;         // without cudaFuncSetAttribute
  size_t shared_per_block_optin = 227 << 10;  // with it
};
Device& device();

// A kernel did what hangs or is undefined on a device.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Order of blocks and threads, and the garbage in shared memory, of the launches that follow.
void seed(uint64_t value);

// Plants a mistake: __syncwarp and __syncthreads of this place ("cuda/file.cuh:12") do nothing from here on.
void leave_out(const std::string& place);
bool left_out(const char* file, int line);

// What tests/cpp/gpu/simt.h does on a device. A launch is over when it returns.
inline void finish() {}
inline void* allocate(size_t bytes) { return std::malloc(bytes); }
inline void release(void* data) { std::free(data); }

// Runs `body` once for each thread of the grid.
void run(Dim grid, Dim block, size_t shared_bytes, const std::function<void()>& body);

// The calling thread's place, for languages that hand it to the kernel: in its block, and of its block.
struct Place {
  unsigned thread, threads, block, blocks;
};
Place place();
// Shared memory of the block that runs.
unsigned char* shared();

// Threads that wait at a barrier of the block; `count` of them (0: all) release it. `line` tells barriers
// apart.
void barrier(int id, unsigned count, int line);

// What a lane brings to a rendezvous of its warp.
struct Lane {
  uint64_t value;
  int argument;  // the lane or the offset asked for
};
constexpr int kWarp = 32;

// A rendezvous of the lanes of `mask`; each gets combine(lanes, its own lane, mask).
using Combine = uint64_t (*)(const Lane (&lanes)[kWarp], int self, uint32_t mask);
uint64_t meet(uint32_t mask, uint64_t value, int argument, Combine combine, int line);

}  // namespace simt
