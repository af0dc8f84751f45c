// The kernel runs that solve a problem, for the host to encode: names, bindings, parameters, geometry. Pure host
// code without a header of Metal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/plan.h"

namespace jaxinv::metal {

struct Binding {
  const void* data;  // null where an output is not asked for: the kernel does not touch it
  size_t bytes;
  bool written;
};

struct Dispatch {
  std::string function;
  std::vector<Binding> buffers;           // buffers[i] at [[buffer(i)]]
  std::vector<unsigned char> parameters;  // at [[buffer(buffers.size())]]
  uint32_t groups, threads_per_group;
};

// In order, each run after all before it. Empty where there is nothing to do; throws std::invalid_argument where
// the plan has no kernel.
std::vector<Dispatch> dispatches(const InverseProblem& problem);
// By an algorithm of the caller's choice, which must have kernels for that n.
std::vector<Dispatch> dispatches(const InverseProblem& problem, Algorithm algorithm);
std::vector<Dispatch> dispatches(const TripleProductProblem& problem);
std::vector<Dispatch> dispatches(const LuProblem& problem);
std::vector<Dispatch> dispatches(const LuSolveProblem& problem);
std::vector<Dispatch> dispatches(const SolveProblem& problem);

}  // namespace jaxinv::metal
