// Work of one matrix, shared by the team of a launch.
#pragma once

#include "cpu/kernel_set.h"

namespace jaxinv {
namespace JAXINV_NAMESPACE {

// body(first, last) for all of `count` in parts of `size`, shared by the team where there is one.
template <class Body>
void share(int64_t count, int64_t size, const cpu::Team* team, const Body& body) {
  if (!count) return;
  struct Job {
    const Body& body;
    int64_t count, size;
  } job{body, count, size};
  auto run = [](void* arg, int64_t task) {
    const Job& job = *static_cast<Job*>(arg);
    const int64_t first = task * job.size, rest = job.count - first;
    job.body(first, first + (job.size < rest ? job.size : rest));
  };
  const int64_t tasks = (count + size - 1) / size;
  if (team) return team->run(team->self, tasks, run, &job);
  for (int64_t task = 0; task < tasks; ++task) run(&job, task);
}

}  // namespace JAXINV_NAMESPACE
}  // namespace jaxinv
