// The one place that schedules work on threads, in a way that cannot deadlock.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

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

// Several such jobs in a row, of one caller: helpers stay for a while after each, as waking one
// takes longer than many a job. The pool must outlive it.
class Helpers {
 public:
  explicit Helpers(const ThreadPool& pool);
  ~Helpers();
  Helpers(const Helpers&) = delete;
  Helpers& operator=(const Helpers&) = delete;

  // Calls body(task) for every task in 0 … count − 1, as parallel_for does.
  void run(int64_t count, const std::function<void(int64_t task)>& body);

 private:
  struct State;
  const ThreadPool& pool_;
  std::shared_ptr<State> state_;  // lives as long as the last helper
};

}  // namespace jaxinv::cpu
