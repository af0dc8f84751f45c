// Where a Metal launch ends, and what can be said of the GPU. No header of Apple's: handlers include it.
#pragma once

#include <functional>
#include <string>

#include "metal/handover.h"

namespace jaxinv::metal {

// A launch returns at once.
struct Context {
  // Called once, on any thread, when the results are there. `error`: why they are not, else empty.
  std::function<void(const std::string& error)> done;
  // Scratch memory that a launch takes at most, but for that of one matrix; more matrices take turns.
  int64_t scratch_bytes = 256 << 20;
};

// Throws std::exception where the launch cannot begin; `done` is not called then.
void launch(const InverseProblem& problem, const Context& context);
void launch(const TripleProductProblem& problem, const Context& context);
void launch(const LuProblem& problem, const Context& context);
void launch(const LuSolveProblem& problem, const Context& context);
void launch(const SolveProblem& problem, const Context& context);

// Whether the GPU of this machine takes a call that could run on the CPU.
bool takes(const InverseProblem& problem);
bool takes(const TripleProductProblem& problem);
bool takes(const LuProblem& problem);
bool takes(const LuSolveProblem& problem);
bool takes(const SolveProblem& problem);

// Why the kernels cannot run in this process, in words; empty where they can. Asks for the device once.
const std::string& unavailable();
// Name of the device; empty where there is none.
const std::string& device_name();

}  // namespace jaxinv::metal
