// Solves the problem on its standard input by the Metal kernels on the SIMT emulator, or on a GPU of NVIDIA
// (tests/cpp/msl/cuda). Input: ten 64-bit integers,
// see Head, then the operands. Output: all results, those that are absent as they were; or, for a batch that is only
// planned, the kernel runs. Argument: a barrier to leave out.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

#ifdef __SSE__
#include <xmmintrin.h>
#endif

#include "core/workspace.h"
#include "metal/dispatch.h"
#include "simt.h"
#include "tests/cpp/msl/msl.h"

namespace jaxinv {
namespace {

struct Head {
  int64_t dtype, n, batch, seed;
  int64_t algorithm;  // −1: the plan's
  int64_t
      groups;  // of each run, at most; only of kernels whose groups take several problems in turn
  int64_t flags;  // below
  int64_t operation;
  int64_t structure;
  int64_t columns;  // right-hand sides
};
enum Operation : int64_t { kInvert, kTriple, kFactor, kDeterminant, kSolve, kSolveByFactors };
enum Flag : int64_t {
  kTransposeL = 1,  // of systems, too
  kTransposeG = 2,
  kTransposeR = 4,
  kSame = 8,        // l and r are one operand
  kOnly = 16,       // the inverse alone
  kFlush = 32,      // denormals are zero, as Apple's GPUs have it
  kUnaligned = 64,  // operands start one number into their pages
  kShow = 128  // the kernel runs, for a batch that may be larger than memory: nothing is touched
};

void read(void* to, size_t bytes) {
  if (std::fread(to, 1, bytes, stdin) != bytes) throw std::runtime_error("input ends early");
}

// Memory that ends where its allocation ends, for the address sanitiser, filled with garbage.
class Memory {
 public:
  explicit Memory(size_t bytes, size_t offset = 0)
      : bytes_(bytes),
        memory_(simt::allocate(std::max<size_t>(bytes + offset, 1)), simt::release),
        offset_(offset) {
    if (!memory_) throw std::bad_alloc();
    std::memset(memory_.get(), 0xff, bytes + offset);
  }
  void* data() const { return static_cast<char*>(memory_.get()) + offset_; }
  void fill() const { read(data(), bytes_); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data());
  }
  void write() const { std::fwrite(data(), 1, bytes_, stdout); }

