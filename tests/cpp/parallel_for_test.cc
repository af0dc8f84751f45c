// parallel_for and Helpers on a pool that behaves worse than any real one: tasks start late, in any order, from threads
// that themselves call it. Built with the thread sanitiser; a deadlock ends by the time limit.
#include "cpu/parallel_for.h"

#include <condition_variable>
#include <cstdio>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace {

class Pool {
 public:
  explicit Pool(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  void schedule(std::function<void()> task) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      // Newest first: helpers of old jobs come last, when their job is long done.
      tasks_.push_front(std::move(task));
    }
    wake_.notify_one();
  }

 private:
  void work() {
    for (;;) {
      std::function<void()> task;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
  bool stop_ = false;
};

// Jobs of many sizes, each of what the one before it left, against the same by one thread.
bool in_a_row_is_right(const jaxinv::cpu::ThreadPool& pool) {
  std::vector<long> found(70, 1), expected = found;
  jaxinv::cpu::Helpers helpers(pool);
  for (long job = 0; job < 40; ++job) {
    const long count = 1 + job * 7 % long(found.size());
    auto step = [&](std::vector<long>& to, const std::vector<long>& from, long task) {
      to[task] = (from[task] + from[(task + 1) % count] + job) % 1000003;
    };
    const std::vector<long> before = found, expected_before = expected;
    helpers.run(count, [&](int64_t task) { step(found, before, task); });
    for (long task = 0; task < count; ++task) step(expected, expected_before, task);
  }
  return found == expected;
}

}  // namespace

int main() {
  long wrong = 0;
  for (int threads : {1, 2, 4}) {
    std::mutex mutex;
    std::condition_variable finished;
    int left = 64;
    Pool pool(threads);
    jaxinv::cpu::ThreadPool shared;
    shared.num_threads = threads;
    shared.schedule = [&](std::function<void()> task) { pool.schedule(std::move(task)); };
    // 64 jobs, each from a thread of the pool itself, as XLA calls handlers.
    for (int job = 0; job < 64; ++job) {
      pool.schedule([&, job] {
        std::vector<long> seen(100 + job, 0);
        std::vector<long> of_worker(threads, 0);
        jaxinv::cpu::parallel_for(shared, int64_t(seen.size()), [&](int64_t task, int64_t worker) {
          seen[task] += task + 1;
          of_worker[worker] += 1;  // a race if two callers shared a worker
        });
        const bool in_a_row = in_a_row_is_right(shared);
        long sum = 0, tasks = 0;
        for (long x : seen) sum += x;
        for (long x : of_worker) tasks += x;
        long count = long(seen.size());
        std::lock_guard<std::mutex> lock(mutex);
        wrong += sum != count * (count + 1) / 2 || tasks != count || !in_a_row;
        if (--left == 0) finished.notify_all();
      });
    }
    std::unique_lock<std::mutex> lock(mutex);
    finished.wait(lock, [&] { return left == 0; });
  }
  // A pool that runs its tasks at once.
  wrong += !in_a_row_is_right({3, [](std::function<void()> task) { task(); }});
  std::printf("%ld wrong\n", wrong);
  return wrong != 0;
}
