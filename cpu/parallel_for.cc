#include "cpu/parallel_for.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "cpu/float_state.h"

namespace jaxinv::cpu {
namespace {

struct Job {
  int64_t count;
  const std::function<void(int64_t, int64_t)>*
      body;  // the caller's; not touched when no task is left
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> done{0};
  std::mutex mutex;
  std::condition_variable finished;

  void work(int64_t worker) {
    int64_t mine = 0;
    FloatState state;
    for (int64_t task; (task = next.fetch_add(1)) < count; ++mine) (*body)(task, worker);
    if (mine && done.fetch_add(mine) + mine == count) {
      std::lock_guard<std::mutex> lock(mutex);
      finished.notify_all();
    }
  }
};

}  // namespace

void parallel_for(const ThreadPool& pool, int64_t count,
                  const std::function<void(int64_t, int64_t)>& body) {
  int64_t helpers = std::min(pool.num_threads, count) - 1;
  if (helpers <= 0) {
    FloatState state;
    for (int64_t task = 0; task < count; ++task) body(task, 0);
    return;
  }
  auto job = std::make_shared<Job>();
  job->count = count;
  job->body = &body;
  for (int64_t helper = 1; helper <= helpers; ++helper) {
    pool.schedule([job, helper] { job->work(helper); });
  }
  job->work(0);
  // Spinning first: the last tasks of the helpers end at about the same time as ours.
  for (int spin = 0; spin < 2000; ++spin) {
    if (job->done.load() == count) return;
  }
  std::unique_lock<std::mutex> lock(job->mutex);
  job->finished.wait(lock, [&] { return job->done.load() == count; });
}

}  // namespace jaxinv::cpu
