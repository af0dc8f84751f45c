// Jumps between stacks are what its longjmp refuses.
#undef _FORTIFY_SOURCE
#define _FORTIFY_SOURCE 0

#include "simt.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cuda_runtime.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(begin, bytes)
#define ASAN_UNPOISON_MEMORY_REGION(begin, bytes)
#endif

// The dynamic shared memory that cuda/device.cuh declares.
namespace jaxinv::cuda {
alignas(1024) unsigned char dynamic_shared[256 << 10];
}

namespace simt {
namespace {

using jaxinv::cuda::dynamic_shared;

constexpr size_t kStack = 256 << 10;

enum class State { kReady, kBarrier, kMeeting, kDone };

struct Fiber {
  ucontext_t context;  // where it starts; left by jumps, which need no system call
  jmp_buf place;
  bool started;
  State state;
  Dim index;
  // Where it waits.
  int barrier, line;
  unsigned count;
  uint32_t mask;
  Combine combine;
  Lane lane;
  uint64_t result;
};

std::mt19937_64 generator(1);
jmp_buf scheduler;
std::vector<Fiber> fibers;
// Fibers that wait: a rendezvous is looked at when enough of them do.
unsigned at_barriers = 0;
unsigned at_meetings[1024 / kWarp] = {};
std::unique_ptr<char, void (*)(char*)> stacks(nullptr, [](char*) {});
size_t stack_count = 0;
Fiber* current = nullptr;
const std::function<void()>* kernel = nullptr;
std::string failure;
std::string left_out_file;
int left_out_line = -1;

// The rest of the array is out of bounds while a kernel runs: for the address sanitiser, and by its content.
class SharedBounds {
 public:
  explicit SharedBounds(size_t bytes) : begin_(dynamic_shared + bytes), end_(begin_ + kGuard) {
    std::memset(begin_, 0xa5, kGuard);
    ASAN_POISON_MEMORY_REGION(begin_, kGuard);
  }
  ~SharedBounds() { ASAN_UNPOISON_MEMORY_REGION(begin_, kGuard); }
  void check() {
    ASAN_UNPOISON_MEMORY_REGION(begin_, kGuard);
    if (std::any_of(begin_, end_, [](unsigned char byte) { return byte != 0xa5; })) {
      throw Failure("write behind the end of shared memory");
    }
  }

