// Runs a problem on the CPU: asks the plan, cuts the batch into tasks, gives each worker its
// scratch.
#include "cpu/launch.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "core/plan.h"
#include "cpu/float_state.h"
#include "cpu/isa.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace jaxinv::cpu {
namespace {

constexpr int64_t kBlockBytes = 64 << 10;  // input of one task: a few hundred microseconds at most
constexpr int64_t kLargeBlocks = 4;        // times that where memory is most of a task's time
constexpr double kParallelFlop = 2e5;      // less work than this is done before a helper wakes up
constexpr int64_t kTeamColumns = 128;  // of a matrix for each thread of its team: fewer do not pay

int64_t element_bytes(DType dtype) {
  switch (dtype) {
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kF32:
      return 4;
    case DType::kF64:
    case DType::kC64:
      return 8;
    case DType::kC128:
      return 16;
  }
  return 0;
}

// Scratch of every worker, each on cache lines of its own.
class Scratch {
 public:
  Scratch(size_t bytes, int64_t workers)
      : stride_((bytes + 127) / 128 * 128 + 128),
        memory_(std::aligned_alloc(128, stride_ * workers), std::free) {
    if (!memory_) throw std::bad_alloc();
  }
  void* of(int64_t worker) const { return static_cast<char*>(memory_.get()) + worker * stride_; }

 private:
  size_t stride_;
  std::unique_ptr<void, void (*)(void*)> memory_;
};

// glibc gives the free end of its heap back to the system once that is twice the largest block that
// it has mapped and freed (128 KB at first, 32 MB at most), so outputs of a few MB would fault their
// pages in again every few calls. Freeing such a block, never touched, has it adapt at once
// (decision 27); thresholds that the user has set stay.
void keep_freed_memory() {
#if defined(__GLIBC__)
  [[maybe_unused]] static const bool kept = [] {
    void* volatile block = std::malloc((32 << 20) - 8192);  // volatile: else the pair is left out
    std::free(block);
    return true;
  }();
#endif
}

constexpr int64_t kKept = 128 << 10;  // glibc maps and trims such blocks from the start
constexpr int64_t kLargePage = 2 << 20;
constexpr int64_t kFresh = 32 << 20;  // glibc maps blocks above this anew each time

struct Output {
  void* data = nullptr;
  int64_t bytes = 0;  // of one matrix
};

// XLA allocates every output anew, and above 32 MB each call faults fresh pages; larger pages,
// fewer faults. Only advice: errors do not matter.
Output expect_output(void* data, int64_t bytes, int64_t batch) {
  if (!data || bytes * batch < kKept) return {};
  keep_freed_memory();
  if (bytes * batch < kLargePage) return {};
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  // To the borders of small pages: a large one may begin right before a block that malloc mapped.
  static const uintptr_t small = sysconf(_SC_PAGESIZE);
  uintptr_t begin = reinterpret_cast<uintptr_t>(data) / small * small;
  uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes * batch + small - 1) / small * small;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
  return {data, bytes};
}

struct Range {
  int64_t begin, end;
};

// How a batch is cut into tasks: blocks of `block` matrices, whole groups. Where the output's pages are fresh, the groups
// inside a large page each, and last those across the borders: threads that reach a page together would each have the
// system clear one, all but one of them for nothing (decision 32).
class Tasks {
 public:
  Tasks(int64_t batch, int64_t block, int64_t group, const Output& output, int64_t threads)
      : batch_(batch), block_(block), group_(group), count_((batch + block - 1) / block) {
    const int64_t bytes = output.bytes * batch;
    if (bytes <= kFresh || bytes < 4 * threads * kLargePage || block * output.bytes > kLargePage)
      return;
    matrix_bytes_ = output.bytes;
    offset_ = reinterpret_cast<uintptr_t>(output.data) % kLargePage;
    pages_ = (offset_ + bytes + kLargePage - 1) / kLargePage;
    count_ = 2 * pages_ - 1;
  }

  int64_t count() const { return count_; }

