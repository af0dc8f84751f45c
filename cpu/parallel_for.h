// The one place that schedules work on threads, in a way that cannot deadlock.
#pragma once

#include <cstdint>
#include <functional>

namespace jaxinv::cpu {

// A thread pool of somebody else's (XLA's). `schedule` may run its task at any later time, or at
// once.
struct ThreadPool {
  int64_t num_threads = 1;
  std::function<void(std::function<void()>)> schedule;
};

// Calls body(task, worker) for every task in 0 … count − 1, on the caller and up to num_threads − 1
// helpers; `worker` < num_threads tells the concurrent callers apart. Returns when all are done.
//
// Handlers run on the pool's own threads, so waiting for a helper that has not started could wait
// for ever. Nobody does: tasks are taken from a shared counter, the caller takes them too until
// none is left, and then waits only for those already taken. A helper that starts late finds none
// and returns; the job lives as long as the last helper.
void parallel_for(const ThreadPool& pool, int64_t count,
                  const std::function<void(int64_t task, int64_t worker)>& body);

}  // namespace jaxinv::cpu
