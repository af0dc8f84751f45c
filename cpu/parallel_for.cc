#include "cpu/parallel_for.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "cpu/float_state.h"

namespace jaxinv::cpu {
namespace {

// How long a thread looks for what is about to happen before it lets go: a few times what waking
// one takes.
constexpr std::chrono::microseconds kPatience(200);

// Waits for `happened`, briefly. Yields, as the thread that it waits for may want the processor.
template <class Condition>
bool soon(const Condition& happened) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  do {
    for (int spin = 0; spin < 200; ++spin) {
      if (happened()) return true;
    }
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < end);
  return happened();
}

struct Job {
  const int64_t count;
  const std::function<void(int64_t, int64_t)>*
      body;  // the caller's; not touched when no task is left
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> done{0};
  std::mutex mutex;
  std::condition_variable finished;

  Job(int64_t count, const std::function<void(int64_t, int64_t)>& body)
      : count(count), body(&body) {}

  void work(int64_t worker) {
    int64_t mine = 0;
    FloatState state;
    for (int64_t task; (task = next.fetch_add(1)) < count; ++mine) (*body)(task, worker);
    if (mine && done.fetch_add(mine) + mine == count) {
      std::lock_guard<std::mutex> lock(mutex);
      finished.notify_all();
    }
  }

  // The caller's part: works, then waits for the tasks that others have taken.
  void complete() {
    work(0);
    // The last tasks of the helpers end at about the same time as ours.
    if (soon([&] { return done.load() == count; })) return;
    std::unique_lock<std::mutex> lock(mutex);
    finished.wait(lock, [&] { return done.load() == count; });
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
  auto job = std::make_shared<Job>(count, body);
  for (int64_t helper = 1; helper <= helpers; ++helper) {
    pool.schedule([job, helper] { job->work(helper); });
  }
  job->complete();
}

struct Helpers::State {
  std::mutex mutex;
  std::shared_ptr<Job> job;           // the last one; null when there will be no more
  std::atomic<int64_t> jobs{0};       // how often it has changed
  std::atomic<int64_t> scheduled{0};  // helpers that have not let go yet

  void put(std::shared_ptr<Job> next) {
    std::lock_guard<std::mutex> lock(mutex);
    job = std::move(next);
    ++jobs;
  }
  void help() {
    for (int64_t seen = -1; soon([&] { return jobs.load() != seen; });) {
      std::shared_ptr<Job> current;
      {
        std::lock_guard<std::mutex> lock(mutex);
        current = job;
        seen = jobs.load();
      }
      if (!current) break;
      current->work(1);
    }
    --scheduled;
  }
};

Helpers::Helpers(const ThreadPool& pool) : pool_(pool), state_(std::make_shared<State>()) {}

Helpers::~Helpers() { state_->put(nullptr); }

void Helpers::run(int64_t count, const std::function<void(int64_t)>& body) {
  const int64_t helpers = std::min(pool_.num_threads, count) - 1;
  const std::function<void(int64_t, int64_t)> task_only = [&](int64_t task, int64_t) {
    body(task);
  };
  auto job = std::make_shared<Job>(count, task_only);
  state_->put(job);
  for (int64_t missing = helpers - state_->scheduled.load(); missing > 0; --missing) {
    ++state_->scheduled;
    pool_.schedule([state = state_] { state->help(); });
  }
  job->complete();
}

}  // namespace jaxinv::cpu