  Range operator[](int64_t task) const {
    if (!pages_) return {task * block_, std::min(batch_, (task + 1) * block_)};
    if (task < pages_) return {across(task).end, across(task + 1).begin};
    return across(task - pages_ + 1);
  }

 private:
  // The group across the beginning of a page of the output; none where one begins there.
  Range across(int64_t page) const {
    if (page == 0) return {0, 0};
    if (page == pages_) return {batch_, batch_};
    const int64_t bytes = page * kLargePage - offset_, group_bytes = group_ * matrix_bytes_;
    return {bytes / group_bytes * group_,
            std::min(batch_, (bytes + group_bytes - 1) / group_bytes * group_)};
  }

  int64_t batch_, block_, group_, count_;
  int64_t pages_ = 0;  // of the output where they are fresh
  int64_t matrix_bytes_ = 0;
  int64_t offset_ = 0;  // of the output in its first page
};

constexpr int64_t kLaneGroup = 16;   // matrices of a lane group in the widest instruction set
constexpr int64_t kColumnGroup = 4;  // matrices that cpu/inverse_columns.h takes at once, at most

// Runs body(begin, end, scratch) over the batch in blocks of about kBlockBytes of input, whole groups each. Nobody asks
// ahead for the memory of the first group of a block: large blocks where that counts and enough of them are left.
template <class Body>
void for_blocks(const ThreadPool& pool, int64_t batch, int64_t matrix_bytes, const Output& output,
                int64_t group, double flop, size_t scratch_bytes, const Body& body) {
  ThreadPool alone;
  const ThreadPool& used = flop * batch < kParallelFlop ? alone : pool;
  const int64_t most = kBlockBytes / matrix_bytes;
  // Small batches in two tasks a thread at least.
  int64_t block = std::min(most, batch / (2 * used.num_threads));
  block = std::max(block, std::min({kLargeBlocks * most, int64_t(kParallelFlop / flop),
                                    batch / (8 * used.num_threads)}));
  block = (std::max<int64_t>(block, 1) + group - 1) / group * group;
  const Tasks tasks(batch, block, group, output, used.num_threads);
  Scratch scratch(scratch_bytes, std::min(used.num_threads, tasks.count()));
  parallel_for(used, tasks.count(), [&](int64_t task, int64_t worker) {
    const Range range = tasks[task];
    if (range.begin < range.end) body(range.begin, range.end, scratch.of(worker));
  });
}

double cube(int64_t n) { return double(n) * n * n; }

// Runs kernel(index, scratch, team) for every matrix of the batch, each on one thread but for the last ones: those that
// would leave most threads idle are shared where `columns`, of one matrix, are enough. flop: of one matrix.
template <class Kernel>
void for_matrices(const ThreadPool& pool, int64_t columns, int64_t batch, const Output& output,
                  double flop, size_t scratch_bytes, const Kernel& kernel) {
  ThreadPool alone;
  const ThreadPool& used = flop * batch < kParallelFlop ? alone : pool;
  const int64_t rest = batch % used.num_threads;
  const bool together = 2 * rest <= std::min(used.num_threads, columns / kTeamColumns);
  const int64_t shared = together ? rest : 0, whole = batch - shared;
  // Small matrices several to a task.
  const int64_t block =
      std::max<int64_t>(1, std::min(int64_t(kParallelFlop / flop), whole / (4 * pool.num_threads)));
  const Tasks tasks(whole, block, 1, output, used.num_threads);
  Scratch scratch(scratch_bytes, std::clamp<int64_t>(tasks.count(), 1, used.num_threads));
  parallel_for(used, tasks.count(), [&](int64_t task, int64_t worker) {
    const Range range = tasks[task];
    for (int64_t i = range.begin; i < range.end; ++i) kernel(i, scratch.of(worker), nullptr);
  });
  if (!shared) return;
  Helpers helpers(used);
  const Team team{&helpers,
                  [](void* self, int64_t count, void (*body)(void*, int64_t), void* arg) {
                    static_cast<Helpers*>(self)->run(count, [&](int64_t task) { body(arg, task); });
                  },
                  used.num_threads};
  FloatState state;
  for (int64_t i = whole; i < batch; ++i) kernel(i, scratch.of(0), &team);
}

}  // namespace

