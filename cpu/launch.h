// Where a CPU launch runs.
#pragma once

#include "core/problem.h"
#include "cpu/parallel_for.h"

namespace jaxinv::cpu {

struct Context {
  ThreadPool pool;
};

}  // namespace jaxinv::cpu
