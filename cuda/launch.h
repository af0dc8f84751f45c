// Where a CUDA launch runs, and what can be said of the devices. No CUDA header: handlers include it.
#pragma once

#include <string>

#include "core/plan.h"

struct CUstream_st;

namespace jaxinv::cuda {

struct Context {
  CUstream_st* stream;
  // Loads the kernels that the problem needs and sets their attributes, and launches nothing: both wait for the
  // device, which must not happen while a CUDA graph is recorded.
  bool prepare = false;
};

void launch(const InverseProblem& problem, const Context& context);
void launch(const TripleProductProblem& problem, const Context& context);
void launch(const LuProblem& problem, const Context& context);
void launch(const LuSolveProblem& problem, const Context& context);
void launch(const SolveProblem& problem, const Context& context);
void launch(const CopyProblem& problem, const Context& context);

// Why the kernels cannot run in this process, in words; empty where they can. Asks the driver once.
const std::string& unavailable();
// True where there is a device, but it or its driver is too old for this build.
bool refused();
// Names of the devices; empty where there are none.
const std::string& device_name();
// What this build was compiled for.
std::string kernel_set();

}  // namespace jaxinv::cuda