 private:
  size_t bytes_;
  std::unique_ptr<void, void (*)(void*)> memory_;
  size_t offset_;
};

void show(const std::vector<metal::Dispatch>& dispatches) {
  for (const metal::Dispatch& d : dispatches) {
    const msl::Limits limits = msl::limits(d.function);
    std::printf("%s %u %u %u %zu\n", d.function.c_str(), d.groups, d.threads_per_group,
                limits.threads_per_group, limits.threadgroup_bytes);
  }
}

void run(const std::vector<metal::Dispatch>& dispatches, const Head& head) {
  if (head.flags & kShow) return show(dispatches);
  simt::seed(head.seed);
#ifdef __SSE__
  const unsigned state = _mm_getcsr();
  if (head.flags & kFlush) _mm_setcsr(state | 0x8040);
#endif
  for (const metal::Dispatch& d : dispatches) {
    std::vector<void*> buffers;
    for (const metal::Binding& b : d.buffers) buffers.push_back(const_cast<void*>(b.data));
    std::vector<unsigned char> parameters(d.parameters);
    parameters.resize(4096);  // what a device may copy
    buffers.push_back(parameters.data());
    const uint32_t most = head.groups ? uint32_t(head.groups) : d.groups;
    msl::run(d.function, buffers, std::min(d.groups, most), d.threads_per_group);
  }
#ifdef __SSE__
  _mm_setcsr(state);
#endif
}

std::vector<metal::Dispatch> dispatches_of(const InverseProblem& p, const Head& head) {
  return head.algorithm < 0 ? metal::dispatches(p)
                            : metal::dispatches(p, Algorithm(head.algorithm));
}

// Sizes of the operands, and what is read of them.
struct Sizes {
  int64_t batch;
  size_t bytes, compute_bytes, offset, matrices, right;
  explicit Sizes(const Head& head)
      : batch(head.flags & kShow ? 0 : head.batch),
        bytes(storage_bytes(DType(head.dtype))),
        compute_bytes(arithmetic_bytes(DType(head.dtype))),
        offset(head.flags & kUnaligned ? bytes : 0),
        matrices(batch * head.n * head.n * bytes),
        right(batch * head.n * head.columns * bytes) {}
};

void invert(const Head& head) {
  const Sizes size(head);
  const Memory a(size.matrices, size.offset), x(size.matrices, size.offset);
  const Memory info(4 * size.batch), mantissa(size.compute_bytes * size.batch);
  const Memory exponent(4 * size.batch);
  const Memory scratch(inverse_grid_bytes(head.n, size.compute_bytes) * size.batch);
  a.fill();
  InverseProblem p{DType(head.dtype),
                   Structure(head.structure),
                   head.n,
                   head.batch,
                   a.data(),
                   x.data(),
                   nullptr,
                   nullptr,
                   nullptr};
  if (!(head.flags & kOnly)) {
    p.info = info.as<int32_t>();
    p.mantissa = mantissa.data();
    p.exponent = exponent.as<int32_t>();
  }
  p.scratch = scratch.data();
  run(dispatches_of(p, head), head);
  for (const Memory* memory : {&x, &info, &mantissa, &exponent}) memory->write();
}

void multiply(const Head& head) {
  const Sizes size(head);
  const bool same = head.flags & kSame;
  const Memory l(size.matrices, size.offset), g(size.matrices, size.offset);
  const Memory r(same ? 0 : size.matrices, size.offset), y(size.matrices, size.offset);
  l.fill();
  g.fill();
  if (!same) r.fill();
  run(metal::dispatches(TripleProductProblem{
          DType(head.dtype), bool(head.flags & kTransposeL), bool(head.flags & kTransposeG),
          bool(head.flags & kTransposeR), head.n, head.batch, l.data(), g.data(),
          same ? l.data() : r.data(), y.data()}),
      head);
  y.write();
}

// Factors, permutation and info, or the determinant.
void factor(const Head& head) {
  const Sizes size(head);
  const bool determinant = head.operation == kDeterminant;
  const Memory a(size.matrices, size.offset), lu(size.matrices, size.offset);
  const Memory permutation(4 * size.batch * head.n), info(4 * size.batch);
  const Memory mantissa(size.compute_bytes * size.batch), exponent(4 * size.batch);
  a.fill();
  LuProblem p{DType(head.dtype),
              Structure(head.structure),
              head.n,
              head.batch,
              a.data(),
              nullptr,
              nullptr,
              nullptr,
              nullptr,
              nullptr};
  if (determinant) {
    p.mantissa = mantissa.data();
    p.exponent = exponent.as<int32_t>();
  } else {
    p.lu = lu.data();
    p.permutation = permutation.as<int32_t>();
    p.info = info.as<int32_t>();
  }
  run(metal::dispatches(p), head);
  for (const Memory* memory : {&lu, &permutation, &info, &mantissa, &exponent}) memory->write();
}

// Solutions and info; by factors where the permutation comes with them.
void solve(const Head& head) {
  const Sizes size(head);
  const bool factors = head.operation == kSolveByFactors;
  const Memory a(size.matrices, size.offset), b(size.right, size.offset);
  const Memory permutation(factors ? 4 * size.batch * head.n : 0);
  const Memory x(size.right, size.offset), info(4 * size.batch);
  a.fill();
  permutation.fill();
  b.fill();
  const DType dtype = DType(head.dtype);
  const bool transpose = head.flags & kTransposeL;
  if (factors) {
    run(metal::dispatches(LuSolveProblem{dtype, transpose, head.n, head.columns, head.batch,
                                         a.data(), permutation.as<int32_t>(), b.data(), x.data()}),
        head);
  } else {
    run(metal::dispatches(SolveProblem{dtype, Structure(head.structure), transpose, head.n,
                                       head.columns, head.batch, a.data(), b.data(), x.data(),
                                       head.flags & kOnly ? nullptr : info.as<int32_t>()}),
        head);
  }
  x.write();
  info.write();
}

void run() {
  Head head;
  read(&head, sizeof head);
  switch (head.operation) {
    case kInvert:
      return invert(head);
    case kTriple:
      return multiply(head);
    case kFactor:
    case kDeterminant:
      return factor(head);
    default:
      return solve(head);
  }
}

}  // namespace
}  // namespace jaxinv

int main(int count, char** arguments) {
  if (count > 1) simt::leave_out(arguments[1]);
  try {
    jaxinv::run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