void launch(const InverseProblem& p, const Context& context) {
  if (p.batch == 0 || p.n == 0) return;
  int64_t bytes = p.n * p.n * element_bytes(p.dtype);
  const Output output = expect_output(p.x, bytes, p.batch);
  const KernelSet& kernels = kernel_set();
  const Algorithm chosen = algorithm(Backend::kCpu, Op::kInverse, p.n, p.dtype, p.structure);
  if (p.structure != Structure::kGeneral && chosen == Algorithm::kLanes) {
    return for_blocks(context.pool, p.batch, bytes, output, kLaneGroup, cube(p.n),
                      kernels.inverse_triangle_lanes_scratch(p.dtype, p.n),
                      [&](int64_t begin, int64_t end, void* scratch) {
                        kernels.inverse_triangle_lanes(p, begin, end, scratch);
                      });
  }
  if (is_triangular(p.structure)) {
    // Never a team: one task a matrix.
    return for_matrices(context.pool, 0, p.batch, output, cube(p.n) / 3,
                        kernels.inverse_triangle_scratch(p.dtype, p.n),
                        [&](int64_t index, void* scratch, const Team*) {
                          kernels.inverse_triangle(p, index, scratch);
                        });
  }
  if (is_pos(p.structure)) {
    return for_matrices(context.pool, p.n, p.batch, output, cube(p.n),
                        kernels.inverse_positive_scratch(p.dtype, p.n),
                        [&](int64_t index, void* scratch, const Team* team) {
                          kernels.inverse_positive(p, index, scratch, team);
                        });
  }
  switch (chosen) {
    case Algorithm::kLanes:
      return for_blocks(context.pool, p.batch, bytes, output, kLaneGroup, 2 * cube(p.n),
                        kernels.inverse_lanes_scratch(p.dtype, p.n),
                        [&](int64_t begin, int64_t end, void* scratch) {
                          kernels.inverse_lanes(p, begin, end, scratch);
                        });
    case Algorithm::kColumns:
      return for_blocks(context.pool, p.batch, bytes, output, kColumnGroup, 2 * cube(p.n),
                        kernels.inverse_columns_scratch(p.dtype, p.n),
                        [&](int64_t begin, int64_t end, void* scratch) {
                          kernels.inverse_columns(p, begin, end, scratch);
                        });
    default:
      return for_matrices(context.pool, p.n, p.batch, output, 2 * cube(p.n),
                          kernels.inverse_blocked_scratch(p.dtype, p.n),
                          [&](int64_t index, void* scratch, const Team* team) {
                            kernels.inverse_blocked(p, index, scratch, team);
                          });
  }
}

void launch(const TripleProductProblem& p, const Context& context) {
  if (p.batch == 0 || p.n == 0) return;
  int64_t bytes = p.n * p.n * element_bytes(p.dtype);
  const Output output = expect_output(p.y, bytes, p.batch);
  const KernelSet& kernels = kernel_set();
  if (algorithm(Backend::kCpu, Op::kTripleProduct, p.n, p.dtype, Structure::kGeneral) ==
      Algorithm::kLanes) {
    return for_blocks(context.pool, p.batch, bytes, output, kLaneGroup, 4 * cube(p.n),
                      kernels.triple_product_lanes_scratch(p.dtype, p.n),
                      [&](int64_t begin, int64_t end, void* scratch) {
                        kernels.triple_product_lanes(p, begin, end, scratch);
                      });
  }
  for_blocks(context.pool, p.batch, bytes, output, 1, 4 * cube(p.n),
             kernels.triple_product_rows_scratch(p.dtype, p.n),
             [&](int64_t begin, int64_t end, void* scratch) {
               kernels.triple_product_rows(p, begin, end, scratch);
             });
}