 private:
  static constexpr size_t kGuard = 16 << 10;
  unsigned char *begin_, *end_;
};

int number(const Fiber& fiber) { return int(&fiber - fibers.data()); }

std::string where(const Fiber& fiber) {
  std::string text = "thread " + std::to_string(number(fiber));
  switch (fiber.state) {
    case State::kDone:
      return text + " has ended";
    case State::kBarrier:
      return text + " waits at the barrier of line " + std::to_string(fiber.line);
    default:
      return text + " waits at the warp intrinsic of line " + std::to_string(fiber.line);
  }
}

void wait() {
  if (!_setjmp(current->place)) _longjmp(scheduler, 1);
}

void enter() {
  (*kernel)();
  current->state = State::kDone;
  wait();
}

void make_stacks(size_t count) {
  if (count <= stack_count) return;
  void* memory = mmap(nullptr, count * kStack, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  stacks.reset(static_cast<char*>(memory));  // lives as long as the process
  stack_count = count;
}

void resume(Fiber& fiber) {
  current = &fiber;
  threadIdx = {fiber.index.x, fiber.index.y, fiber.index.z};
  if (!_setjmp(scheduler)) {
    if (fiber.started) _longjmp(fiber.place, 1);
    fiber.started = true;
    setcontext(&fiber.context);
  }
  if (!failure.empty()) throw Failure(failure);
}

// Lets go on whoever waits for what `fiber`, the last to move, has completed.
void release(const Fiber& fiber, std::vector<int>& ready) {
  auto free = [&](Fiber& other) {
    other.state = State::kReady;
    ready.push_back(number(other));
  };
  if (fiber.state == State::kBarrier) {
    const unsigned needed = fiber.count ? fiber.count : unsigned(fibers.size());
    if (++at_barriers < needed) return;
    auto same = [&](const Fiber& other) {
      return other.state == State::kBarrier && other.barrier == fiber.barrier &&
             other.count == fiber.count && other.line == fiber.line;
    };
    if (unsigned(std::count_if(fibers.begin(), fibers.end(), same)) < needed) return;
    const Fiber arrived = fiber;
    for (Fiber& other : fibers) {
      if (other.state == State::kBarrier && other.barrier == arrived.barrier &&
          other.count == arrived.count && other.line == arrived.line) {
        --at_barriers;
        free(other);
      }
    }
  } else if (fiber.state == State::kMeeting) {
    const int warp = number(fiber) / kWarp, first = warp * kWarp;
    if (++at_meetings[warp] < unsigned(__builtin_popcount(fiber.mask))) return;
    const int last = std::min<int>(first + kWarp, int(fibers.size()));
    Lane lanes[kWarp] = {};
    uint32_t arrived = 0;
    for (int i = first; i < last; ++i) {
      const Fiber& other = fibers[i];
      if (other.state == State::kMeeting && other.line == fiber.line && other.mask == fiber.mask &&
          other.combine == fiber.combine) {
        arrived |= 1u << (i - first);
        lanes[i - first] = other.lane;
      }
    }
    if (arrived != fiber.mask) return;
    for (int i = first; i < last; ++i) {
      if (!(arrived >> (i - first) & 1)) continue;
      fibers[i].result = fibers[i].combine(lanes, i - first, arrived);
      --at_meetings[warp];
      free(fibers[i]);
    }
  }
}

void deadlock() {
  const Fiber* waiting = nullptr;
  for (const Fiber& fiber : fibers) {
    if (fiber.state != State::kDone) waiting = &fiber;
  }
  if (!waiting) return;
  std::string text = where(*waiting) + ", but ";
  for (const Fiber& fiber : fibers) {
    if (fiber.state != waiting->state || fiber.line != waiting->line) {
      throw Failure("divergent rendezvous: " + text + where(fiber));
    }
  }
  throw Failure("divergent rendezvous: " + text +
                "its mask or count names threads that do not come");
}

void run_block(Dim block, size_t shared_bytes) {
  const unsigned count = block.x * block.y * block.z;
  const int garbage = generator() & 1 ? 0xff : 0x7f;  // NaN or huge; -1 or huge
  std::memset(dynamic_shared, garbage, shared_bytes);
  fibers.resize(count);
  at_barriers = 0;
  std::fill(std::begin(at_meetings), std::end(at_meetings), 0);
  std::vector<int> ready;
  for (unsigned i = 0; i < count; ++i) {
    Fiber& fiber = fibers[i];
    fiber.started = false;
    fiber.state = State::kReady;
    fiber.index = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
    getcontext(&fiber.context);
    fiber.context.uc_stack = {};
    fiber.context.uc_stack.ss_sp = stacks.get() + i * kStack;
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
    ready.push_back(int(i));
  }
  while (!ready.empty()) {
    const size_t pick = generator() % ready.size();
    std::swap(ready[pick], ready.back());
    Fiber& fiber = fibers[ready.back()];
    ready.pop_back();
    resume(fiber);
    release(fiber, ready);
  }
  deadlock();
}

}  // namespace

Device& device() {
  static Device instance;
  return instance;
}

void leave_out(const std::string& place) {
  const size_t colon = place.rfind(':');
  left_out_file = place.substr(0, colon);
  left_out_line = std::stoi(place.substr(colon + 1));
}

bool left_out(const char* file, int line) {
  if (line != left_out_line) return false;
  const size_t size = std::strlen(file), tail = left_out_file.size();
  return size >= tail && left_out_file == file + (size - tail);
}

void seed(uint64_t value) { generator.seed(value); }

void run(Dim grid, Dim block, size_t shared_bytes, const std::function<void()>& body) {
  failure.clear();
  kernel = &body;
  make_stacks(size_t(block.x) * block.y * block.z);
  gridDim = {grid.x, grid.y, grid.z};
  blockDim = {block.x, block.y, block.z};
  std::vector<uint64_t> order(uint64_t(grid.x) * grid.y * grid.z);
  for (uint64_t i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), generator);
  SharedBounds bounds(shared_bytes);
  for (uint64_t i : order) {
    blockIdx = {unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / grid.x / grid.y)};
    run_block(block, shared_bytes);
  }
  bounds.check();
}

Place place() {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  return {unsigned(number(*current)), unsigned(fibers.size()), block,
          gridDim.x * gridDim.y * gridDim.z};
}

unsigned char* shared() { return dynamic_shared; }

void barrier(int id, unsigned count, int line) {
  current->barrier = id;
  current->count = count;
  current->line = line;
  current->state = State::kBarrier;
  wait();
}

uint64_t meet(uint32_t mask, uint64_t value, int argument, Combine combine, int line) {
  Fiber& self = *current;
  const int lane = number(self) % kWarp;
  if (!(mask >> lane & 1)) {
    failure = "the mask of the warp intrinsic of line " + std::to_string(line) +
              " leaves out the lane that calls it";
  }
  self.mask = mask;
  self.lane = {value, argument};
  self.combine = combine;
  self.line = line;
  self.state = State::kMeeting;
  wait();
  return self.result;
}

}  // namespace simt
