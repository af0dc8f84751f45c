// Which calls of jax's cpu platform go to the GPU of a Mac, and why. Pure host code, in every build: `explain`
// asks it also where there is no GPU. The one choice that looks at the batch: Metal is no platform of JAX.
#pragma once

#include <string>

#include "core/plan.h"

namespace jaxinv::metal {

enum class Mode { kAuto, kAlways, kNever };  // JAXINV_METAL

// Bytes of matrices from which a GPU takes a call, by the name of its device ("Apple M2 Pro"); "" or a chip not
// known here: that of the usual one. Estimates: a handover was published to cost 0.1-0.3 ms (MLX issue 1238: 1 ms
// with Python on an M2), in which the CPU's cores move 1-3 MB in and as many out.
int64_t handover_bytes(const std::string& device);
constexpr int64_t kLeastHandover = 1'000'000;  // of any chip

// What was chosen for this process.
void select_mode(Mode mode);
Mode mode();

// Of a call that reads `bytes` of matrices, and of right-hand sides where it solves: whether the kernels of Metal take
// it, on a Mac whose GPU has this name.
bool hands_over(Op op, int64_t n, DType dtype, Structure structure, int64_t bytes,
                const std::string& device);
// Why, in words.
std::string handover_reason(Op op, int64_t n, DType dtype, Structure structure, int64_t bytes,
                            const std::string& device);

}  // namespace jaxinv::metal