void launch(const LuProblem& p, const Context& context) {
  if (p.batch == 0 || p.n == 0) return;
  const int64_t bytes = p.n * p.n * element_bytes(p.dtype);
  const Output output = expect_output(p.lu, bytes, p.batch);
  const KernelSet& kernels = kernel_set();
  if (is_pos(p.structure) && !p.lu && p.n <= kLuLanesMax) {
    return launch(InverseProblem{p.dtype, p.structure, p.n, p.batch, p.a, nullptr, p.info,
                                 p.mantissa, p.exponent},
                  context);
  }
  const double flop = 2 * cube(p.n) / 3;
  if (algorithm(Backend::kCpu, Op::kLuFactor, p.n, p.dtype, p.structure) == Algorithm::kLanes) {
    return for_blocks(context.pool, p.batch, bytes, output, kLaneGroup, flop,
                      kernels.lu_lanes_scratch(p.dtype, p.n),
                      [&](int64_t begin, int64_t end, void* scratch) {
                        kernels.lu_lanes(p, begin, end, scratch);
                      });
  }
  for_matrices(context.pool, p.n, p.batch, output, flop, kernels.lu_blocked_scratch(p.dtype, p.n),
               [&](int64_t index, void* scratch, const Team* team) {
                 kernels.lu_blocked(p, index, scratch, team);
               });
}

void launch(const LuSolveProblem& p, const Context& context) {
  if (p.batch == 0 || p.n == 0 || (p.columns == 0 && !p.info)) return;
  const Output output = expect_output(p.x, p.n * p.columns * element_bytes(p.dtype), p.batch);
  const KernelSet& kernels = kernel_set();
  // One for info where there are no columns.
  const int64_t parts = p.columns ? kernels.lu_solve_parts(p.dtype, p.n, p.columns) : 1;
  const double flop = 2.0 * p.n * p.n * ((p.columns + parts - 1) / parts);
  // Never a team: the parts of a matrix are tasks of their own.
  for_matrices(context.pool, 0, p.batch * parts, parts == 1 ? output : Output{}, flop,
               kernels.lu_solve_scratch(p.dtype, p.n, p.columns),
               [&](int64_t task, void* scratch, const Team*) {
                 kernels.lu_solve(p, task / parts, task % parts, scratch);
               });
}

void launch(const SolveProblem& p, const Context& context) {
  if (p.batch == 0 || p.n == 0) return;
  const bool few = p.n <= kLuLanesMax && p.columns <= kLuLanesMax;
  if (is_triangular(p.structure) && !few) {
    return launch(LuSolveProblem{p.dtype, p.transpose, p.n, p.columns, p.batch, p.a, nullptr, p.b,
                                 p.x, p.structure, p.info},
                  context);
  }
  const int64_t element = element_bytes(p.dtype);
  const Output output = expect_output(p.x, p.n * p.columns * element, p.batch);
  const KernelSet& kernels = kernel_set();
  const double flop = 2 * cube(p.n) / 3 + 2.0 * p.n * p.n * p.columns;
  if (p.structure != Structure::kGeneral) {
    return for_blocks(context.pool, p.batch, p.n * (p.n + p.columns) * element, output, kLaneGroup,
                      flop, kernels.solve_triangle_lanes_scratch(p.dtype, p.n, p.columns),
                      [&](int64_t begin, int64_t end, void* scratch) {
                        kernels.solve_triangle_lanes(p, begin, end, scratch);
                      });
  }
  for_blocks(context.pool, p.batch, p.n * (p.n + p.columns) * element, output, kLaneGroup, flop,
             kernels.solve_lanes_scratch(p.dtype, p.n, p.columns),
             [&](int64_t begin, int64_t end, void* scratch) {
               kernels.solve_lanes(p, begin, end, scratch);
             });
}

void launch(const CopyProblem& p, const Context& context) {
  const Output output = expect_output(p.dst, 1, p.bytes);
  for_blocks(context.pool, p.bytes, 1, output, 1, 1, 0, [&](int64_t begin, int64_t end, void*) {
    std::memcpy(static_cast<char*>(p.dst) + begin, static_cast<const char*>(p.src) + begin,
                end - begin);
  });
}

}  // namespace jaxinv::cpu
