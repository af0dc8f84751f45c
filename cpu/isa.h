// Which instruction sets this machine has, and which one is in use.
#pragma once

#include <string>
#include <vector>

#include "cpu/kernel_set.h"

namespace jaxinv::cpu {

// The kernel sets this machine can run, best first.
std::vector<const KernelSet*> available_kernel_sets();

// Uses the named set from here on, the best one for "". Throws std::invalid_argument where the
// machine lacks it. Called once, at load.
void select_kernel_set(const std::string& name);
const KernelSet& kernel_set();

// The processor's name, as far as it tells.
std::string device_name();

}  // namespace jaxinv::cpu
