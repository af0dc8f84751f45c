// Which algorithm and kernel serve an operation, and why. Pure host code: launchers call it, the
// Python module exports it, `explain` prints it. Never looks at the batch size: bits would depend
// on it.
#pragma once

#include <string>

#include "core/problem.h"

namespace jaxinv {

enum class Backend { kCpu, kCuda, kMetal };

enum class Algorithm {
  kPortable,     // no native kernel: the lowering takes the operation's body in jax.numpy
  kLanes,        // one matrix per SIMD lane
  kColumns,      // one matrix at a time, columns in vectors, panels of a few columns
  kRows,         // one matrix at a time, its rows in vectors
  kBlocked,      // one matrix at a time, panels and rank-k updates
  kThread,       // one matrix per GPU thread
  kWarp,         // one row per lane of a warp
  kBlock,        // one matrix per block of GPU threads, in its shared memory
  kGrid,         // one matrix by many blocks: panels and rank-k updates in global memory
  kSimdgroup,    // one row per lane of a simdgroup (Metal)
  kThreadgroup,  // one matrix per threadgroup, in its registers (Metal)
};

struct Plan {
  Algorithm algorithm;
  std::string description;  // the algorithm in words
  std::string kernel;       // the file that holds it
  std::string reason;
  int64_t workspace =
      0;  // scratch memory in bytes per matrix, given to the kernel as one more result
};

// What algorithms depend on of a GPU; by default the largest (H100).
struct DeviceLimits {
  int64_t shared_bytes = 227 << 10;  // shared memory of a block
};

// The algorithm alone: what a launcher asks at every call.
Algorithm algorithm(Backend backend, Op op, int64_t n, DType dtype, Structure structure,
                    const DeviceLimits& limits = {});
// Scratch memory in bytes per matrix, enough for the algorithm on every device: programs are compiled
// without one.
int64_t workspace(Backend backend, Op op, int64_t n, DType dtype, Structure structure);
Plan plan(Backend backend, Op op, int64_t n, DType dtype, Structure structure);

}  // namespace jaxinv
